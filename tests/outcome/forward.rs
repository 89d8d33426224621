//! `--forward-signal`: a signal is passed on to the worker that serves, and has no other effect.

use super::notifying;
use crate::support::{run_beside, Server};

/// A shell that notes the signals that it gets.
const WORKER: &str = "cd \"$WORKER_DIR\"
for signal in TTIN USR1 USR2; do trap \"echo $signal >>notes\" $signal; done
echo \"began $SERVER_STARTER_GENERATION $$\" >>notes
while test -f notes; do sleep 0.05; done";

fn forwarding(signals: &[&str]) -> Server {
    let signals = signals
        .iter()
        .map(|signal| format!("--forward-signal={signal}"));
    let setup = notifying("", ["--ready=interval", "--log-file=out"]).args(signals);
    let server = setup.args(["--", "sh", "-c", WORKER]).launch();
    server.file_has("notes", "began 1 ");
    server.up(&[1]);
    server
}

#[test]
fn it_reaches_the_worker_and_nobody_else() {
    let mut server = forwarding(&["TTIN", "USR1"]);
    std::fs::rename(server.scratch.path("out"), server.scratch.path("out.1")).unwrap();
    server.signal(libc::SIGTTIN);
    server.notes("TTIN");
    server.signal(libc::SIGUSR1);
    server.notes("USR1");
    let worker = server.started()[0].1;
    let line = format!("start_server: received USR1, forwarding it to worker {worker}\n");
    server.file_has("out.1", &line);
    assert!(
        !server.scratch.path("out").exists(),
        "USR1 has opened the log again"
    );
    server.stop();
}

#[test]
fn with_usr2_an_upgrade_is_refused() {
    let mut server = forwarding(&["USR2"]);
    let arguments = ["--upgrade", "--pid-file=pid", "--status-file=status"];
    let (status, said) = run_beside(&server.scratch, &arguments);
    let pid = server.pid();
    let line =
        format!("start_server: start_server (pid {pid}) forwards USR2, so it cannot be upgraded\n");
    assert_eq!((status, said), (Some(1), line));
    server.signal(libc::SIGUSR2);
    server.notes("USR2");
    server.stop();
}
