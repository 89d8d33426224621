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
