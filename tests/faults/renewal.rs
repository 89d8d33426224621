//! Sockets to which nobody can connect any more are bound again at the next restart.

use crate::support::clients::ask_path;
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

fn service(role: &str) -> Server {
    let options = ["--path=socket", "--path-mode=0640"];
    by_envdir(role, options).args(["--path=other"]).up()
}

/// Restarts, and expects that this generation has the socket under the same number, and that clients reach it.
fn reached(server: &Server, generation: u64) {
    let ports = server.worker(1).variable("SERVER_STARTER_PORT");
    server.restart(generation);
    let worker = server.worker(generation);
    assert_eq!(worker.variable("SERVER_STARTER_PORT"), ports);
    let path = server.scratch.path("socket");
    assert_eq!(ask_path(&path).unwrap(), (generation, worker.pid));
    let other = server.scratch.path("other");
    assert_eq!(ask_path(&other).unwrap(), (generation, worker.pid));
    let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_path_whose_file_is_gone_is_bound_again() {
    let line = "start_server: bound socket again, because its file was gone\n";
    let mut server = service("serve");
    let path = server.scratch.path("socket");
    fs::remove_file(&path).unwrap();
    reached(&server, 2);
    assert_eq!(server.count(line), 1);
    // A dead socket is like no file.
    fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    reached(&server, 3);
    assert_eq!(server.count(line), 2);
    // Also after an upgrade, and for a worker that follows one that died.
    server.signal(libc::SIGUSR2);
    server.says("upgraded from");
    fs::remove_file(&path).unwrap();
    kernel::kill(server.worker(3).pid, libc::SIGKILL);
    server.succeeded(3);
    assert_eq!(ask_path(&path).unwrap().0, 4);
    assert_eq!(server.count(line), 3);
    reached(&server, 5);
    assert_eq!(server.count(" again, because"), 3, "{}", server.log());
    server.stop();
    assert!(!path.exists());
    assert!(!server.scratch.path("other").exists());
}

#[test]
fn what_belongs_to_somebody_else_is_said_and_left_alone() {
    let mut server = service("serve");
    let path = server.scratch.path("socket");
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    server.restart(2);
    server.says("start_server: cannot rebind socket: another process listens there");
    theirs.set_nonblocking(true).unwrap();
    while theirs.accept().is_ok() {}
    fs::remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    server.restart(3);
    server.says("start_server: cannot rebind socket: a regular file is in the way\n");
    server.stop();
    assert_eq!(fs::read(path).unwrap(), b"theirs");
}

/// On Linux a Unix socket that was shut down refuses connections for ever.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_a_worker_has_shut_down_is_bound_again() {
    let mut server = service("shuts");
    let path = server.scratch.path("socket");
    server.next_role("serve");
    server.restart(2);
    let said = "refuses connections until the next restart, because a worker has shut it down\n";
    server.says(&format!("start_server: socket {said}"));
    assert!(ask_path(&path).is_err());
    reached(&server, 3);
    let line = "bound socket again, because a worker had shut it down\n";
    assert_eq!(server.count(line), 1, "{}", server.log());
    reached(&server, 4);
    assert_eq!(server.count(" again, because"), 2, "{}", server.log());
    server.stop();
    assert!(!path.exists());
}
