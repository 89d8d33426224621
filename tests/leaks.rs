//! A long life loses no descriptor and no memory, and valgrind finds no error in it.

#[cfg(target_os = "linux")]
mod descriptors;

use crate::support::fixtures::USUAL;
use crate::support::{kernel, program, Server, Setup};
use std::process::Command;

const OTHERS: [&str; 4] = [
    "--port=127.0.0.1:u0",
    "--path=socket",
    "--envdir=envdir",
    "--log-file=| cat >> log-file",
];

fn restart(server: &Server, generations: std::ops::RangeInclusive<u64>) {
    for generation in generations {
        server.hup();
        server.up(&[generation]);
    }
}

/// The findings of valgrind in a life with this many restarts.
fn examine(restarts: u64) -> String {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--error-exitcode=9", "--leak-check=full", "--track-fds=yes"]);
    valgrind
        .args(["--child-silent-after-fork=yes", "--log-file=valgrind"])
        .arg(program());
    let mut server = Setup::by(valgrind, USUAL)
        .args(OTHERS)
        .role("serve")
        .file("envdir/A", "a")
        .up();
    restart(&server, 2..=restarts + 1);
    kernel::kill(server.worker(restarts + 1).pid, libc::SIGKILL);
    server.up(&[restarts + 2]);
    server.term();
    let status = server.end();
    let found = server.scratch.read("valgrind");
    assert!(status.success(), "{found}");
    found
}

#[test]
fn valgrind_finds_no_error_no_descriptor_and_no_growth() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return crate::support::skipped("valgrind");
    }
    if crate::support::is_static() {
        return crate::support::skipped("a loader, by which valgrind puts itself before malloc");
    }
    let (short, long) = (examine(1), examine(30));
    // The handler's end of the wake-up pipe is open for as long as a signal may come: for ever.
    let ours = long.split("Open file descriptor").skip(1);
    let ours = ours.filter(|open| {
        !open.contains("<inherited from parent>") && !open.contains("Signals::catch")
    });
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    let in_use = |found: &str| {
        let line = found
            .lines()
            .find_map(|line| line.split_once("in use at exit: "));
        line.unwrap_or_else(|| panic!("{found}")).1.to_string()
    };
    assert_eq!(in_use(&long), in_use(&short), "{long}");
}
