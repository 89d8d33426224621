//! Attacks on the notify socket by processes that mean harm.

use super::{socket, start, talk};
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, skipped, Setup};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_flood_of_status_messages_is_cut_off_in_the_log() {
    let mut server = talk(["--ready=notify"]).start();
    let pid = server.worker(1).pid;
    server.has_said(1, "STATUS=loading\n".repeat(200));
    server.has_said(1, "READY=1");
    server.up(&[1]);
    server.says(&format!(
        "start_server: new worker {pid}: 100 more status messages\n"
    ));
    assert_eq!(server.count("loading\n"), 100, "{}", server.log());
    server.scratch.write("leave", "");
    server.stop();
}

/// On Linux everybody can read there under which path each socket was bound.
#[test]
fn the_name_of_the_socket_is_not_in_proc_net_unix() {
    let mut server = by_envdir("ready:serve", ["--ready=notify"]).up();
    let path = socket(&server, 1);
    let name = path.file_name().unwrap().to_str().unwrap();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    assert!(!table.contains(name), "{name}");
    server.stop();
}

/// Sends a text to a socket, as the user without privileges. Its arguments are the path of the socket and the text.
const NOBODY: &str = "
import os, signal, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), sys.argv[1])
";

/// Whether [`NOBODY`] can run here. Otherwise the test is reported as skipped.
fn is_possible() -> bool {
    let is_possible = kernel::is_root() && Command::new("python3").arg("-V").output().is_ok();
    if !is_possible {
        skipped("python3, and root's right to become another user");
    }
    is_possible
}

/// A worker passes the name of its socket on to its children, and they may pass it on.
#[test]
#[cfg(target_os = "linux")]
fn another_user_cannot_speak_for_a_worker() {
    if !is_possible() {
        return;
    }
    let mut server = talk(["--ready=notify"]).start();
    let worker = server.worker(1).pid;
    let send = |words: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", NOBODY]).arg(socket(&server, 1));
        let mut python = python.arg(words).spawn().unwrap();
        let pid = python.id();
        assert!(python.wait().unwrap().success());
        pid
    };
    let first = send("READY=1");
    let line = format!("start_server: ignoring process {first} of user 65534: it wrote to the notify socket of worker {worker}, but does not belong to it\n");
    server.says(&line);
    send("STATUS=false\nREADY=1");
    server.has_said(1, "STATUS=true");
    server.says(&format!("new worker {worker}: true\n"));
    let log = server.log();
    assert!(!log.contains("false"), "{log}");
    assert_eq!(log.matches("ignoring").count(), 1, "{log}");
    assert_eq!(server.outline(), "", "{log}");
    server.has_said(1, "READY=1");
    server.up(&[1]);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn a_worker_that_has_dropped_its_privileges_is_heard() {
    if !is_possible() {
        return;
    }
    let script = format!("{NOBODY}signal.pause()\n");
    let options = ["--status-file=status", "--ready=notify", "--", "sh", "-c"];
    let mut server = Setup::new(options)
        .args(["exec python3 -c \"$0\" \"$NOTIFY_SOCKET\" READY=1", &script])
        .launch();
    server.up(&[1]);
    server.term();
    server.end();
    assert!(!server.log().contains("ignoring"), "{}", server.log());
}

/// A connection whose reader does not read, with data for that reader, and a thousand seconds for close(2) to wait. The
/// last copy of it is in the datagram.
const LINGERING: &str = "
import array, socket, struct, sys
listener = socket.create_server(('127.0.0.1', 0))
connection = socket.create_connection(listener.getsockname())
reader, _ = listener.accept()
connection.setblocking(False)
try:
    while True:
        connection.send(bytes(65536))
except BlockingIOError:
    pass
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
rights = array.array('i', [connection.fileno()])
sender.sendmsg([b'X=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], 0, sys.argv[1])
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 1000))
connection.close()
print('sent', flush=True)
sys.stdin.read()
";

/// The same without end. The receiver may close its copy first. The last copy is then the sender's own, which is why a
/// thread closes that one.
const LINGERING_FLOOD: &str = "
import os, socket, struct, sys, threading
listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
readers = []
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect(sys.argv[1])
print('sent', flush=True)
while os.path.exists(sys.argv[1]):
    connection = socket.create_connection(listener.getsockname())
    readers.append(listener.accept())
    connection.setblocking(False)
    try:
        while True:
            connection.send(bytes(65536))
    except BlockingIOError:
        pass
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
    try:
        socket.send_fds(sender, [b'X=1'], [connection.fileno()])
    except OSError:
        break
    threading.Thread(target=connection.close).start()
os._exit(0)
";

#[test]
fn a_flood_of_such_descriptors_lets_the_next_worker_be_heard() {
    let mut server = start(talk(["--ready=notify"]), "READY=1");
    let mut python = Command::new("python3");
    python.args(["-c", LINGERING_FLOOD]).arg(socket(&server, 1));
    let Ok(mut python) = python.stdout(Stdio::piped()).spawn() else {
        return skipped("python3");
    };
    let mut line = String::new();
    let output = BufReader::new(python.stdout.take().unwrap()).read_line(&mut line);
    assert!(output.is_ok() && line == "sent\n", "{line}");
    server.next_role("ready:serve");
    server.hup();
    server.up(&[1, 2]);
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
    python.wait().unwrap();
}

#[test]
fn a_descriptor_that_takes_long_to_close_holds_nobody_up() {
    let mut server = start(talk(["--ready=notify"]), "READY=1");
    let mut python = Command::new("python3");
    python.args(["-c", LINGERING]).arg(socket(&server, 1));
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    // It must not read before the sender has closed its own copy.
    kernel::kill(server.pid(), libc::SIGSTOP);
    let Ok(mut python) = python.spawn() else {
        kernel::kill(server.pid(), libc::SIGCONT);
        return skipped("python3");
    };
    let mut line = String::new();
    let output = BufReader::new(python.stdout.take().unwrap()).read_line(&mut line);
    kernel::kill(server.pid(), libc::SIGCONT);
    assert!(output.is_ok() && line == "sent\n", "{line}");
    server.next_role("ready:serve");
    server.hup();
    server.worker(2);
    server.notes("signal 1 15");
    drop(python.stdin.take());
    python.wait().unwrap();
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
}
