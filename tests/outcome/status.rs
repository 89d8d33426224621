//! The words of `--status`, and its exit statuses.

use super::{notifying, FAIL};
use crate::support::{kernel, run_beside, Finished, Server, Setup};
use std::fs;

fn ask_for_status<const N: usize>(server: &Server, options: [&str; N]) -> Finished {
    Setup::beside(&server.scratch, ["--status"])
        .args(options)
        .finish()
}

/// The exit status, and the words about a running start_server with TIME for each date and age.
fn told(server: &Server) -> (i32, String) {
    let ended = ask_for_status(server, ["--pid-file=pid", "--status-file=status"]);
    assert_eq!(ended.said, "");
    (ended.status.code().unwrap(), without_times(&ended.printed))
}

fn without_times(text: &str) -> String {
    let mut timeless = String::new();
    for line in text.lines() {
        let mut rest = line;
        for before in [" since ", " at ", " for "] {
            let Some((words, time)) = rest.split_once(before) else {
                continue;
            };
            assert!(time.starts_with(|c: char| c.is_ascii_digit()), "{line}");
            timeless += &format!("{words}{before}TIME");
            let time = time.split_once(" UTC").map_or("", |(_, rest)| rest);
            rest = time;
        }
        timeless += &format!("{rest}\n");
    }
    timeless
}

#[test]
fn it_tells_of_the_start_server_and_each_worker() {
    let mut server = notifying("ready:linger", ["--max-start-failures=2"]).up();
    let first = server.worker(1).pid;
    let head = format!(
        "start_server (pid {}) is running since TIME\n",
        server.pid()
    );
    let up = format!("worker {first}: generation 1, current, up for TIME\n");
    assert_eq!(
        told(&server),
        (0, format!("{head}generation 1 serves\n{up}"))
    );
    server.hup();
    server.up(&[1, 2]);
    server.notes("signal 1 15");
    let second = server.worker(2).pid;
    let both = format!(
        "\
worker {first}: generation 1, old, told to finish at TIME, up for TIME
worker {second}: generation 2, current, up for TIME
"
    );
    assert_eq!(
        told(&server),
        (0, format!("{head}generation 2 serves\n{both}"))
    );
    server.next_role(FAIL);
    server.hup();
    server.shows("1 2 failed:4 given-up:4");
    let failed = |next| format!("generation 4 failed to start at TIME (exit status 7), {next}\n");
    let serves = format!("{head}generation 2 serves\n");
    let given_up = failed("given up");
    assert_eq!(told(&server), (5, format!("{serves}{given_up}{both}")));
    server.next_role("fail");
    server.hup();
    server.shows("1 2 failed:4");
    let third = server.worker(5).pid;
    let restarting = format!("start_server is restarting\n{}", failed("trying again"));
    let starting = format!("worker {third}: generation 5, being started for TIME\n");
    assert_eq!(
        told(&server),
        (5, format!("{serves}{restarting}{both}{starting}"))
    );
    server.term();
    server.eventually("the end to begin", || {
        (server.details("state") == ["ending"]).then_some(())
    });
    let (status, text) = told(&server);
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("\nstart_server is ending\n"), "{text}");
    server.scratch.write("leave", "");
    server.scratch.write("fail", "");
    assert!(server.end().success());
}

#[test]
fn it_tells_of_a_worker_that_dies_again_and_again() {
    let mut server = notifying("ready:serve", []).up();
    for generation in 1..=3 {
        kernel::kill(server.worker(generation).pid, libc::SIGKILL);
        server.up(&[generation + 1]);
        let times = ["once", "2 times", "3 times"][generation as usize - 1];
        let (status, text) = told(&server);
        let line = format!("the worker has died unexpectedly {times}, the last time at TIME\n");
        assert!(status == 0 && text.contains(&line), "{text}");
    }
    server.stop();
}

#[test]
fn it_tells_why_no_worker_comes_up() {
    let setup = notifying("", ["--interval=1000", "--ready=interval"]);
    let mut server = setup.args(["--", "/nowhere/at/all"]).launch();
    server.says("seems to have failed to start");
    server.shows("failed:1");
    let expected = format!(
        "\
start_server (pid {}) is running since TIME
no worker is up
generation 1 failed to start at TIME (cannot execute /nowhere/at/all: No such file or directory), trying again
",
        server.pid()
    );
    assert_eq!(told(&server), (4, expected));
    server.stop();
}

