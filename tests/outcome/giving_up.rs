//! `--max-start-failures`: a restart that keeps failing is given up.

use super::{notifying, FAIL};
use crate::support::{ask, kernel, Server};
use std::fs;

#[test]
fn after_so_many_failures_the_old_generation_is_current_again() {
    for failures in [1, 3] {
        let option = format!("--max-start-failures={failures}");
        let mut server = notifying("ready:serve", [&option]).up();
        server.next_role(FAIL);
        server.hup();
        let last = failures + 1;
        server.shows(&format!("1 failed:{last} given-up:{last}"));
        server.says(&format!(
                "start_server: giving up the restart after {failures} failed starts, generation 1 is still serving\n"
            ));
        server.idle();
        assert_eq!(server.started().len() as u64, last);
        let first = server.worker(1);
        assert_eq!(ask(first.port()).unwrap(), (1, first.pid));
        assert!(!server.is_told(1));
        // It is current, so it is replaced when it dies.
        server.next_role("ready:serve");
        kernel::kill(first.pid, libc::SIGKILL);
        server.shows(&(last + 1).to_string());
        let died = "worker A died unexpectedly with status:9, restarting\n";
        assert!(server.story().contains(died), "{}", server.story());
        server.stop();
    }
}

#[test]
fn the_next_hup_tries_again() {
    let mut server = notifying("ready:serve", ["--max-start-failures=2"]).up();
    server.next_role(FAIL);
    for last in [3, 5, 7] {
        server.hup();
        server.shows(&format!("1 failed:{last} given-up:{last}"));
        // It is said after the file is written.
        server.idle();
    }
    // While it tries it has not given up.
    server.next_role("fail");
    server.hup();
    server.worker(8);
    server.shows("1 failed:7");
    server.next_role("ready:serve");
    server.scratch.write("fail", "");
    server.shows("9");
    assert!(server.is_told(1));
    server.stop();
}

#[test]
fn the_failures_of_one_restart_are_not_those_of_the_next() {
    let mut server = notifying("ready:serve", ["--max-start-failures=2"]).up();
    for generation in [1, 3, 5] {
        server.next_role("fail");
        server.hup();
        server.worker(generation + 1);
        server.next_role("ready:serve");
        server.scratch.write("fail", "");
        server.shows(&(generation + 2).to_string());
        fs::remove_file(server.scratch.path("fail")).unwrap();
    }
    server.stop();
    assert!(!server.log().contains("giving up"), "{}", server.log());
}

#[test]
fn a_success_removes_the_line() {
    // A failure is told of with either option, whatever becomes of the restart.
    for (options, first, next) in [
        (
            ["--max-start-failures=100", "--ready=interval"],
            "serve",
            "serve",
        ),
        (
            ["--max-start-failures=0", "--ready=fd=9"],
            "ready:serve",
            "ready:serve",
        ),
    ] {
        let mut server = notifying(first, options).args(["--interval=1"]).up();
        server.next_role("fail");
        server.hup();
        server.worker(2);
        // The attempt after this one cannot but succeed.
        server.next_role(next);
        server.scratch.write("fail", "");
        server.shows("1 failed:2");
        server.shows("3");
        server.stop();
    }
}

/// Scripts and the Ruby listener for unicorn read every line as a generation and a process.
#[test]
fn the_status_file_never_tells_of_failures() {
    let options = ["--ready=interval", "--interval=1"];
    let mut server = notifying("serve", options).up();
    let before = server.scratch.read("status");
    server.next_role(FAIL);
    server.hup();
    for failures in 1..=2 {
        server.shows(&format!("1 failed:{}", failures + 1));
        assert_eq!(server.scratch.read("status"), before);
    }
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.says("old worker ");
    server.says_times("seems to have failed to start", 4);
    server.eventually("no worker", || server.status().is_empty().then_some(()));
    server.stop();
}

/// Expects the end of a start_server that has given up.
fn assert_over(mut server: Server, failures: u32) {
    let ended = server.end();
    let log = server.log();
    assert_eq!(ended.code(), Some(1), "{log}");
    let line = format!(
        "start_server: giving up after {failures} failed starts, no worker is left to serve\n"
    );
    assert!(log.contains(&line), "{log}");
    assert!(log.ends_with("exiting\n"), "{log}");
    for name in ["pid", "status", "socket"] {
        assert!(!server.scratch.path(name).exists(), "{name}");
    }
}

#[test]
fn without_an_old_generation_it_is_all_over_with_status_1() {
    for options in [
        ["--max-start-failures=1", "--interval=1", "--ready=interval"],
        ["--max-start-failures=3", "--interval=1", "--ready=interval"],
        ["--max-start-failures=3", "--interval=0", "--ready=notify"],
        ["--max-start-failures=3", "--interval=0", "--ready=fd=9"],
    ] {
        let server = notifying(FAIL, options).args(["--path=socket"]).start();
        assert_over(server, if options[0].ends_with('1') { 1 } else { 3 });
    }
}

#[test]
fn a_program_that_is_not_there_ends_it_too() {
    let setup = notifying("", ["--max-start-failures=2", "--path=socket"]);
    let server = setup.args(["--", "/nowhere/at/all"]).launch();
    server.says_times("cannot execute /nowhere/at/all: No such file", 2);
    assert_over(server, 2);
}

#[test]
fn when_nobody_replaces_the_only_worker_it_is_all_over() {
    let server = notifying("ready:serve", ["--max-start-failures=2", "--path=socket"]).up();
    server.next_role(FAIL);
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    assert_over(server, 2);
}

#[test]
fn one_that_was_told_to_finish_is_no_heir_but_may_finish() {
    let server = notifying("ready:linger", ["--max-start-failures=2", "--path=socket"]).up();
    server.hup();
    server.notes("signal 1 15");
    server.up(&[1, 2]);
    server.next_role(FAIL);
    kernel::kill(server.worker(2).pid, libc::SIGKILL);
    server.says("no worker is left to serve");
    // The socket is still his.
    assert!(server.scratch.path("socket").exists());
    server.scratch.write("leave", "");
    assert_over(server, 2);
}

#[test]
fn a_worker_that_dies_right_after_it_was_ready_counts() {
    for (ready, interval) in [
        ("--ready=notify", "--interval=3"),
        ("--ready=fd=9", "--interval=3"),
    ] {
        let options = ["--max-start-failures=3", ready, interval];
        let server = notifying("crash", options).args(["--path=socket"]).start();
        server.says("giving up after 3 failed starts");
        // A death that comes together with the word is that of a worker that has never been up.
        let died = server.count("died unexpectedly with status:256, restarting");
        let failed = server.count("seems to have failed to start, exit status:256");
        assert_eq!(died + failed, 3, "{}", server.log());
        assert_over(server, 3);
    }
}
