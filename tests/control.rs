//! `--restart` and `--stop`, and the running start_server that they speak to.

use crate::support::fixtures::{with_role, RESTART};
use crate::support::{Finished, Server, Setup};

fn stop(server: &Server) -> Setup {
    Setup::beside(&server.scratch, ["--stop", "--pid-file=pid"])
}

fn restart(server: &Server) -> Setup {
    Setup::beside(&server.scratch, RESTART)
}

fn generations(server: &Server) -> Vec<u64> {
    let status = server.status().into_iter();
    status.map(|(generation, _)| generation).collect()
}

/// A command that should wait would have ended long before another one has begun and ended.
fn let_another_command_live() {
    assert!(Setup::new(["--version"]).finish().status.success());
}

fn assert_success(ended: &Finished) {
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
}

#[test]
fn restart_returns_when_just_the_new_generation_is_up() {
    let mut server = with_role("serve", []).up();
    for generation in 2..=3 {
        let ended = restart(&server).finish();
        assert_success(&ended);
        assert_eq!(generations(&server), [generation]);
        // Perl's is silent; ours tells how it goes, but of no error.
        assert!(!ended.said.contains("start_server:"), "{}", ended.said);
        server.worker(generation);
    }
    server.stop();
    assert_eq!(server.log().matches("received HUP").count(), 2);
}

#[test]
fn restart_waits_while_an_old_worker_stays() {
    // The delay gives it time to see both generations in the status file and to be wrong.
    let mut server = with_role("linger", ["--kill-old-delay=1"]).up();
    let mut command = restart(&server).launch();
    server.up(&[1, 2]);
    server.says_times("killing old workers", 2);
    server.notes("signal 1 15");
    let_another_command_live();
    assert!(!command.has_ended(), "{}", command.log());
    server.scratch.write("leave", "");
    let ended = command.end();
    assert_eq!(generations(&server), [2]);
    assert_eq!(ended.code(), Some(0), "{}", command.log());
    server.stop();
}

#[test]
fn stop_returns_when_the_last_worker_has_ended() {
    let mut server = with_role("linger", []).up();
    let mut command = stop(&server).launch();
    server.notes("signal 1 15");
    let_another_command_live();
    assert!(!command.has_ended(), "{}", command.log());
    assert!(server.scratch.path("pid").exists());
    server.scratch.write("leave", "");
    let ended = command.end();
    assert!(!server.scratch.path("pid").exists());
    assert_eq!(ended.code(), Some(0), "{}", command.log());
    assert_eq!(server.end().code(), Some(0));
    assert!(server.log().ends_with("exiting\n"), "{}", server.log());
}

#[test]
fn stop_tells_both_processes_on_standard_error() {
    let mut server = with_role("serve", []).up();
    let ended = stop(&server).finish();
    assert_success(&ended);
    let expected = format!(
        "stop_server (pid:{}) stopping now (pid:{})...\n",
        ended.server.pid(),
        server.pid()
    );
    assert_eq!((ended.said, ended.printed), (expected, String::new()));
    server.end();
}

#[test]
fn stop_sends_term_and_so_the_signal_on_term() {
    let mut server = with_role("serve", ["--signal-on-term=QUIT"]).up();
    assert_success(&stop(&server).finish());
    server.end();
    let log = server.log();
    assert!(log.contains("received TERM, sending QUIT to all workers:"));
    server.notes("signal 1 3");
}

#[test]
fn a_restart_leaves_the_pid_file_to_stop() {
    let mut server = with_role("serve", []).up();
    assert_success(&restart(&server).finish());
    server.worker(2);
    assert_success(&stop(&server).finish());
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn the_program_of_the_service_may_follow_the_options() {
    let mut server = with_role("serve", []).up();
    let command = restart(&server).args(["--port=0", "--", "false"]);
    assert_success(&command.finish());
    assert_eq!(generations(&server), [2]);
    server.worker(2);
    server.stop();
}

/// Expects that a command that failed has changed no file and sent no signal.
fn assert_untouched(mut server: Server, files: [String; 2]) {
    assert_eq!(
        ["pid", "status"].map(|name| server.scratch.read(name)),
        files
    );
    server.stop();
    // A signal sent before this TERM would stand before it in the log.
    let story = server.story();
    let expected = "\
start_server (pid:PID) starting now...
starting new worker A
received TERM, sending TERM to all workers:A
worker A died, status:0
exiting
";
    assert_eq!(story, expected);
}

#[test]
fn without_its_files_a_command_fails_and_signals_nothing() {
    const COMMANDS: [&[&str]; 7] = [
        &["--stop"],
        &["--stop", "--pid-file=nowhere"],
        &["--restart"],
        &["--restart", "--pid-file=pid"],
        &["--restart", "--status-file=status"],
        &["--restart", "--pid-file=pid", "--status-file=nowhere"],
        &["--restart", "--pid-file=nowhere", "--status-file=status"],
    ];
    let server = with_role("serve", []).up();
    let files = ["pid", "status"].map(|name| server.scratch.read(name));
    for options in COMMANDS {
        let ended = Setup::beside(&server.scratch, options).finish();
        assert!(!ended.status.success(), "{options:?}");
        assert_ne!(ended.said, "", "{options:?}");
        assert!(!server.scratch.path("nowhere").exists(), "{options:?}");
    }
    assert_untouched(server, files);
}

#[test]
fn restart_without_a_worker_in_the_status_file_fails_and_signals_nothing() {
    let server = with_role("serve", []).up();
    let files = ["pid", "status"].map(|name| server.scratch.read(name));
    for text in ["", "no generation here\n"] {
        server.scratch.write("other", text);
        let options = ["--restart", "--pid-file=pid", "--status-file=other"];
        let ended = Setup::beside(&server.scratch, options).finish();
        assert!(!ended.status.success(), "{text:?}");
        assert_ne!(ended.said, "", "{text:?}");
    }
    assert_untouched(server, files);
}
