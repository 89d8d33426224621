//! A disk that is full, gone or tampered with: the last good status file stays whole, and it is written again
//! as soon as that works.

#[cfg(target_os = "linux")]
use crate::support::ask;
use crate::support::fixtures::serve;
#[cfg(target_os = "linux")]
use crate::support::worker::LIVE;
use crate::support::{kernel, permissions_count, skipped, Server, Setup};
use std::fs;
#[cfg(target_os = "linux")]
use std::fs::File;
#[cfg(target_os = "linux")]
use std::io::Write;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::process::Command;

const FAILURE: &str = "start_server: cannot write the status file: ";
const RECOVERY: &str = "start_server: the status file is written again\n";

/// Whether the last good file is whole: it tells of the first worker.
fn is_as_before(server: &Server, first: i32) -> bool {
    server.scratch.read("status") == format!("1:{first}\n")
}

/// What is planted where start_server would make its next status file.
fn planted(plant: impl FnOnce(&Path), reason: &str, is_untouched: impl Fn(&Path) -> bool) {
    let mut server = serve([]).file("victim", "precious").start();
    let first = server.worker(1).pid;
    server.up(&[1]);
    let temporary = server.scratch.path(format!("status.{}", server.pid()));
    plant(&temporary);
    for generation in 2..=4 {
        server.hup();
        server.worker(generation);
        server.says_times("killing old workers", generation as usize - 1);
    }
    server.says_times("old worker ", 3);
    assert!(
        is_as_before(&server, first),
        "{}",
        server.scratch.read("status")
    );
    assert!(is_untouched(&temporary));
    assert_eq!(server.scratch.read("victim"), "precious");
    fs::rename(&temporary, server.scratch.path("moved")).unwrap();
    server.up(&[4]);
    server.stop();
    assert_eq!(server.count(&format!("{FAILURE}{reason}\n")), 1);
    assert_eq!(server.count(FAILURE), 1, "{}", server.log());
    assert_eq!(server.count(RECOVERY), 1);
    assert!(!server.scratch.path("status").exists());
}

#[test]
fn a_file_at_the_temporary_name_is_not_overwritten() {
    planted(
        |path| fs::write(path, "planted").unwrap(),
        "File exists",
        |path| fs::read(path).unwrap() == b"planted",
    );
}

#[test]
fn a_symbolic_link_at_the_temporary_name_is_not_followed() {
    for target in ["victim", "no-such-file", "/dev/null"] {
        planted(
            |path| symlink(target, path).unwrap(),
            "File exists",
            |path| fs::read_link(path).unwrap() == Path::new(target),
        );
    }
}

#[test]
fn a_fifo_and_a_folder_at_the_temporary_name_stop_nothing() {
    planted(kernel::make_fifo, "File exists", |path| path.exists());
    planted(
        |path| fs::create_dir(path).unwrap(),
        "File exists",
        Path::is_dir,
    );
}