#[test]
fn it_tells_when_start_server_does_not_write_the_status_file() {
    let server = notifying("ready:serve", []).up();
    let other = notifying("ready:serve", []).up();
    let pid = server.pid();
    let theirs = other.scratch.path("status").display().to_string();
    let table = [
        ("nowhere", "no worker is up yet, or "),
        (theirs.as_str(), ""),
    ];
    for (file, or_else) in table {
        let file = format!("--status-file={file}");
        let ended = ask_for_status(&server, ["--pid-file=pid", &file]);
        assert_eq!(ended.status.code(), Some(7), "{}", ended.printed);
        let line = format!("{file}: {or_else}start_server (pid {pid}) does not write this file");
        assert_eq!(ended.printed.lines().nth(1), Some(line.as_str()));
        for command in ["--restart", "--upgrade"] {
            let arguments = [command, "--pid-file=pid", &file];
            let ended = run_beside(&server.scratch, &arguments);
            assert_eq!(ended, (Some(1), format!("start_server: {line}\n")));
        }
    }
}

#[test]
fn without_a_status_file_it_tells_of_the_start_server() {
    let mut server = notifying("ready:serve", []).up();
    let ended = ask_for_status(&server, ["--pid-file=pid"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    let expected = format!("start_server (pid {}) is running since ", server.pid());
    assert!(ended.printed.starts_with(&expected), "{}", ended.printed);
    assert_eq!(ended.printed.lines().count(), 1);
    server.stop();
}

#[test]
fn one_without_a_worker_runs_all_the_same() {
    let setup = notifying("talk:serve", ["--ready=notify"]);
    let mut server = setup.start();
    server.worker(1);
    let ended = ask_for_status(&server, ["--pid-file=pid", "--status-file=status"]);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.said);
    let lines: Vec<_> = ended.printed.lines().skip(1).collect();
    assert_eq!(lines[0], "no worker is up");
    let pid = server.worker(1).pid;
    let started = format!("worker {pid}: generation 1, being started for ");
    assert!(lines[1].starts_with(&started), "{}", ended.printed);
    server.stop();
}

#[test]
fn it_is_3_when_nothing_runs_and_1_when_the_files_do_not_tell() {
    let server = notifying("ready:serve", []).up();
    fs::create_dir(server.scratch.path("folder")).unwrap();
    server.scratch.write("stale", "1\n");
    server.scratch.write("odd", "one\n");
    let table: [(&[&str], i32); 7] = [
        (&["--pid-file=nowhere"], 3),
        (&["--pid-file=stale"], 3),
        (&["--pid-file=stale", "--status-file=status"], 3),
        (&["--pid-file=odd"], 1),
        (&["--pid-file=folder"], 1),
        (&["--pid-file=pid", "--status-file=folder"], 1),
        (&["--status-file=status"], 1),
    ];
    for (options, status) in table {
        let arguments = [&["--status"], options].concat();
        let (code, said) = run_beside(&server.scratch, &arguments);
        assert_eq!(code, Some(status), "{options:?} {said}");
        assert_eq!(said.lines().count(), 1, "{options:?} {said}");
        assert!(said.starts_with("start_server: --"), "{options:?} {said}");
    }
}

#[test]
fn a_killed_one_does_not_run() {
    let mut server = notifying("ready:serve", []).up();
    server.signal(libc::SIGKILL);
    server.end();
    let ended = ask_for_status(&server, ["--pid-file=pid", "--status-file=status"]);
    assert_eq!(ended.status.code(), Some(3), "{}", ended.said);
    assert_eq!(ended.printed, "");
}

#[test]
fn with_a_value_it_is_perls_abbreviation_of_status_file() {
    for options in [
        &["--status", "file"][..],
        &["--status=file"],
        &["-stat", "file"],
    ] {
        let mut server = Setup::new(options).role("serve").start();
        server.eventually("the status file", || {
            server.scratch.read("file").starts_with("1:").then_some(())
        });
        server.stop();
    }
}
