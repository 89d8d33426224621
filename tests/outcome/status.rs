//! The words of `--status`, and its exit statuses.

use super::{notifying, FAIL};
use crate::support::{run_beside, Finished, Server, Setup};
use std::fs;

fn ask_for_status<const N: usize>(server: &Server, options: [&str; N]) -> Finished {
    Setup::beside(&server.scratch, ["--status"])
        .args(options)
        .finish()
}

/// The words about a running start_server, without the date and the ages.
fn told(server: &Server) -> String {
    let ended = ask_for_status(server, ["--pid-file=pid", "--status-file=status"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert_eq!(ended.said, "");
    let cut = |line: &str| {
        let short = line.split_once(" since ").or(line.split_once(" for "));
        let (short, time) = short.unwrap_or((line, "1"));
        assert!(time.contains(|c: char| c.is_ascii_digit()), "{line}");
        format!("{short}\n")
    };
    ended.printed.lines().map(cut).collect()
}

#[test]
fn it_tells_of_the_start_server_and_each_worker() {
    let mut server = notifying("ready:linger", ["--max-start-failures=2"]).up();
    let first = server.worker(1).pid;
    let head = format!("start_server (pid {}) is running\n", server.pid());
    let expected =
        format!("{head}generation 1 serves\nworker {first}: generation 1, current, up\n");
    assert_eq!(told(&server), expected);
    server.hup();
    server.up(&[1, 2]);
    server.notes("signal 1 15");
    let second = server.worker(2).pid;
    let both = format!(
        "\
worker {first}: generation 1, old, up
worker {second}: generation 2, current, up
"
    );
    assert_eq!(told(&server), format!("{head}generation 2 serves\n{both}"));
    server.next_role(FAIL);
    server.hup();
    server.shows("1 2 failed:4 given-up:4");
    let expected =
        format!("{head}generation 2 serves\ngeneration 4 failed to start, given up\n{both}");
    assert_eq!(told(&server), expected);
    server.next_role("fail");
    server.hup();
    server.shows("1 2 failed:4");
    let expected =
        format!("{head}generation 2 serves\ngeneration 4 failed to start, trying again\n{both}");
    assert_eq!(told(&server), expected);
    server.scratch.write("leave", "");
    server.scratch.write("fail", "");
    server.stop();
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
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    let second = ended.printed.lines().nth(1);
    let expected = "no worker is up yet: --status-file=status: No such file or directory";
    assert_eq!(second, Some(expected), "{}", ended.printed);
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