#[test]
fn a_removed_folder_is_said_once_and_the_status_file_is_there_as_soon_as_it_is_back() {
    let mut server = Setup::new(["--interval=0", "--status-file=dir/status"])
        .file("dir/file", "")
        .role("serve")
        .start();
    server.worker(1);
    let dir = server.scratch.path("dir");
    let status = || server.scratch.read("dir/status");
    server.eventually("the first worker", || {
        status().starts_with("1:").then_some(())
    });
    fs::remove_dir_all(&dir).unwrap();
    for generation in 2..=4 {
        server.hup();
        server.worker(generation);
        server.says_times("old worker ", generation as usize - 1);
    }
    fs::create_dir(&dir).unwrap();
    // Nothing happens but that it can be written.
    let expected = format!("4:{}\n", server.worker(4).pid);
    server.eventually("the last worker", || (status() == expected).then_some(()));
    server.stop();
    assert_eq!(server.count(FAILURE), 1, "{}", server.log());
    assert_eq!(server.count(RECOVERY), 1);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

/// A file system may give the number of a file that is gone to the next one: to what replaces it.
#[test]
fn a_status_file_that_somebody_removes_is_there_again_after_a_restart() {
    let mut server = serve([]).up();
    for generation in 2..=20 {
        fs::remove_file(server.scratch.path("status")).unwrap();
        server.restart(generation);
        // It is seen before the turn that wrote it is over.
        server.idle();
        assert_eq!(server.status().len(), 1, "{generation}");
    }
    server.stop();
    assert!(!server.scratch.path("status").exists());
}

#[test]
fn an_unwritable_folder_is_said_once_and_the_last_good_file_stays_whole() {
    if !permissions_count() {
        return skipped("a user who may not write everywhere");
    }
    let mut server = Setup::new(["--interval=0", "--status-file=dir/status"])
        .with(|command| kernel::on_fork(command, kernel::heed_permissions))
        .file("dir/file", "")
        .role("serve")
        .start();
    let first = server.worker(1).pid;
    let dir = server.scratch.path("dir");
    let status = || server.scratch.read("dir/status");
    server.eventually("the first worker", || {
        status().starts_with("1:").then_some(())
    });
    let allow = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    for generation in 2..=4 {
        server.hup();
        server.worker(generation);
        server.says_times("old worker ", generation as usize - 1);
    }
    assert_eq!(status(), format!("1:{first}\n"));
    allow(0o755);
    let expected = format!("4:{}\n", server.worker(4).pid);
    server.eventually("the last worker", || (status() == expected).then_some(()));
    server.stop();
    assert_eq!(server.count(&format!("{FAILURE}Permission denied\n")), 1);
    assert_eq!(server.count(FAILURE), 1, "{}", server.log());
    assert_eq!(server.count(RECOVERY), 1);
}

/// A setup whose folder `disk` is a disk of its own, with room for very little; `None` where nobody lets us.
#[cfg(target_os = "linux")]
fn on_small_disk(options: &[&str]) -> Option<Setup> {
    on_small_disk_by("exec \"$0\" \"$@\"", options)
}

/// As above; `line` is shell that runs start_server.
#[cfg(target_os = "linux")]
fn on_small_disk_by(line: &str, options: &[&str]) -> Option<Setup> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount"]);
    let mut probe = Command::new("unshare");
    probe.args(["--map-root-user", "--mount"]);
    probe.args(["mount", "-t", "tmpfs", "none", "/mnt"]);
    if !probe.output().is_ok_and(|probe| probe.status.success()) {
        skipped("unshare that may mount");
        return None;
    }
    let line = format!("mount -t tmpfs -o size=64k none disk && {{ {line}; }}");
    unshare
        .args(["sh", "-c", &line])
        .arg(crate::support::program());
    Some(
        Setup::by(unshare, ["--port=127.0.0.1:0", "--interval=0"])
            .args(options)
            .file("disk/file", "")
            .role("serve"),
    )
}

/// Fills the disk that only start_server sees, to the last byte. Removing the file makes room again.
#[cfg(target_os = "linux")]
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filling");
    let mut file = File::create(&path).unwrap();
    let mut size = 4096;
    while size > 0 {
        match file.write(&vec![b'x'; size]) {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => size /= 2,
        }
    }
    path
}

/// The folder `disk` as start_server sees it.
#[cfg(target_os = "linux")]
fn disk(server: &Server) -> PathBuf {
    let path = server.scratch.path("disk");
    Path::new(&format!("/proc/{}/root", server.pid())).join(path.strip_prefix("/").unwrap())
}

