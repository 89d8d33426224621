//! `--daemonize` returns when the service is there, or tells why it is not.

use super::notifying;
use crate::support::{pid_in_file, Daemon, Setup};

#[test]
fn it_returns_when_the_pid_file_is_written_and_the_sockets_are_bound() {
    let port = crate::support::free_port();
    let options = ["--daemonize", "--log-file=out", "--path=socket"];
    let setup = notifying("ready:serve", options).args([format!("--port=127.0.0.1:{port}")]);
    let worker = std::env::current_exe().unwrap();
    let ended = setup.worker_at(worker).finish();
    // Now, and not eventually.
    let pid = pid_in_file(&ended.server);
    let daemon = Daemon::of(ended);
    assert_eq!(pid, Some(daemon.pid()));
    let server = &daemon.server;
    assert_ne!(daemon.pid(), server.pid());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(server.scratch.path("socket").exists());
    let stop = Setup::beside(&server.scratch, ["--stop", "--pid-file=pid"]);
    assert!(stop.finish().status.success());
}

#[test]
fn a_start_that_fails_is_printed_and_its_status_is_the_callers() {
    let other = notifying("ready:serve", []).up();
    let port = format!("--port=127.0.0.1:{}", other.worker(1).port());
    let held = format!("--pid-file={}", other.scratch.path("pid").display());
    let table: [(&[&str], &str); 8] = [
        (&[&port], "Address already in use"),
        (&[&held], "start_server is already running as process"),
        (&["--dir=nowhere"], "--dir=nowhere: No such file"),
        (&["--path=nowhere/socket"], "--path=nowhere/socket: "),
        (&["--pid-file=nowhere/pid"], "--pid-file=nowhere/pid: "),
        (&["--status-file=nowhere/x"], "--status-file=nowhere/x: "),
        (&["--log-file=nowhere/out"], "--log-file=nowhere/out: "),
        (&["--ready=fd=99999999"], "--ready=fd=99999999: "),
    ];
    for (options, reason) in table {
        let usual = ["--daemonize", "--log-file=out", "--pid-file=pid"];
        let ended = Setup::new(usual).args(options).args(["true"]).finish();
        assert_eq!(ended.status.code(), Some(1), "{options:?}");
        assert!(ended.said.contains(reason), "{options:?}: {}", ended.said);
        assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
        let names = ended.server.scratch.names();
        assert!(!names.contains(&"pid".to_string()), "{options:?}");
    }
}

/// A deploy tool waits for the end of the output, as `$(...)` and ssh do.
#[test]
fn the_callers_output_ends_when_it_returns() {
    let logs = ["--log-file=out", "--log-file=| cat >>out"];
    let checks = ["--ready=notify", "--interval=0"];
    for (log, check) in logs.iter().flat_map(|log| checks.map(|check| (log, check))) {
        for (status, program) in [("--interval=0", "cat"), ("--status-file=status", "false")] {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "said=$(\"$@\" 2>&1); echo \"$? $said\"", "sh"]);
            let setup = Setup::by(
                {
                    shell.arg(crate::support::program());
                    shell
                },
                ["--daemonize", "--pid-file=pid", log, check, status, program],
            );
            let ended = setup.finish();
            let first_line = ended.printed.starts_with("0 start_server (pid:");
            assert!(
                first_line && ended.printed.lines().count() == 1,
                "{}",
                ended.printed
            );
            Daemon::of(ended).stop();
        }
    }
}
