//! The words of `--restart` and `--stop`, and their exit statuses.

use super::{assert_ended_meanwhile, notifying, restart, FAIL};
use crate::support::fixtures::USUAL;
use crate::support::reading::read_until;
use crate::support::{kernel, run_beside, skipped, Server, Setup};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

/// Launches `--restart` and waits until its HUP was obeyed, which the log file tells that is opened then.
fn launch(server: &Server) -> Server {
    fs::rename(server.scratch.path("out"), server.scratch.path("out.old")).unwrap();
    let command = restart(server, []).launch();
    let obeyed = || server.scratch.path("out").exists().then_some(());
    server.eventually("the log file", obeyed);
    command
}

fn assert_ends(mut command: Server, status: i32, said: &str) {
    let ended = command.end();
    assert_eq!(ended.code(), Some(status), "{}", command.log());
    assert_eq!(command.log(), said);
}

#[test]
fn it_tells_how_it_goes() {
    let mut server = notifying("ready:linger", ["--ready=notify"]).up();
    server.next_role("fail");
    let command = restart(&server, []).launch();
    server.worker(2);
    server.next_role("talk:linger");
    server.scratch.write("fail", "");
    command.says("generation 2 failed to start (exit status 1), trying again\n");
    let pid = server.worker(3).pid;
    server.has_said(3, "READY=1");
    command.says(&format!(
        "generation 3 (pid {pid}) is up, waiting for 1 old worker\n"
    ));
    server.scratch.write("leave", "");
    let said = format!(
        "\
generation 2 failed to start (exit status 1), trying again
generation 3 (pid {pid}) is up, waiting for 1 old worker
generation 3 (pid {pid}) is up
"
    );
    assert_ends(command, 0, &said);
    server.stop();
}

#[test]
fn it_counts_the_old_workers() {
    let mut server = notifying("ready:linger", []).up();
    server.hup();
    server.up(&[1, 2]);
    server.notes("signal 1 15");
    server.worker(2);
    let command = restart(&server, []).launch();
    let pid = server.worker(3).pid;
    let up = format!("generation 3 (pid {pid}) is up");
    command.says(&format!("{up}, waiting for 2 old workers\n"));
    server.scratch.write("leave", "");
    let said = format!("{up}, waiting for 2 old workers\n{up}\n");
    let mut command = command;
    assert!(command.end().success());
    // It need not see them go one by one.
    let log = command.log();
    let log = log.replace(&format!("{up}, waiting for 1 old worker\n"), "");
    assert_eq!(log, said);
    server.stop();
}

/// The text on a terminal, as soon as it ends with this.
fn shown(user: &OwnedFd, end: &str) -> String {
    read_until(user, |shown| shown.ends_with(end))
}

#[test]
fn on_a_terminal_it_is_one_line_that_is_redrawn() {
    let server = notifying("ready:linger", []).up();
    let (user, program) = kernel::terminal();
    let number = program.as_raw_fd();
    let on_terminal =
        |command: &mut _| kernel::on_fork(command, move || kernel::duplicate(number, 2));
    let mut command = restart(&server, []).with(on_terminal).launch();
    let up = format!("generation 2 (pid {}) is up", server.worker(2).pid);
    let first = format!("\r{up}, waiting for 1 old worker\x1b[K");
    assert_eq!(shown(&user, &first), first);
    server.scratch.write("leave", "");
    assert!(command.end().success());
    // The terminal itself adds the return to the newline.
    let last = format!("\r{up}\x1b[K\r\n");
    assert_eq!(shown(&user, &last), last);
}

#[test]
fn a_restart_that_is_given_up_is_status_3() {
    let mut server = notifying("ready:serve", ["--max-start-failures=1"]).up();
    for failed in 2..=4 {
        // An earlier failure is not news.
        server.next_role(FAIL);
        let ended = restart(&server, []).finish();
        assert_eq!(ended.status.code(), Some(3), "{}", ended.said);
        let expected = format!(
                "start_server: generation {failed} failed to start (exit status 7), the restart was given up, generation 1 is still serving\n"
            );
        assert_eq!(ended.said, expected);
        assert_eq!(
            server.outline(),
            format!("1 failed:{failed} given-up:{failed}")
        );
    }
    server.next_role("ready:serve");
    let ended = restart(&server, []).finish();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    server.shows("5");
    server.worker(5);
    server.stop();
}

