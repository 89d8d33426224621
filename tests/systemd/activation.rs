//! Sockets that are taken over from a service manager.

use super::{activated, bound, bound_at, count, given, is_ours, names, says, systemds};
use crate::support::reading::rest;
use crate::support::{ask, ask_path, free_port, kernel, program, Scratch, Setup};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

#[test]
fn a_socket_that_a_port_asks_for_is_taken_over_under_the_name_that_was_typed() {
    // P is the port of the socket.
    let table = [
        ("stream 127.0.0.1", "127.0.0.1:P", "127.0.0.1:P"),
        ("stream 127.0.0.1", " 127.0.0.1 : P ", "127.0.0.1:P"),
        ("stream 127.0.0.1", "[127.0.0.1]:P", "127.0.0.1:P"),
        ("stream 127.0.0.1", "localhost:P", "localhost:P"),
        ("stream 0.0.0.0", "P", "P"),
        ("stream 0.0.0.0", "0.0.0.0:P", "0.0.0.0:P"),
        ("stream [::1]", "[::1]:P", "[::1]:P"),
        ("stream [::1]", "[0:0::1]:P", "[0:0::1]:P"),
        ("stream [::1]", "::1:P", "[::1]:P"),
        ("stream [::]", "[::]:P", "[::]:P"),
        // The socket that systemd makes for a bare port serves both protocols, where the system is not told otherwise.
        #[cfg(target_os = "linux")]
        ("stream [::]", "P", "P"),
        #[cfg(target_os = "linux")]
        ("datagram [::]", "uP", "P"),
        ("datagram 127.0.0.1", "127.0.0.1:uP", "127.0.0.1:P"),
        ("datagram 0.0.0.0", "uP", "P"),
        ("datagram [::1]", "[::1]:uP", "[::1]:P"),
    ];
    for (kind, value, name) in table {
        let (socket, port) = bound(kind);
        let with_port = |text: &str| text.replace('P', &port.to_string());
        let option = format!("--port={}", with_port(value));
        let mut server = activated(&[&socket], [&option]).start();
        let report = server.worker(1);
        let ports = report.ports();
        assert_eq!(names(&report), [with_port(name)], "{kind} for {value:?}");
        assert!(
            is_ours(&report, ports[0].1, &socket),
            "{kind} for {value:?}"
        );
        let descriptor = report.descriptor(ports[0].1).unwrap();
        assert!(descriptor.starts_with(kind), "{descriptor} for {value:?}");
        assert_eq!(count(&report, port), 1, "{kind} for {value:?}");
        if kind.starts_with("stream") && !kind.contains("::1") && !value.contains("::") {
            server.up(&[1]);
            assert_eq!(ask(port).unwrap(), (1, report.pid), "{kind} for {value:?}");
        }
        server.stop();
    }
}

#[test]
fn a_socket_that_a_path_asks_for_is_taken_over() {
    let folder = Scratch::new();
    let path = folder.path("sock");
    let socket = UnixListener::bind(&path).unwrap();
    let option = format!("--path={}", path.display());
    let mut server = activated(&[&socket], [&option]).start();
    let report = server.worker(1);
    assert_eq!(names(&report), [path.to_str().unwrap()]);
    assert!(is_ours(&report, report.ports()[0].1, &socket));
    assert_eq!(ask_path(path.as_ref()).unwrap(), (1, report.pid));
    server.stop();
    assert!(!server.log().contains("removing existing socket file"));
}

