//! A start after one that was killed, whose worker still holds what it wants.

use crate::support::{free_port, kernel, Server, Setup};
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

/// Names of files that start_server kept, and that are still there.
fn left(server: &Server) -> Vec<String> {
    let mut names = server.scratch.names();
    names.retain(|name| ["pid", "socket", "status"].contains(&name.as_str()));
    names
}

/// Kills start_server when its worker is up. The worker lives on.
fn kill(setup: Setup) -> Server {
    let mut server = setup.role("orphan").up();
    kernel::kill(server.pid(), libc::SIGKILL);
    assert_eq!(server.end().signal(), Some(libc::SIGKILL));
    server
}

/// The end of a message that something is in use, by this worker; elsewhere than on Linux nobody knows.
fn held_by(server: &Server) -> String {
    let pid = server.worker(1).pid;
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!(
            ": process {pid} ({}), a worker of a start_server that is gone",
            name.trim_end()
        ),
        Err(_) => String::new(),
    }
}

/// The same start again: refused with this line while the old worker lives; then it takes everything over.
fn again(first: Server, options: &[&str], refusal: &str) {
    let worker = first.worker(1).pid;
    let before = left(&first);
    let second = || Setup::beside(&first.scratch, options).role("serve");
    let refused = second().args(["--", "true"]).finish();
    assert_eq!(
        refused.said,
        format!("start_server: {refusal}{}\n", held_by(&first))
    );
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(left(&first), before, "nothing was touched");
    assert_eq!(first.status(), [(1, worker)]);
    kernel::kill(worker, libc::SIGTERM);
    first.notes("signal 1 15");
    first.eventually("the end of the worker", || {
        (!kernel::exists(worker)).then_some(())
    });
    let mut server = second().env("WORKER_DIR", first.scratch.path("")).start();
    let expected = format!("{}\n", server.pid());
    first.eventually("the new pid file", || {
        (first.scratch.read("pid") == expected).then_some(())
    });
    first.eventually("the new status file", || {
        let status = first.status();
        (status.len() == 1 && status[0] != (1, worker)).then_some(())
    });
    if before.contains(&"socket".to_string()) {
        server.says("removing existing socket file:");
        UnixStream::connect(first.scratch.path("socket")).unwrap();
    }
    server.stop();
    assert_eq!(left(&first), [""; 0]);
}

#[test]
fn a_start_after_it_names_the_worker_that_holds_the_port() {
    let port = free_port();
    let port = format!("--port=127.0.0.1:{port}");
    let options = [&port, "--pid-file=pid", "--status-file=status"];
    let refusal = format!("cannot bind {port}: Address already in use");
    again(kill(Setup::new(options)), &options, &refusal);
}

#[test]
fn a_start_after_it_names_the_worker_that_listens_on_the_path() {
    let setup = Setup::new(["--pid-file=pid", "--status-file=status"]);
    let path = format!("--path={}", setup.scratch.path("socket").display());
    let refusal = format!("{path}: another process listens there");
    let first = kill(setup.args([&path]));
    let options = [&path, "--pid-file=pid", "--status-file=status"];
    again(first, &options, &refusal);
}

#[test]
fn a_worker_that_no_status_file_tells_of_is_a_process_like_any_other() {
    let port = format!("--port=127.0.0.1:{}", free_port());
    let first = kill(Setup::new([port.as_str(), "--status-file=status"]));
    let second = Setup::beside(&first.scratch, [port.as_str(), "--", "true"]).finish();
    let stranger = held_by(&first).replace(", a worker of a start_server that is gone", "");
    let expected = format!("start_server: cannot bind {port}: Address already in use{stranger}\n");
    assert_eq!(second.said, expected);
    kernel::kill(first.worker(1).pid, libc::SIGTERM);
}

#[test]
fn a_second_start_with_the_port_of_one_that_lives_is_refused_and_changes_nothing() {
    let port = format!("--port=127.0.0.1:{}", free_port());
    let options = [port.as_str(), "--status-file=status", "--path=socket"];
    let mut server = Setup::new(options).role("serve").up();
    let before = left(&server);
    let second = Setup::beside(&server.scratch, [port.as_str(), "--", "true"]).finish();
    assert_eq!(second.status.code(), Some(1));
    if cfg!(target_os = "linux") {
        let holder = format!("process {} (", server.pid());
        assert!(second.said.contains(&holder), "{}", second.said);
    }
    assert_eq!(left(&server), before);
    server.restart(2);
    server.stop();
}