#[test]
fn a_restart_that_takes_too_long_is_status_2_and_goes_on() {
    let mut server = notifying("ready:serve", ["--ready=notify"]).up();
    server.next_role("talk:serve");
    let ended = restart(&server, ["--timeout=1"]).finish();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
    assert_eq!(
        ended.said,
        "start_server: the restart is not complete yet\n"
    );
    server.has_said(2, "READY=1");
    server.shows("2");
    server.stop();
}

#[test]
fn a_stop_that_takes_too_long_is_status_2_and_goes_on() {
    let mut server = notifying("ready:linger", []).up();
    let options = ["--stop", "--pid-file=pid", "--timeout=1"];
    let ended = Setup::beside(&server.scratch, options).finish();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
    let expected = format!("start_server: process {} has not ended yet\n", server.pid());
    assert!(ended.said.ends_with(&expected), "{}", ended.said);
    server.scratch.write("leave", "");
    assert!(server.end().success());
}

#[test]
fn a_timeout_of_0_is_none() {
    let server = notifying("ready:linger", []).up();
    let options = ["--stop", "--pid-file=pid", "--timeout=0"];
    let mut command = Setup::beside(&server.scratch, options).launch();
    server.notes("signal 1 15");
    assert!(Setup::new(["--version"]).finish().status.success());
    assert!(!command.has_ended(), "{}", command.log());
    server.scratch.write("leave", "");
    assert!(command.end().success());
}

#[test]
fn a_start_server_that_ends_meanwhile_or_does_not_run_is_status_1() {
    let mut server = notifying("ready:serve", ["--ready=notify"]).up();
    server.next_role("talk:serve");
    let mut command = restart(&server, []).launch();
    server.worker(2);
    server.stop();
    assert_eq!(command.end().code(), Some(1), "{}", command.log());
    assert_ended_meanwhile(&server, "restart", &command.log());
    for text in [None, Some("1\n")] {
        if let Some(text) = text {
            server.scratch.write("pid", text);
            server.scratch.write("status", "1:1\n");
        }
        let ended = restart(&server, []).finish();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
    }
}

#[test]
fn two_at_once_both_succeed() {
    let setup = notifying("ready:serve", ["--ready=notify", "--log-file=out"]);
    let mut server = setup.up();
    server.next_role("talk:serve");
    let mut commands = [launch(&server), launch(&server)];
    server.has_said(2, "READY=1");
    server.worker(3);
    server.has_said(3, "READY=1");
    server.shows("3");
    for command in &mut commands {
        assert_eq!(command.end().code(), Some(0), "{}", command.log());
    }
    server.stop();
}

#[test]
fn two_at_once_of_which_one_fails_both_succeed() {
    let setup = notifying("ready:serve", ["--max-start-failures=1", "--log-file=out"]);
    let mut server = setup.up();
    server.next_role("fail");
    let mut commands = [launch(&server), launch(&server)];
    server.worker(2);
    server.next_role("ready:serve");
    server.scratch.write("fail", "");
    for command in &mut commands {
        assert_eq!(command.end().code(), Some(0), "{}", command.log());
    }
    server.shows("3");
    server.worker(3);
    server.stop();
}

#[test]
fn two_at_once_are_both_given_up() {
    let setup = notifying("ready:serve", ["--max-start-failures=1", "--log-file=out"]);
    let mut server = setup.up();
    server.next_role("fail");
    let mut commands = [launch(&server), launch(&server)];
    server.scratch.write("fail", "");
    for command in &mut commands {
        assert_eq!(command.end().code(), Some(3), "{}", command.log());
        let said =
            "generation 3 failed to start (exit status 1), the restart was given up, generation 1 is still serving\n";
        assert!(command.log().ends_with(said), "{}", command.log());
    }
    server.shows("1 failed:3 given-up:3");
    server.stop();
}

#[test]
fn while_the_first_worker_is_being_started_it_waits_and_then_restarts() {
    let mut server = notifying("talk:serve", ["--ready=notify"]).start();
    server.worker(1);
    let mut command = restart(&server, []).launch();
    let pid = server.started()[0].1;
    command.says(&format!(
        "waiting for worker {pid} (generation 1) to pass its check, started at "
    ));
    server.has_said(1, "READY=1");
    server.worker(2);
    server.has_said(2, "READY=1");
    assert!(command.end().success(), "{}", command.log());
    server.shows("2");
    server.stop();
}

