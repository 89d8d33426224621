//! Processes that hold a socket of start_server and are not its workers: `--status` and `--stop` name them.

use crate::support::fixtures::with_role;
use crate::support::{Server, Setup};

/// Each worker leaves a child in a session of its own, with the sockets.
fn leaving() -> Server {
    let setup = with_role("serve", []);
    let server = setup
        .worker_after("setsid sleep 600 & echo $! >>left")
        .launch();
    server.worker(1);
    server.up(&[1]);
    server
}

fn left(server: &Server) -> Vec<String> {
    let left = server.scratch.read("left");
    left.lines().map(str::to_string).collect()
}

fn control<const N: usize>(server: &Server, options: [&str; N]) -> (String, String) {
    let ended = Setup::beside(&server.scratch, options).finish();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    (ended.printed, ended.said)
}

#[test]
fn status_and_stop_name_what_old_workers_have_left() {
    let mut server = leaving();
    let status = ["--status", "--pid-file=pid", "--status-file=status"];
    let (printed, _) = control(&server, status);
    assert!(!printed.contains("holds a socket"), "{printed}");
    server.restart(2);
    let left = left(&server);
    let stranger = |generation: usize| {
        let pid = &left[generation - 1];
        format!("process {pid} (sleep, generation {generation})")
    };
    let (printed, _) = control(&server, status);
    let line = format!(
        "{} holds a socket of start_server, but is not one of its workers\n",
        stranger(1)
    );
    assert!(printed.ends_with(&line), "{printed}");
    assert_eq!(printed.matches("holds a socket").count(), 1, "{printed}");
    let (_, said) = control(&server, ["--stop", "--pid-file=pid"]);
    for generation in [1, 2] {
        let line = format!(
            "{} still holds a socket of start_server\n",
            stranger(generation)
        );
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(server.end().success());
}

#[test]
fn without_any_nothing_is_said() {
    let mut server = with_role("serve", []).up();
    let (_, said) = control(&server, ["--stop", "--pid-file=pid"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(server.end().success());
}
