//! Process 1 of a container, which has orphans to reap.

use crate::support::fixtures::USUAL;
use crate::support::{container, kernel, program, Setup};
use std::fs;
use std::os::unix::process::ExitStatusExt;

/// The children of a process and their states, as proc(5) tells.
fn children(parent: i32) -> Vec<(i32, String)> {
    let stat = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.to_string();
        (fields.next()?.parse() == Ok(parent)).then_some((pid, state))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(stat).collect()
}

#[test]
fn as_process_1_of_a_container_it_reaps_orphans_in_silence_and_obeys() {
    let Some(mut command) = container(&["--pid", "--fork", "--kill-child"]) else {
        return;
    };
    command.arg(program());
    let setup = Setup::by(command, USUAL).role("serve");
    // Each worker leaves orphans behind, some of them dead at once.
    let line = "for i in 1 2 3; do (true & true &); done";
    let mut server = setup.worker_after(line).launch();
    server.worker(1);
    server.up(&[1]);
    assert_eq!(server.scratch.read("pid"), "1\n");
    let first = children(server.pid())[0].0;
    for generation in 2..=3 {
        kernel::kill(first, libc::SIGHUP);
        server.worker(generation);
        server.up(&[generation]);
    }
    server.eventually("one child, that lives", || {
        let children = children(first);
        (children.len() == 1 && children[0].1 != "Z").then_some(())
    });
    kernel::kill(first, libc::SIGTERM);
    assert_eq!(server.end().into_raw(), 0, "{}", server.log());
    let log = server.log();
    assert_eq!(log.matches("died").count(), 3, "{log}");
    assert_eq!(
        server
            .scratch
            .names()
            .iter()
            .filter(|name| *name == "pid")
            .count(),
        0
    );
}
