//! The sockets: what each `--port` and `--path` binds, what the worker knows it by, and that clients never
//! notice a restart.

use crate::support::fixtures::without_port;
use crate::support::{ask, ask_path, free_port, kernel, Report, Setup};
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The report of the one worker of a command line.
fn report<const N: usize>(options: [&str; N]) -> Report {
    let mut server = without_port(options).start();
    let report = server.worker(1);
    server.stop();
    report
}

/// The names in `SERVER_STARTER_PORT` and what is found behind them: kind and host.
fn seen(report: &Report) -> Vec<(String, String)> {
    let look = |(name, fd)| {
        let found = report.descriptor(fd).unwrap();
        let mut words = found.split(' ');
        let kind = words.next().unwrap();
        let address = words.next().unwrap();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        (name, format!("{kind} {host}"))
    };
    report.ports().into_iter().map(look).collect()
}

fn names(report: &Report) -> Vec<String> {
    report.ports().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_port_syntax_has_its_name_and_its_socket() {
    let table = [
        ("0", "0", "stream 0.0.0.0"),
        (" 0 ", "0", "stream 0.0.0.0"),
        ("u0", "0", "datagram 0.0.0.0"),
        ("127.0.0.1:0", "127.0.0.1:0", "stream 127.0.0.1"),
        ("127.0.0.1:u0", "127.0.0.1:0", "datagram 127.0.0.1"),
        ("127.0.0.1: u0 ", "127.0.0.1:0", "datagram 127.0.0.1"),
        ("[127.0.0.1]:0", "127.0.0.1:0", "stream 127.0.0.1"),
        ("localhost:0", "localhost:0", "stream 127.0.0.1"),
        ("LocalHost:0", "LocalHost:0", "stream 127.0.0.1"),
        ("[::1]:0", "[::1]:0", "stream [::1]"),
        (" [::1] : 0 ", "[::1]:0", "stream [::1]"),
        ("::1:0", "[::1]:0", "stream [::1]"),
        ("[::1]:u0", "[::1]:0", "datagram [::1]"),
        ("[0:0::1]:0", "[0:0::1]:0", "stream [::1]"),
    ];
    for (value, name, socket) in table {
        let report = report([&format!("--port={value}")]);
        let expected = [(name.to_string(), socket.to_string())];
        assert_eq!(seen(&report), expected, "--port={value:?}");
    }
}

#[test]
fn a_port_number_is_the_port_that_clients_reach() {
    let ports = [free_port(), free_port(), free_port()];
    let [bare, v4, v6] = ports;
    let server = without_port([
        &format!("--port={bare}"),
        &format!("--port=127.0.0.1:{v4}"),
        &format!("--port=[::1]:{v6}"),
    ])
    .start();
    let report = server.worker(1);
    let expected = [
        bare.to_string(),
        format!("127.0.0.1:{v4}"),
        format!("[::1]:{v6}"),
    ];
    assert_eq!(names(&report), expected);
    for ((_, fd), port) in report.ports().into_iter().zip(ports) {
        let socket = report.descriptor(fd).unwrap();
        let address = socket.split(' ').nth(1).unwrap();
        assert!(address.ends_with(&format!(":{port}")), "{socket}");
    }
    for port in [bare, v4] {
        assert_eq!(ask(port).unwrap(), (1, report.pid));
    }
    // The one on ::1 is on no other address.
    assert!(ask(v6).is_err());
}

#[test]
fn ports_come_before_paths_each_in_its_order_at_growing_descriptors() {
    let report = report([
        "--path=b.sock",
        "--port=127.0.0.1:0",
        "--path=a.sock",
        "--port=[::1]:0",
        "--port=u0",
    ]);
    let expected = ["127.0.0.1:0", "[::1]:0", "0", "b.sock", "a.sock"];
    assert_eq!(names(&report), expected);
    let numbers: Vec<i32> = report.ports().into_iter().map(|(_, fd)| fd).collect();
    // Perl's start at 4, since perl itself has 3.
    let first = numbers[0];
    assert!(first == 3 || first == 4, "{numbers:?}");
    assert_eq!(numbers, (first..first + 5).collect::<Vec<_>>());
}

#[test]
fn a_port_is_found_at_the_descriptor_that_it_names() {
    let table = [
        ("0=7", "0", 7, "stream 0.0.0.0"),
        ("127.0.0.1:0=0", "127.0.0.1:0", 0, "stream 127.0.0.1"),
        ("127.0.0.1:0 =12 ", "127.0.0.1:0", 12, "stream 127.0.0.1"),
        ("[::1]:u0=9", "[::1]:0", 9, "datagram [::1]"),
        ("127.0.0.1:u0=200", "127.0.0.1:0", 200, "datagram 127.0.0.1"),
    ];
    for (value, name, number, socket) in table {
        let report = report([&format!("--port={value}")]);
        let expected = [(name.to_string(), number)];
        assert_eq!(report.ports(), expected, "--port={value:?}");
        assert_eq!(seen(&report)[0].1, socket, "--port={value:?}");
        let sockets = report
            .all("fd")
            .iter()
            .filter(|fd| fd.contains(":"))
            .count();
        assert_eq!(sockets, 1, "{:?}", report.all("fd"));
    }
}

#[test]
fn named_descriptors_and_others_are_handed_over_together() {
    let report = report([
        "--port=127.0.0.1:0=20",
        "--port=[::1]:0",
        "--port=u0=0",
        "--path=sock",
    ]);
    let expected = ["127.0.0.1:0", "[::1]:0", "0", "sock"];
    assert_eq!(names(&report), expected);
    let sockets: Vec<String> = seen(&report)
        .into_iter()
        .map(|(_, socket)| socket)
        .collect();
    let expected = [
        "stream 127.0.0.1",
        "stream [::1]",
        "datagram 0.0.0.0",
        "stream unix",
    ];
    assert_eq!(sockets, expected);
}

#[test]
fn without_listeners_the_variable_is_set_and_empty() {
    let report = report([]);
    assert_eq!(report.variable("SERVER_STARTER_PORT").unwrap(), "");
}

#[test]
fn a_v6_socket_leaves_the_v4_port_alone() {
    let port = free_port();
    let report = report([
        &format!("--port=[::]:{port}"),
        &format!("--port=0.0.0.0:{port}"),
    ]);
    let expected = [("stream [::]"), ("stream 0.0.0.0")];
    let sockets: Vec<String> = seen(&report)
        .into_iter()
        .map(|(_, socket)| socket)
        .collect();
    assert_eq!(sockets, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn the_backlog_is_the_one_given_and_by_default_a_long_one() {
    let backlogs = |option| {
        let report = report([option, "--port=127.0.0.1:0", "--port=[::1]:0"]);
        let found = report.all("backlog");
        found.iter().map(|text| text.parse().unwrap()).collect()
    };
    let given: Vec<u32> = backlogs("--backlog=7");
    assert_eq!(given, [7, 7]);
    // 0 is as if it were absent.
    for option in ["--backlog=0", "--interval=0"] {
        let default: Vec<u32> = backlogs(option);
        assert!(default.iter().all(|&backlog| backlog >= 128), "{default:?}");
        assert_eq!(default.len(), 2);
    }
}

#[test]
fn a_port_can_be_bound_again_at_once() {
    let port = free_port();
    let option = format!("--port=127.0.0.1:{port}");
    for _ in 0..2 {
        let mut server = without_port([&option]).start();
        server.worker(1);
        // The worker closes first, which leaves the port in TIME_WAIT.
        ask(port).unwrap();
        server.stop();
    }
}

#[test]
fn datagrams_reach_the_socket_across_a_restart() {
    let server = without_port(["--port=127.0.0.1:u0", "--status-file=status"]).start();
    let report = server.worker(1);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", report.port())).unwrap();
    for generation in 1..=2 {
        server.up(&[generation]);
        // Had the first found nobody, the second would be refused.
        client.send(b"one").unwrap();
        client.send(b"two").unwrap();
        server.hup();
    }
}

#[test]
fn a_unix_socket_is_open_to_all_whatever_the_umask_and_gone_in_the_end() {
    let folder = crate::support::Scratch::new();
    let absolute = folder.path("b.sock");
    let setup = Setup::new(["--interval=0", "--path=a=1.sock", "--path"])
        .args([&absolute])
        .role("serve")
        .with(|command| kernel::on_fork(command, || kernel::set_umask(0o077)));
    let mut server = setup.start();
    let report = server.worker(1);
    assert_eq!(names(&report), ["a=1.sock", absolute.to_str().unwrap()]);
    let paths = [server.scratch.path("a=1.sock"), absolute];
    for path in &paths {
        let data = fs::metadata(path).unwrap();
        assert!(data.file_type().is_socket());
        assert_eq!(data.permissions().mode() & 0o7777, 0o777);
        assert_eq!(ask_path(path).unwrap(), (1, report.pid));
    }
    // The files that the worker makes are under the caller's umask.
    let made = fs::metadata(server.scratch.path("report.1")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    server.stop();
    for path in &paths {
        assert!(!path.exists(), "{path:?}");
    }
}

#[test]
fn a_dead_socket_file_is_replaced_and_that_is_said() {
    let setup = Setup::new(["--interval=0", "--path=sock"]).role("serve");
    let path = setup.scratch.path("sock");
    drop(UnixListener::bind(&path).unwrap());
    // A child that another test is just forking has a copy of it until it executes its program.
    let refused = || UnixStream::connect(&path).is_err().then_some(());
    crate::support::eventually(refused, || "the socket to be dead".to_string());
    assert!(path.exists());
    let server = setup.start();
    let report = server.worker(1);
    server.says("removing existing socket file:sock");
    assert_eq!(ask_path(&path).unwrap(), (1, report.pid));
}

#[test]
fn a_unix_socket_serves_across_a_restart() {
    let server = without_port(["--path=sock", "--status-file=status"]).start();
    let path = server.scratch.path("sock");
    for generation in 1..=3 {
        server.up(&[generation]);
        let pid = server.worker(generation).pid;
        assert_eq!(ask_path(&path).unwrap(), (generation, pid));
        server.hup();
    }
}

#[test]
fn a_socket_that_cannot_be_bound_ends_it_before_any_worker() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--port={}", taken.local_addr().unwrap());
    let values = [
        taken.as_str(),
        "--port=http",
        "--port=",
        "--port=127.0.0.1",
        "--port=[::g]:0",
        "--path=no/such/folder/sock",
    ];
    for value in values {
        let setup = Setup::new([value, "--pid-file=pid", "--status-file=status"]).role("serve");
        let finished = setup.args(["--", "touch", "ran"]).finish();
        assert_ne!(finished.status.code(), Some(0), "{value}");
        assert!(!finished.said.is_empty(), "{value}");
        assert_eq!(
            finished.server.scratch.names(),
            ["log", "output"],
            "{value}"
        );
    }
}

#[test]
fn clients_without_pause_notice_none_of_five_restarts() {
    let mut server = without_port(["--port=127.0.0.1:0", "--status-file=status"]).start();
    let port = server.worker(1).port();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = || {
            let mut answers = 0;
            while !over.load(SeqCst) {
                ask(port).map_err(|error| format!("after {answers} answers: {error}"))?;
                answers += 1;
            }
            Ok::<u32, String>(answers)
        };
        let clients = [(); 4].map(|()| scope.spawn(client));
        let restarts = std::panic::catch_unwind(|| {
            for generation in 1..=6 {
                server.up(&[generation]);
                assert_eq!(ask(port).unwrap().0, generation);
                if generation < 6 {
                    server.hup();
                }
            }
        });
        over.store(true, SeqCst);
        for client in clients {
            let answers = client.join().unwrap().unwrap();
            assert!(answers > 0);
        }
        restarts.unwrap();
    });
    server.stop();
}
