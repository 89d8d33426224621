//! The folder in which the socket of a worker is.

use super::{first_up, socket, start, talk};
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Scratch, Server, Setup};
use std::fs;
use std::os::unix::fs::{chown, symlink, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Workers whose socket is in a folder of its own, `tmp`.
fn in_tmp<const N: usize>(options: [&str; N]) -> Setup {
    let setup = talk(["--ready=notify"]).args(options);
    fs::create_dir(setup.scratch.path("tmp")).unwrap();
    let tmp = setup.scratch.path("tmp");
    setup.env("TMPDIR", tmp)
}

/// The number of folders for sockets.
fn folders(server: &Server) -> usize {
    fs::read_dir(server.scratch.path("tmp")).unwrap().count()
}

fn left(server: &Server, count: usize) {
    server.eventually(&format!("{count} folders"), || {
        (folders(server) == count).then_some(())
    });
}

#[test]
fn everybody_passes_through_it_but_nobody_can_list_it() {
    let setup = in_tmp([]).with(|command| {
        // The mode does not depend on it.
        kernel::on_fork(command, || kernel::set_umask(0o077));
    });
    let server = setup.start();
    let socket = socket(&server, 1);
    let folder = socket.parent().unwrap();
    let metadata = fs::metadata(folder).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o711);
    assert_eq!(
        metadata.uid(),
        fs::metadata(server.scratch.path("tmp")).unwrap().uid()
    );
    // To send is to write.
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o222, 0o222);
}

