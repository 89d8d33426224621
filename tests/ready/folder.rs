//! The folder in which the socket of a worker is.

use super::{first_up, socket, start, talk};
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Scratch, Server, Setup};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

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
        assert!(!digits.contains(&server.pid().to_string()), "{digits}");
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

#[test]
fn a_folder_that_cannot_be_made_refuses_the_start_and_nothing_is_bound() {
    let long = format!("{}/x", "y".repeat(100));
    let table = [
        ("nowhere", "No such file or directory"),
        ("file", "Not a directory"),
        (&long, "longer than"),
    ];
    for (folder, reason) in table {
        let options = ["--ready=notify", "--path=socket", "--pid-file=pid"];
        let setup = Setup::new(options)
            .args(["--status-file=status", "--log-file=out", "true"])
            .file("file", "")
            .file(&format!("{long}/file"), "");
        let folder = setup.scratch.path(folder);
        let ended = setup.env("RUNTIME_DIRECTORY", &folder).finish();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        let expected = format!(
            "start_server: --ready=notify: cannot make a socket in {}: ",
            folder.display()
        );
        assert!(ended.said.starts_with(&expected), "{}", ended.said);
        assert!(ended.said.contains(reason), "{reason}: {}", ended.said);
        assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
        let scratch = &ended.server.scratch;
        let mut names = scratch.names();
        names.retain(|name| !name.starts_with('y'));
        assert_eq!(names, ["file", "log", "output"]);
        // Nor is the folder left that was made before the socket was found to be too long.
        let inside = fs::read_dir(scratch.path(&long)).unwrap();
        assert_eq!(inside.count(), 1, "{reason}");
    }
}

#[test]
fn one_that_cannot_be_made_later_is_a_failed_attempt_and_said() {
    let server = start(in_tmp(["--interval=1"]), "READY=1");
    let (tmp, away) = (server.scratch.path("tmp"), server.scratch.path("away"));
    fs::rename(&tmp, &away).unwrap();
    server.hup();
    let complaint = format!("cannot make a socket in {}", tmp.display());
    server.says_times(&complaint, 2);
    assert!(server.outline().starts_with("1 failed:"));
    assert!(!server.is_told(1));
    server.next_role("ready:linger");
    fs::rename(&away, &tmp).unwrap();
    server.notes("signal 1 15");
}