#[test]
fn sockets_are_looked_for_whatever_their_order_and_others_follow_under_their_addresses() {
    let folder = Scratch::new();
    let path = |name: &str| folder.path(name).into_os_string().into_string().unwrap();
    let (other, other_port) = bound("stream [::1]");
    let (tcp, tcp_port) = bound("stream 127.0.0.1");
    let (udp, udp_port) = bound("datagram 127.0.0.1");
    let other_path = UnixListener::bind(path("other")).unwrap();
    let asked_path = UnixListener::bind(path("asked")).unwrap();
    let datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
    let sockets: [&dyn AsFd; 6] = [&other, &asked_path, &other_path, &udp, &datagrams, &tcp];
    let options = [
        &format!("--path={}", path("asked"))[..],
        "--path=new",
        "--port=127.0.0.1:0",
        &format!("--port=127.0.0.1:{tcp_port}"),
    ];
    let mut server = activated(&sockets, options).start();
    let report = server.worker(1);
    let expected = [
        "127.0.0.1:0".to_string(),
        format!("127.0.0.1:{tcp_port}"),
        path("asked"),
        "new".to_string(),
        format!("[::1]:{other_port}"),
        path("other"),
        format!("127.0.0.1:{udp_port}"),
        path("datagrams"),
    ];
    assert_eq!(names(&report), expected);
    let ours: [(usize, &dyn AsFd); 6] = [
        (1, &tcp),
        (2, &asked_path),
        (4, &other),
        (5, &other_path),
        (6, &udp),
        (7, &datagrams),
    ];
    for (index, socket) in ours {
        let (name, number) = &report.ports()[index];
        assert!(is_ours(&report, *number, socket), "{name}");
    }
    server.stop();
    // Only the one that start_server has made is gone.
    assert_eq!(folder.names(), ["asked", "datagrams", "other"]);
    assert!(!server.scratch.path("new").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_is_shown_with_an_at_sign() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let folder = Scratch::new();
    let name = folder.path("name").into_os_string().into_string().unwrap();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    let report = activated(&[&socket], []).start().worker(1);
    assert_eq!(names(&report), [format!("@{name}")]);
}

#[test]
fn a_socket_of_the_other_type_is_not_what_a_port_asks_for() {
    for (kind, value) in [
        ("datagram 127.0.0.1", "127.0.0.1:P"),
        ("stream 127.0.0.1", "127.0.0.1:uP"),
        ("stream [::1]", "P"),
    ] {
        let (socket, port) = bound_at(kind, free_port());
        let with_port = |text: &str| text.replace('P', &port.to_string());
        let option = format!("--port={}", with_port(value));
        let server = activated(&[&socket], [&option]).start();
        let report = server.worker(1);
        let host = kind.split_once(' ').unwrap().1;
        let expected = [with_port(value).replace('u', ""), format!("{host}:{port}")];
        assert_eq!(names(&report), expected, "{kind} for {value}");
        assert!(is_ours(&report, report.ports()[1].1, &socket));
        assert_eq!(count(&report, port), 2, "{kind} for {value}");
    }
}

#[test]
fn the_variables_of_a_socket_activation_are_used_up() {
    let (socket, _) = bound("stream 127.0.0.1");
    let variables = [
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
    ];
    for sockets in [&[&socket as &dyn AsFd][..], &[]] {
        let server = activated(sockets, []).env("LISTEN_PIDFDID", "7").start();
        for generation in 1..=2 {
            server.up(&[generation]);
            let report = server.worker(generation);
            assert_eq!(report.ports().len(), sockets.len());
            for name in variables {
                let found = report.variable(name);
                assert_eq!(found, None, "{name}, {} sockets", sockets.len());
            }
            server.hup();
        }
    }
}

#[test]
fn sockets_that_are_meant_for_another_process_are_left_alone() {
    let (socket, port) = bound("stream 127.0.0.1");
    for meant in [
        "LISTEN_PID=1",
        "LISTEN_PID=",
        "LISTEN_PID=x$$",
        "unset LISTEN_PID",
    ] {
        let script = format!("export LISTEN_PID; {meant}; exec \"$0\" \"$@\"");
        let server = given(&script, &[&socket], ["--port=127.0.0.1:0"]).start();
        let report = server.worker(1);
        assert_eq!(names(&report), ["127.0.0.1:0"], "{meant}");
        assert_ne!(report.port(), port, "{meant}");
        // It is as any other descriptor that the caller has left open.
        assert!(is_ours(&report, 3, &socket), "{meant}");
        let expected = meant.strip_prefix("LISTEN_PID=").map(OsString::from);
        if !meant.contains('$') {
            assert_eq!(report.variable("LISTEN_PID"), expected, "{meant}");
        }
    }
}

#[test]
fn a_port_whose_socket_is_meant_for_another_process_is_in_use() {
    let (socket, port) = bound("stream 127.0.0.1");
    let option = format!("--port=127.0.0.1:{port}");
    let script = "LISTEN_PID=1; export LISTEN_PID; exec \"$0\" \"$@\"";
    let ended = given(script, &[&socket], [&option]).args(["true"]).finish();
    assert!(!ended.status.success());
    assert!(
        ended.said.contains("Address already in use"),
        "{}",
        ended.said
    );
}

#[test]
fn a_socket_outlives_start_server_and_clients_that_connect_in_between_are_served() {
    let folder = Scratch::new();
    let path = folder.path("sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let unix = UnixListener::bind(&path).unwrap();
    let options = [
        &format!("--port=127.0.0.1:{port}")[..],
        &format!("--path={}", path.display()),
    ];
    for _ in 0..3 {
        let mut by_port = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut by_path = UnixStream::connect(&path).unwrap();
        by_port.write_all(b"?").unwrap();
        by_path.write_all(b"?").unwrap();
        let mut server = activated(&[&tcp, &unix], options).start();
        let report = server.worker(1);
        assert_eq!(rest(by_port), says(&report));
        assert_eq!(rest(by_path), says(&report));
        server.hup();
        server.up(&[2]);
        server.stop();
        assert!(path.exists());
    }
}

#[test]
fn a_socket_that_a_worker_has_shut_down_listens_again() {
    // A number that the system has chosen would be a new one then.
    let (socket, port) = bound_at("stream 127.0.0.1", free_port());
    let server = activated(&[&socket], [&format!("--port=127.0.0.1:{port}")]).up();
    TcpStream::from(socket).shutdown(Shutdown::Both).unwrap();
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    let pid = server.worker(2).pid;
    assert_eq!(ask(port).unwrap(), (2, pid));
}

#[test]
fn a_socket_that_is_taken_over_is_found_at_the_descriptor_that_its_port_names() {
    let (first, first_port) = bound("stream 127.0.0.1");
    let (second, second_port) = bound("stream 127.0.0.1");
    let (third, third_port) = bound("stream 127.0.0.1");
    // First and second are given at 3 and 4, and the third one, which nobody asks for, at 5.
    for numbers in [[3, 4], [4, 3], [5, 3], [20, 4], [0, 5], [6, 7]] {
        let options = [
            &format!("--port=127.0.0.1:{first_port}={}", numbers[0])[..],
            &format!("--port=127.0.0.1:{second_port} = {}", numbers[1]),
        ];
        let mut server = activated(&[&first, &second, &third], options).start();
        let report = server.worker(1);
        let ports = report.ports();
        assert_eq!([ports[0].1, ports[1].1], numbers);
        let expected =
            [first_port, second_port, third_port].map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(names(&report), expected);
        for ((_, number), socket) in ports.iter().zip([&first, &second, &third]) {
            assert!(is_ours(&report, *number, socket), "{ports:?}");
        }
        for port in [first_port, second_port, third_port] {
            assert_eq!(count(&report, port), 1, "{numbers:?}");
        }
        server.stop();
    }
}

#[test]
fn a_descriptor_that_is_no_socket_is_refused_with_one_line() {
    let (socket, _) = bound("stream 127.0.0.1");
    let (reader, _writer) = kernel::pipe();
    let file = fs::File::open("/dev/null").unwrap();
    type Given<'a> = &'a [&'a dyn AsFd];
    let table: [(Given, &str, i32); 5] = [
        (&[&reader], "1", 3),
        (&[&socket, &reader], "2", 4),
        (&[&file], "1", 3),
        // Nothing is open there.
        (&[&socket], "2", 4),
        (&[&socket], "2147483647", 4),
    ];
    for (sockets, count, culprit) in table {
        let ended = activated(sockets, ["--path=sock", "--pid-file=pid"])
            .env("LISTEN_FDS", count)
            .args(["--", "touch", "was_run"])
            .finish();
        assert_eq!(ended.status.code(), Some(1), "{count}");
        let start = format!("start_server: cannot use descriptor {culprit} of LISTEN_FDS: ");
        assert!(ended.said.starts_with(&start), "{}", ended.said);
        assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
        assert_eq!(ended.server.scratch.names(), ["log", "output"]);
    }
}

#[test]
fn a_number_of_sockets_that_is_none_is_no_socket() {
    let (socket, _) = bound("stream 127.0.0.1");
    for count in ["", "0", "-1", "x"] {
        let server = activated(&[&socket], []).env("LISTEN_FDS", count).start();
        assert_eq!(server.worker(1).ports(), [], "{count:?}");
    }
}

#[test]
fn systemd_socket_activate_hands_over_what_a_port_and_a_path_ask_for() {
    let Some(activate) = systemds("systemd-socket-activate") else {
        return;
    };
    let folder = Scratch::new();
    let path = folder.path("sock").into_os_string().into_string().unwrap();
    let port = free_port();
    // It becomes start_server at the first connection, and tells it little of the environment.
    let mut command = Command::new(activate);
    command
        .args(["--listen", &path, "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["--setenv=WORKER_DIR", "--setenv=WORKER_ROLE"])
        .arg(program());
    let options = [
        "--interval=0",
        &format!("--port=127.0.0.1:{port}"),
        &format!("--path={path}"),
    ];
    let mut server = Setup::by(command, options).role("serve").start();
    let first = server.eventually("an answer", || ask(port).ok());
    let report = server.worker(1);
    assert_eq!(first, (1, report.pid));
    assert_eq!(names(&report), [format!("127.0.0.1:{port}"), path.clone()]);
    assert_eq!(count(&report, port), 1);
    assert_eq!(report.variable("LISTEN_FDS"), None);
    assert_eq!(ask_path(path.as_ref()).unwrap(), (1, report.pid));
    server.stop();
    assert!(Path::new(&path).exists());
}

#[test]
fn sockets_that_a_wrapper_has_kept_are_named_in_the_refusal() {
    let (_socket, port) = bound("stream 127.0.0.1");
    let setup = Setup::new([format!("--port=127.0.0.1:{port}"), "true".to_string()]);
    let ended = setup.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").finish();
    assert_eq!(ended.status.code(), Some(1));
    let hint = "; the sockets of LISTEN_FDS are for process 1, as LISTEN_PID says: a wrapper has to exec start_server\n";
    assert!(ended.said.ends_with(hint), "{}", ended.said);
    assert!(
        ended.said.contains("Address already in use"),
        "{}",
        ended.said
    );
}
