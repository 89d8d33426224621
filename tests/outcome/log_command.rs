//! The log command reads the last lines, even if the signal that ends start_server reaches other processes too.

use crate::support::fixtures::serve;
use crate::support::{is_zombie, kernel, Server, Setup};
use std::os::unix::process::{CommandExt, ExitStatusExt};

const COMMAND: &str = "--log-file=| echo $$ >>log-pids; exec cat >>out";

fn logging() -> Server {
    let setup = serve([COMMAND]).with(|command| {
        command.process_group(0);
    });
    let server = setup.start();
    server.worker(1);
    server.file_has("out", "starting new worker");
    server.file_has("log-pids", "\n");
    server
}

fn ends_with_all_lines(mut server: Server, received: &str) {
    assert_eq!(server.end().into_raw(), 0, "{}", server.log());
    server.file_has("out", "exiting\n");
    let text = server.scratch.read("out");
    assert_eq!(text.matches(received).count(), 1, "{text}");
    assert!(!text.contains("unexpectedly"), "{text}");
}

#[test]
fn ctrl_c_reaches_the_whole_process_group_and_the_last_lines_are_logged() {
    let server = logging();
    kernel::kill(-server.pid(), libc::SIGINT);
    ends_with_all_lines(server, "received INT, sending TERM to all workers:");
}

/// As with KillMode=control-group of systemd.
#[test]
fn a_log_command_that_the_same_signal_ends_is_started_again_for_the_last_lines() {
    let server = logging();
    let command: i32 = server.scratch.read("log-pids").trim().parse().unwrap();
    // Both are ended before start_server can act on either.
    kernel::kill(server.pid(), libc::SIGSTOP);
    kernel::kill(command, libc::SIGTERM);
    server.eventually("the death of the command", || {
        is_zombie(command).then_some(())
    });
    kernel::kill(server.pid(), libc::SIGTERM);
    kernel::kill(server.pid(), libc::SIGCONT);
    ends_with_all_lines(server, "received TERM, sending TERM to all workers:");
}

/// Ctrl-C ends the worker, too. Its death and the signal are seen in the same turn.
#[test]
fn a_worker_that_dies_with_start_server_has_not_died_unexpectedly() {
    let server = logging();
    let worker = server.started()[0].1;
    kernel::kill(server.pid(), libc::SIGSTOP);
    kernel::kill(worker, libc::SIGKILL);
    server.eventually("the death of the worker", || {
        is_zombie(worker).then_some(())
    });
    kernel::kill(server.pid(), libc::SIGINT);
    kernel::kill(server.pid(), libc::SIGCONT);
    ends_with_all_lines(server, &format!("worker {worker} died, status:9\n"));
}

#[test]
fn a_command_that_the_shell_does_not_find_is_refused() {
    let setup = || Setup::new(["--pid-file=pid"]).file("plain", "echo");
    for (command, program) in [
        ("| nosuch -x", "nosuch"),
        ("|exec nosuch", "nosuch"),
        ("| ./nosuch >>out", "./nosuch"),
        ("|./plain", "./plain"),
    ] {
        let ended = setup().args(["--log-file", command, "true"]).finish();
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", ended.said);
        let shown = command.trim_start_matches(['|', ' ']);
        let line =
            format!("start_server: --log-file=|{shown}: the shell finds no program {program}\n");
        assert_eq!(ended.said, line);
        assert!(!ended.server.scratch.path("pid").exists());
    }
    for command in [
        "| while read line; do echo; done",
        "| read line",
        "| 'nosuch'",
    ] {
        let mut server = setup()
            .args(["--interval=0", "--log-file", command, "sleep", "600"])
            .launch();
        server.eventually("the pid file", || {
            server.scratch.path("pid").exists().then_some(())
        });
        server.stop();
    }
}