#[cfg(target_os = "linux")]
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_once_and_the_last_good_status_file_stays_whole() {
    let Some(setup) = on_small_disk(&["--status-file=disk/status"]) else {
        return;
    };
    let mut server = setup.start();
    let first = server.worker(1).pid;
    let status = disk(&server).join("status");
    let before = format!("1:{first}\n");
    server.eventually("the first worker", || {
        (text(&status) == before).then_some(())
    });
    let filling = fill(&disk(&server));
    for generation in 2..=4 {
        server.hup();
        server.worker(generation);
        server.says_times("old worker ", generation as usize - 1);
    }
    assert_eq!(text(&status), before);
    assert_eq!(
        fs::read_dir(disk(&server)).unwrap().count(),
        2,
        "nothing half written"
    );
    fs::remove_file(filling).unwrap();
    let after = format!("4:{}\n", server.worker(4).pid);
    server.eventually("the last worker", || (text(&status) == after).then_some(()));
    server.stop();
    assert_eq!(
        server.count(&format!("{FAILURE}No space left on device\n")),
        1
    );
    assert_eq!(server.count(FAILURE), 1, "{}", server.log());
    assert_eq!(server.count(RECOVERY), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_full_disk_had_no_room_for_is_in_the_log_when_there_is_room() {
    let options = ["--log-file=disk/log", "--status-file=status"];
    let Some(setup) = on_small_disk(&options) else {
        return;
    };
    let mut server = setup.start_silent(":");
    server.worker(1);
    server.up(&[1]);
    let log = disk(&server).join("log");
    let filling = fill(&disk(&server));
    let begun = text(&log).len();
    // More lines than the file's last block has room for.
    for generation in 2..=40 {
        server.restart(generation);
    }
    assert!(!text(&log)[begun..].contains("starting new worker 40"));
    fs::remove_file(filling).unwrap();
    server.eventually("every line", || {
        let told = text(&log).matches("received HUP").count();
        (told == 39).then_some(())
    });
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_is_always_full_stops_nothing() {
    let mut server = serve(["--log-file=/dev/full"]).start_silent(":");
    server.worker(1);
    for generation in 2..=4 {
        server.restart(generation);
    }
    server.stop();
    assert_eq!(server.scratch.read("pid"), "");
}

/// As a quota does: some bytes may still be written, more not.
#[cfg(target_os = "linux")]
#[test]
fn a_status_file_that_would_be_cut_short_does_not_replace_the_good_one() {
    let log = "--log-file=| cat > log-file";
    let setup = Setup::new(["--interval=0", "--status-file=status", log]);
    let mut server = setup.args(["--", "sh", "-c", LIVE]).launch();
    server.up(&[1]);
    let first = server.status()[0].1;
    let says = |text: &str| {
        server.eventually(text, || {
            server.scratch.read("log-file").contains(text).then_some(())
        });
    };
    let before = kernel::limit_process(server.pid(), libc::RLIMIT_FSIZE, 2);
    server.hup();
    says(&format!("{FAILURE}File too large\n"));
    says("old worker ");
    assert!(is_as_before(&server, first));
    kernel::limit_process(server.pid(), libc::RLIMIT_FSIZE, before);
    server.up(&[2]);
    server.stop();
}

#[test]
fn a_log_file_whose_folder_is_gone_stops_nothing() {
    let mut server = serve(["--log-file=dir/log"]).file("dir/file", "").start();
    server.worker(1);
    fs::remove_dir_all(server.scratch.path("dir")).unwrap();
    for generation in 2..=3 {
        server.restart(generation);
    }
    server.stop();
}

/// Shell that leaves no room at all.
#[cfg(target_os = "linux")]
const FILL: &str = "cat /dev/zero >disk/filling 2>silence";

#[cfg(target_os = "linux")]
#[test]
fn a_pid_file_that_finds_no_room_is_refused_and_nothing_is_left() {
    let line = format!("{FILL}; \"$0\" \"$@\"; code=$?; ls disk >left; exit $code");
    let options = ["--pid-file=disk/pid", "--status-file=disk/status"];
    let Some(setup) = on_small_disk_by(&line, &options) else {
        return;
    };
    let ended = setup.args(["--path=disk/socket", "--", "true"]).finish();
    let refusal = "start_server: --pid-file=disk/pid: No space left on device\n";
    assert_eq!(ended.said, refusal);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.server.scratch.read("left"), "filling\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_from_the_start_stops_nothing_else() {
    let line = format!("{FILL}; exec \"$0\" \"$@\"");
    let options = ["--status-file=disk/status", "--log-file=disk/log"];
    let Some(setup) = on_small_disk_by(&line, &options) else {
        return;
    };
    let mut server = setup.start_silent(":");
    for generation in 1..=3 {
        server.worker(generation);
        server.hup();
    }
    let last = server.worker(4);
    server.notes("signal 3 15");
    assert_eq!(ask(last.port()).unwrap(), (4, last.pid));
    assert_eq!(text(&disk(&server).join("status")), "");
    fs::remove_file(disk(&server).join("filling")).unwrap();
    let (status, log) = (disk(&server).join("status"), disk(&server).join("log"));
    let expected = format!("4:{}\n", last.pid);
    server.eventually("the last worker", || {
        (text(&status) == expected).then_some(())
    });
    server.eventually("every line", || {
        let log = text(&log);
        let told = log.matches("received HUP").count() == 3 && log.contains(RECOVERY);
        told.then_some(())
    });
    server.stop();
}
