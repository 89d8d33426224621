//! What a long life must not leave: descriptors, memory, errors that valgrind sees.

mod support;

use std::fs;
use std::process::Command;
use support::{kernel, program, Server, Setup};

#[test]
fn worker() {
    support::worker::run();
}

const OPTIONS: [&str; 8] = [
    "--port=127.0.0.1:0",
    "--port=127.0.0.1:u0",
    "--path=socket",
    "--pid-file=pid",
    "--status-file=status",
    "--envdir=envdir",
    "--log-file=| cat >> log-file",
    "--interval=0",
];

fn restart(server: &Server, generations: std::ops::RangeInclusive<u64>) {
    for generation in generations {
        server.hup();
        server.standing(&[generation]);
    }
}

fn descriptors(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!(
                "{} -> {}",
                entry.file_name().to_string_lossy(),
                target.display()
            )
        })
        .collect();
    found.sort();
    found
}

/// Memory of its own, in kB.
fn memory(server: &Server) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid())).unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn restarts_leak_neither_descriptors_nor_memory() {
    let mut server = Setup::new(OPTIONS)
        .role("serve")
        .file("envdir/A", "a")
        .start();
    server.standing(&[1]);
    restart(&server, 2..=20);
    server.idle();
    let (before, small) = (descriptors(&server), memory(&server));
    restart(&server, 21..=400);
    kernel::kill(server.worker(400).pid, libc::SIGKILL);
    server.standing(&[401]);
    // The status file is seen before the turn that wrote it is over.
    server.eventually(&format!("{before:#?}"), || {
        (descriptors(&server) == before).then_some(())
    });
    // A page more or less says nothing; 100 bytes lost a restart would be more than this.
    let large = memory(&server);
    assert!(large < small + 40, "{large} kB after {small} kB");
    server.stop();
}

#[test]
fn valgrind_finds_nothing() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        support::passed_over("valgrind");
        return;
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--track-fds=yes",
    ]);
    valgrind
        .args(["--child-silent-after-fork=yes", "--log-file=valgrind"])
        .arg(program());
    let mut server = Setup::by(valgrind, OPTIONS)
        .role("serve")
        .file("envdir/A", "a")
        .start();
    server.standing(&[1]);
    restart(&server, 2..=5);
    kernel::kill(server.worker(5).pid, libc::SIGKILL);
    server.standing(&[6]);
    server.term();
    let status = server.end();
    let found = server.scratch.read("valgrind");
    assert!(status.success(), "{found}");
    // The handler's end of the wake-up pipe is open for as long as a signal may come: for ever.
    let ours = found.split("Open file descriptor").skip(1);
    let ours = ours.filter(|open| {
        !open.contains("<inherited from parent>") && !open.contains("Signals::catch")
    });
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
}
