//! A disk that is full, gone or tampered with: the last good status file stays whole, and it is written again
//! as soon as that works.

#[cfg(target_os = "linux")]
mod full;

use crate::support::fixtures::serve;
use crate::support::{kernel, permissions_count, skipped, Setup};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;

const FAILURE: &str = "start_server: cannot write the status file: ";
const RECOVERY: &str = "start_server: the status file is written again\n";

/// Plants something where Perl's start_server would make its next status file.
fn planted(plant: impl FnOnce(&Path), is_untouched: impl Fn(&Path) -> bool) {
    let mut server = serve([]).file("victim", "precious").up();
    let path = server.scratch.path(format!("status.{}", server.pid()));
    plant(&path);
    server.restart(2);
    server.stop();
    assert!(is_untouched(&path));
    assert_eq!(server.scratch.read("victim"), "precious");
    assert_eq!(server.count(FAILURE), 0, "{}", server.log());
    assert!(!server.scratch.path("status").exists());
}

/// Nobody can guess the temporary name of the status file, and so nobody can take it.
#[test]
fn what_somebody_plants_beside_the_status_file_stops_nothing() {
    planted(
        |path| fs::write(path, "planted").unwrap(),
        |path| fs::read(path).unwrap() == b"planted",
    );
    for target in ["victim", "no-such-file", "/dev/null"] {
        planted(
            |path| symlink(target, path).unwrap(),
            |path| fs::read_link(path).unwrap() == Path::new(target),
        );
    }
    planted(kernel::make_fifo, Path::exists);
    planted(|path| fs::create_dir(path).unwrap(), Path::is_dir);
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