#[test]
fn when_nothing_changes_it_says_what_it_waits_for() {
    let mut server = notifying("ready:linger", ["--ready=notify"]).up();
    let first = server.worker(1).pid;
    server.next_role("talk:serve");
    let mut command = restart(&server, []).launch();
    let second = server.worker(2).pid;
    let check =
        format!("waiting for worker {second} (generation 2) to pass its check, started at ");
    command.says(&check);
    server.has_said(2, "READY=1");
    let end = format!("waiting for the end of worker {first} (generation 1, told to finish at ");
    command.says(&end);
    server.scratch.write("leave", "");
    assert!(command.end().success(), "{}", command.log());
    // Each line is printed once.
    assert_eq!(command.count("waiting for worker "), 1, "{}", command.log());
    server.stop();
}

#[test]
fn between_two_attempts_it_says_so() {
    let mut server = notifying("ready:serve", ["--ready=notify", "--interval=1000"]).up();
    server.next_role(FAIL);
    let mut command = restart(&server, []).launch();
    command.says("generation 2 failed to start (exit status 7), trying again\n");
    command.says("waiting for the next attempt to start a worker\n");
    server.stop();
    assert_eq!(command.end().code(), Some(1), "{}", command.log());
}

#[test]
fn during_kill_old_delay_it_says_so() {
    let options = ["--ready=interval", "--interval=1"];
    let mut server = notifying("serve", options)
        .args(["--kill-old-delay=1000"])
        .up();
    let mut command = restart(&server, []).launch();
    let first = server.worker(1).pid;
    server.up(&[1, 2]);
    command.says(&format!(
        "waiting for the end of worker {first} (generation 1, not told to finish yet)\n"
    ));
    server.stop();
    assert_eq!(command.end().code(), Some(1), "{}", command.log());
}

#[test]
fn during_the_end_restart_and_upgrade_end_at_once() {
    let mut server = notifying("ready:linger", []).up();
    server.term();
    server.notes("signal 1 15");
    let expected = format!(
        "start_server: start_server (pid {}) is ending\n",
        server.pid()
    );
    for command in ["--restart", "--upgrade"] {
        let arguments = [command, "--pid-file=pid", "--status-file=status"];
        let ended = run_beside(&server.scratch, &arguments);
        assert_eq!(ended, (Some(1), expected.clone()), "{command}");
    }
    server.scratch.write("leave", "");
    assert!(server.end().success());
}

/// Perl's start_server has no details, and USR2 would end it.
#[test]
fn a_start_server_of_perl_is_controlled_as_far_as_it_can_be() {
    let perls = std::path::Path::new("/usr/bin/start_server");
    if !perls.exists() {
        return skipped("Perl's start_server");
    }
    let mut server = Setup::by(std::process::Command::new(perls), USUAL)
        .role("serve")
        .up();
    let first = server.worker(1).pid;
    let control = |command: &str| {
        // It misses a signal that comes between its last look and its wait.
        server.idle_for_signals();
        let arguments = [command, "--pid-file=pid", "--status-file=status"];
        Setup::beside(&server.scratch, arguments).finish()
    };
    let status = control("--status");
    assert_eq!(status.status.code(), Some(0), "{}", status.said);
    let lines = format!("generation 1 serves\nworker {first}: generation 1, current, up for ");
    assert!(status.printed.contains(&lines), "{}", status.printed);
    let upgrade = control("--upgrade");
    assert_eq!(upgrade.status.code(), Some(1), "{}", upgrade.said);
    assert!(
        upgrade.said.contains("cannot be upgraded"),
        "{}",
        upgrade.said
    );
    let restart = control("--restart");
    assert_eq!(restart.status.code(), Some(0), "{}", restart.said);
    let second = server.worker(2).pid;
    // It may also have seen the old worker.
    let last = format!("generation 2 (pid {second}) is up\n");
    assert!(restart.said.ends_with(&last), "{}", restart.said);
    server.idle_for_signals();
    kernel::kill(server.pid(), libc::SIGSTOP);
    let arguments = ["--restart", "--pid-file=pid", "--status-file=status"];
    let mut restart = Setup::beside(&server.scratch, arguments).launch();
    restart.says("waiting for a newer worker to be up\n");
    kernel::kill(server.pid(), libc::SIGCONT);
    assert!(restart.end().success(), "{}", restart.log());
    assert_eq!(control("--stop").status.code(), Some(0));
    assert!(server.end().success());
}