#[test]
fn each_generation_has_its_own_under_a_name_that_nobody_guesses() {
    let server = start(in_tmp([]), "READY=1");
    for generation in 2..=5 {
        server.hup();
        server.worker(generation);
        server.has_said(generation, "READY=1");
        server.up(&(1..=generation).collect::<Vec<_>>());
    }
    let sockets: Vec<_> = (1..=5)
        .map(|generation| socket(&server, generation))
        .collect();
    let mut names: Vec<_> = sockets
        .iter()
        .map(|socket| socket.file_name().unwrap().to_owned())
        .collect();
    for name in &names {
        let digits = name.to_str().unwrap();
        assert!(digits.len() >= 16, "{digits}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5, "{names:?}");
    let mut folders: Vec<_> = sockets.iter().map(|socket| socket.parent()).collect();
    folders.sort();
    folders.dedup();
    assert_eq!(folders.len(), 5, "{folders:?}");
}

#[test]
fn it_goes_with_its_worker_and_at_the_end() {
    let mut server = start(in_tmp(["--interval=0"]), "READY=1");
    assert_eq!(folders(&server), 1);
    server.hup();
    server.worker(2);
    server.has_said(2, "READY=1");
    server.up(&[1, 2]);
    // The old one may have something to say as long as it lives.
    assert_eq!(folders(&server), 2);
    server.scratch.write("leave", "");
    server.up(&[2]);
    left(&server, 1);
    server.next_role("exit:1");
    server.hup();
    server.says_times("seems to have failed to start", 3);
    server.next_role("ready:serve");
    assert!(first_up(&server) >= 6);
    left(&server, 1);
    server.stop();
    assert_eq!(folders(&server), 0);
}

/// Makes a folder in `tmp` with a socket in it that no process has open.
fn lookalike(setup: &Setup, folder: &str, name: &str, mode: u32) -> PathBuf {
    let folder = setup.scratch.path("tmp").join(folder);
    fs::create_dir(&folder).unwrap();
    drop(UnixDatagram::bind(folder.join(name)).unwrap());
    fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

#[test]
fn what_a_killed_one_has_left_goes_at_the_next_start_and_nothing_else() {
    const NAME: &str = "0123456789abcdef";
    let setup = in_tmp([]);
    let abandoned = lookalike(&setup, "start_server-aaaaaa", NAME, 0o711);
    let mut kept = vec![
        lookalike(&setup, "another-aaaaaa", NAME, 0o711),
        lookalike(&setup, "start_server-bbbbbb", "another", 0o711),
        lookalike(&setup, "start_server-cccccc", NAME, 0o755),
        lookalike(&setup, "start_server-dddddd", NAME, 0o711),
        lookalike(&setup, "start_server-eeeeee", NAME, 0o711),
    ];
    fs::write(kept[3].join("more"), "").unwrap();
    fs::remove_file(kept[4].join(NAME)).unwrap();
    fs::write(kept[4].join(NAME), "").unwrap();
    if kernel::is_root() {
        let theirs = lookalike(&setup, "start_server-ffffff", NAME, 0o711);
        chown(&theirs, Some(65534), None).unwrap();
        kept.push(theirs);
    }
    let link = setup.scratch.path("tmp/start_server-gggggg");
    symlink(&kept[0], &link).unwrap();
    kept.push(link);
    let tmp = setup.scratch.path("tmp");
    let mut killed = start(setup, "READY=1");
    assert!(!abandoned.exists());
    let left = socket(&killed, 1);
    kernel::kill(killed.pid(), libc::SIGKILL);
    killed.end();
    assert!(left.exists());

    let living = start(in_tmp([]).env("TMPDIR", &tmp), "READY=1");
    living.eventually("the folder of the killed one to go", || {
        (!left.parent().unwrap().exists()).then_some(())
    });
    let mut next = start(in_tmp([]).env("TMPDIR", &tmp), "READY=1");
    assert!(socket(&living, 1).exists());
    assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
    next.scratch.write("leave", "");
    next.stop();
}

#[test]
fn one_that_was_cleaned_up_meanwhile_is_no_loss() {
    let mut server = start(in_tmp([]), "READY=1");
    fs::remove_dir_all(socket(&server, 1).parent().unwrap()).unwrap();
    server.hup();
    server.worker(2);
    server.has_said(2, "READY=1");
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
    assert_eq!(folders(&server), 0);
}

#[test]
fn it_is_made_in_the_runtime_directory_else_in_tmpdir_else_in_tmp() {
    // Folders of the scratch folder; unset; empty; as systemd gives several; and a relative one.
    let table: [(Option<&str>, Option<&str>, &str); 6] = [
        (Some("/run"), Some("/tmp"), "/run"),
        (None, Some("/tmp"), "/tmp"),
        (Some(""), Some("/tmp"), "/tmp"),
        (Some("/run:/other"), None, "/run"),
        (None, None, "outside"),
        (None, Some(""), "outside"),
    ];
    for (runtime, tmp, expected) in table {
        let mut setup = by_envdir("ready:serve", ["--ready=notify"]).with(|command| {
            command.env_remove("RUNTIME_DIRECTORY").env_remove("TMPDIR");
        });
        for name in ["run", "tmp", "other"] {
            fs::create_dir(setup.scratch.path(name)).unwrap();
        }
        let root = setup.scratch.path("").to_str().unwrap().to_string();
        let root = root.trim_end_matches('/');
        for (name, value) in [("RUNTIME_DIRECTORY", runtime), ("TMPDIR", tmp)] {
            if let Some(value) = value {
                setup = setup.env(name, value.replace('/', &format!("{root}/")));
            }
        }
        let expected = match expected {
            "outside" => PathBuf::from("/tmp"),
            inside => PathBuf::from(format!("{root}{inside}")),
        };
        let mut server = setup.up();
        let folder = socket(&server, 1).parent().unwrap().to_path_buf();
        // A failed test must not leave it, wherever it is.
        let _removed = Scratch::adopt(folder.clone());
        assert_eq!(folder.parent(), Some(&*expected), "{runtime:?} {tmp:?}");
        server.stop();
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[test]
fn a_worker_elsewhere_reaches_one_that_was_named_from_here() {
    let setup = by_envdir("ready:serve", ["--ready=notify", "--dir=/"]).env("TMPDIR", "tmp");
    fs::create_dir(setup.scratch.path("tmp")).unwrap();
    let mut server = setup.up();
    assert!(socket(&server, 1).is_absolute());
    server.stop();
    assert_eq!(folders(&server), 0);
}

/// A deploy may have removed the release in which start_server was started.
#[test]
fn an_absolute_one_is_found_when_our_own_folder_is_gone() {
    let setup = Setup::new(["--ready=notify", "--interval=0", "--dir=/"]).role("ready:serve");
    let status_file = format!("--status-file={}", setup.scratch.path("status").display());
    let release = setup.scratch.path("release");
    fs::create_dir(&release).unwrap();
    let setup = setup.args([status_file]);
    let server = setup.with(|command| {
        command.current_dir(&release);
    });
    let mut server = server.up();
    fs::remove_dir(release).unwrap();
    server.restart(2);
    server.stop();
}

#[test]
fn the_next_place_takes_the_turn_of_one_that_cannot_be_used() {
    let long = format!("{}/x", "y".repeat(100));
    for place in ["nowhere", "file", &long] {
        let setup = in_tmp([])
            .file("envdir/WORKER_ROLE", "ready:serve")
            .file("file", "")
            .file(&format!("{long}/file"), "");
        let place = setup.scratch.path(place);
        let mut server = setup.env("RUNTIME_DIRECTORY", &place).up();
        let expected = server.scratch.path("tmp");
        assert!(socket(&server, 1).starts_with(&expected), "{place:?}");
        // Nothing is left of the attempt with a name that is too long.
        let inside = fs::read_dir(server.scratch.path(&long)).unwrap();
        assert_eq!(inside.count(), 1, "{place:?}");
        server.stop();
    }
}

/// He could rename our folder and put another one in its place.
#[test]
fn a_place_that_another_user_can_change_is_not_used() {
    let (root, nobody) = (kernel::is_root(), 65_534);
    for (mode, owner, is_used) in [(0o777, 0, false), (0o1777, 0, true), (0o755, nobody, false)] {
        if owner == nobody && !root {
            return crate::support::skipped("root");
        }
        let setup = in_tmp([]).file("envdir/WORKER_ROLE", "ready:serve");
        let place = setup.scratch.path("place");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        if root {
            chown(&place, Some(owner), None).unwrap();
        }
        let mut server = setup.env("RUNTIME_DIRECTORY", &place).up();
        let found = socket(&server, 1).starts_with(&place);
        assert_eq!(found, is_used, "{mode:o} {owner}");
        server.stop();
    }
}

#[test]
fn each_start_looks_for_a_place_again() {
    let setup = in_tmp([]).file("envdir/WORKER_ROLE", "ready:serve");
    let mut server = setup.up();
    let tmp = server.scratch.path("tmp");
    let parent = |server: &Server, generation| {
        let folder = socket(server, generation).parent().unwrap().to_path_buf();
        (folder.parent().unwrap().to_path_buf(), folder)
    };
    assert_eq!(parent(&server, 1).0, tmp);
    fs::rename(&tmp, server.scratch.path("away")).unwrap();
    server.restart(2);
    let (place, folder) = parent(&server, 2);
    // A failed test must not leave it.
    let _removed = Scratch::adopt(folder);
    assert_eq!(place, Path::new("/tmp"));
    fs::create_dir(&tmp).unwrap();
    server.restart(3);
    assert_eq!(parent(&server, 3).0, tmp);
    let other = server.scratch.path("other");
    fs::create_dir(&other).unwrap();
    server.change("TMPDIR", other.to_str().unwrap());
    server.restart(4);
    assert_eq!(parent(&server, 4).0, other);
    server.stop();
}
