//! The disk is full, or a quota is used up.

use super::{FAILURE, RECOVERY};
use crate::support::fixtures::serve;
use crate::support::worker::LIVE;
use crate::support::{ask, container, kernel, program, Server, Setup};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A setup whose folder `disk` is a disk of its own, with room for very little; `None` where nobody lets us.
fn on_small_disk(options: &[&str]) -> Option<Setup> {
    on_small_disk_by("exec \"$0\" \"$@\"", options)
}

/// The same, with shell that runs start_server.
fn on_small_disk_by(line: &str, options: &[&str]) -> Option<Setup> {
    let mut unshare = container(&["--mount"])?;
    let line = format!("mount -t tmpfs -o size=64k none disk && {{ {line}; }}");
    unshare.args(["sh", "-c", &line]).arg(program());
    Some(
        Setup::by(unshare, ["--port=127.0.0.1:0", "--interval=0"])
            .args(options)
            .file("disk/file", "")
            .role("serve"),
    )
}

/// Fills the disk that only start_server sees, to the last byte. Removing the file makes room again.
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
fn disk(server: &Server) -> PathBuf {
    let path = server.scratch.path("disk");
    Path::new(&format!("/proc/{}/root", server.pid())).join(path.strip_prefix("/").unwrap())
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

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
        3,
        "the two files and what fills the disk, and nothing half written"
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

#[test]
fn lines_that_a_full_disk_had_no_room_for_are_in_the_log_when_there_is_room() {
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

/// Like a quota, the limit lets some bytes be written, and no more.
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

/// Shell that leaves no room at all.
const FILL: &str = "cat /dev/zero >disk/filling 2>silence";

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

/// Tells whether the last good file, which shows the first worker, is whole.
fn is_as_before(server: &Server, first: i32) -> bool {
    server.scratch.read("status") == format!("1:{first}\n")
}
