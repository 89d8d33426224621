//! systemd, both ways: what start_server tells the service manager that runs it, the sockets that it takes over
//! from it, and the sockets that it hands on as it would.

use crate::support::fixtures::by_envdir;
use crate::support::{ask, free_port, kernel, program, skipped, Report, Scratch, Server, Setup};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    /// The value of NOTIFY_SOCKET.
    address: OsString,
    heard: RefCell<Vec<String>>,
    _folder: Scratch,
}

impl Manager {
    fn new() -> Manager {
        let folder = Scratch::new();
        let address = folder.path("notify");
        Manager::at(
            UnixDatagram::bind(&address).unwrap(),
            address.as_ref(),
            folder,
        )
    }

    /// Where the address is no file.
    #[cfg(target_os = "linux")]
    fn without_file() -> Manager {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        let folder = Scratch::new();
        let name = folder.path("notify").into_os_string();
        let address = SocketAddr::from_abstract_name(name.as_encoded_bytes()).unwrap();
        let mut shown = OsString::from("@");
        shown.push(&name);
        Manager::at(UnixDatagram::bind_addr(&address).unwrap(), &shown, folder)
    }

    fn at(socket: UnixDatagram, address: &OsStr, folder: Scratch) -> Manager {
        socket.set_nonblocking(true).unwrap();
        Manager {
            socket,
            address: address.into(),
            heard: RefCell::default(),
            _folder: folder,
        }
    }

    /// All that it was told so far.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let mut heard = self.heard.borrow_mut();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        heard.clone()
    }

    /// What it was told for itself: the first line of each datagram.
    fn states(&self) -> Vec<String> {
        let heard = self.heard();
        let first = heard.iter().filter_map(|datagram| datagram.lines().next());
        first
            .filter(|line| !line.starts_with("STATUS="))
            .map(str::to_string)
            .collect()
    }

    /// What it was told for people.
    fn statuses(&self) -> Vec<String> {
        let heard = self.heard();
        let lines = heard.iter().flat_map(|datagram| datagram.lines());
        lines
            .filter_map(|line| line.strip_prefix("STATUS="))
            .map(str::to_string)
            .collect()
    }

    /// Waits until it was told exactly this for itself.
    fn hears<const N: usize>(&self, server: &Server, states: [&str; N]) {
        server.eventually(&format!("{states:?} at the service manager"), || {
            (self.states() == states).then_some(())
        });
    }

    /// The time in the last word that a reload has begun.
    fn reloading_since(&self) -> u64 {
        let heard = self.heard();
        let lines = heard.iter().flat_map(|datagram| datagram.lines());
        let mut times = lines.filter_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        times.next_back().unwrap().parse().unwrap()
    }
}

/// Under this manager, workers of the role that envdir says.
fn told<const N: usize>(manager: &Manager, role: &str, options: [&str; N]) -> Setup {
    by_envdir(role, options).env("NOTIFY_SOCKET", &manager.address)
}

/// Has a worker that is being started say something. All that start_server told before is told when it is in the
/// log.
fn is_still_starting(server: &Server, generation: u64) {
    let word = format!("still starting, {}", server.log().lines().count());
    server.has_said(generation, format!("STATUS={word}"));
    server.says(&word);
    server.idle();
}

const READY: &str = "READY=1";
const RELOADING: &str = "RELOADING=1";
const STOPPING: &str = "STOPPING=1";

#[test]
fn the_manager_is_told_once_that_the_first_worker_stands_and_not_before() {
    let managers = [
        Manager::new(),
        #[cfg(target_os = "linux")]
        Manager::without_file(),
    ];
    for manager in managers {
        let mut server = told(&manager, "talk:serve", ["--ready=notify"]).start();
        let pid = server.worker(1).pid;
        is_still_starting(&server, 1);
        manager.hears(&server, []);
        server.has_said(1, READY);
        manager.hears(&server, [READY]);
        // Who waits for that word may look into the file at once.
        assert_eq!(server.status(), [(1, pid)]);
        server.has_said(1, READY);
        server.stop();
        assert_eq!(manager.states(), [READY, STOPPING]);
    }
}

#[test]
fn a_first_worker_that_fails_is_no_reason_to_tell_that_one_stands() {
    let manager = Manager::new();
    let mut server = told(&manager, "exit:1", ["--ready=notify"]).start();
    server.says_times("seems to have failed to start", 3);
    manager.hears(&server, []);
    server.next_role("ready:serve");
    manager.hears(&server, [READY]);
    server.stop();
    assert_eq!(manager.states(), [READY, STOPPING]);
}

#[test]
fn a_first_worker_that_is_given_up_never_stands() {
    let manager = Manager::new();
    let options = ["--max-start-failures=2", "--ready=notify"];
    let ended = told(&manager, "exit:1", options).start().end();
    assert_eq!(ended.code(), Some(1));
    assert!(!manager.states().contains(&READY.to_string()));
}

#[test]
fn a_reload_lasts_from_hup_until_old_workers_have_their_signal() {
    let manager = Manager::new();
    let mut server = told(&manager, "talk:linger", ["--ready=notify"]).start();
    server.worker(1);
    server.has_said(1, READY);
    manager.hears(&server, [READY]);
    let before = kernel::monotonic_micros();
    server.hup();
    manager.hears(&server, [READY, RELOADING]);
    let since = manager.reloading_since();
    assert!((before..=kernel::monotonic_micros()).contains(&since));
    server.worker(2);
    is_still_starting(&server, 2);
    manager.hears(&server, [READY, RELOADING]);
    server.has_said(2, READY);
    manager.hears(&server, [READY, RELOADING, READY]);
    assert!(server.log().contains("killing old workers"));
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
    assert_eq!(manager.states(), [READY, RELOADING, READY, STOPPING]);
}

#[test]
fn the_time_of_a_reload_is_in_the_datagram_that_tells_of_it() {
    let manager = Manager::new();
    let server = told(&manager, "serve", []).start();
    manager.hears(&server, [READY]);
    server.hup();
    manager.hears(&server, [READY, RELOADING, READY]);
    let heard = manager.heard();
    let reloading = heard.iter().find(|word| word.contains(RELOADING)).unwrap();
    let mut lines = reloading.lines();
    assert_eq!(lines.next(), Some(RELOADING));
    let time = lines.next().unwrap().strip_prefix("MONOTONIC_USEC=");
    assert!(time.unwrap().parse::<u64>().is_ok(), "{reloading}");
}

#[test]
fn a_reload_lasts_until_kill_old_delay_is_over() {
    let manager = Manager::new();
    let options = ["--kill-old-delay=100000"];
    let mut server = told(&manager, "serve", options).start();
    manager.hears(&server, [READY]);
    server.hup();
    server.says("sleeping 100000 secs before killing old workers");
    server.idle();
    manager.hears(&server, [READY, RELOADING]);
    server.stop();
    assert_eq!(manager.states(), [READY, RELOADING, STOPPING]);
}

#[test]
fn a_reload_that_is_given_up_is_over_too() {
    let manager = Manager::new();
    let options = ["--ready=notify", "--max-start-failures=1"];
    let mut server = told(&manager, "ready:serve", options).start();
    let pid = server.worker(1).pid;
    manager.hears(&server, [READY]);
    server.next_role("exit:1");
    server.hup();
    manager.hears(&server, [READY, RELOADING, READY]);
    let status = manager.statuses().pop().unwrap();
    let expected = [
        format!("generation 1 (pid {pid})"),
        "generation 2 failed".into(),
    ];
    for words in expected {
        assert!(status.contains(&words), "{status}");
    }
    server.next_role("ready:serve");
    server.hup();
    manager.hears(&server, [READY, RELOADING, READY, RELOADING, READY]);
    assert!(!manager.statuses().pop().unwrap().contains("failed"));
    server.stop();
}

#[test]
fn a_hup_during_a_reload_gets_a_word_of_its_own_and_the_end_is_the_end_of_both() {
    let manager = Manager::new();
    let mut server = told(&manager, "talk:serve", ["--ready=notify"]).start();
    server.worker(1);
    server.has_said(1, READY);
    manager.hears(&server, [READY]);
    server.hup();
    manager.hears(&server, [READY, RELOADING]);
    server.worker(2);
    let before = kernel::monotonic_micros();
    server.hup();
    manager.hears(&server, [READY, RELOADING, RELOADING]);
    assert!(manager.reloading_since() >= before);
    server.has_said(2, READY);
    server.worker(3);
    is_still_starting(&server, 3);
    manager.hears(&server, [READY, RELOADING, RELOADING]);
    server.has_said(3, READY);
    manager.hears(&server, [READY, RELOADING, RELOADING, READY]);
    server.stop();
}

#[test]
fn an_upgrade_is_nothing_to_the_manager_and_a_reload_goes_on_through_it() {
    let manager = Manager::new();
    let options = ["--ready=notify", "--listen-fds"];
    let mut server = told(&manager, "talk:linger", options).start();
    server.worker(1);
    server.has_said(1, READY);
    manager.hears(&server, [READY]);
    for upgrades in 1..=2 {
        server.signal(libc::SIGUSR2);
        server.says_times("start_server: upgraded from", upgrades);
        server.idle();
    }
    manager.hears(&server, [READY]);
    server.hup();
    let second = server.worker(2);
    server.signal(libc::SIGUSR2);
    server.says_times("start_server: upgraded from", 3);
    is_still_starting(&server, 2);
    manager.hears(&server, [READY, RELOADING]);
    server.has_said(2, READY);
    manager.hears(&server, [READY, RELOADING, READY]);
    let own = second.variable("LISTEN_PID").unwrap();
    assert_eq!(own, OsString::from(second.pid.to_string()));
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
    assert_eq!(manager.states(), [READY, RELOADING, READY, STOPPING]);
}

#[test]
fn a_worker_that_is_replaced_because_it_died_is_no_reload() {
    let manager = Manager::new();
    let mut server = told(&manager, "serve", []).start();
    manager.hears(&server, [READY]);
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.up(&[2]);
    server.stop();
    assert_eq!(manager.states(), [READY, STOPPING]);
}

#[test]
fn the_manager_can_show_people_who_serves() {
    let manager = Manager::new();
    let mut server = told(&manager, "linger", []).start();
    manager.hears(&server, [READY]);
    let first = server.worker(1).pid;
    let shown = |words: &[String]| {
        server.eventually(&format!("{words:?} in the status"), || {
            let status = manager.statuses().pop()?;
            words
                .iter()
                .all(|word| status.contains(word))
                .then_some(status)
        })
    };
    shown(&["generation 1".into(), first.to_string()]);
    server.hup();
    server.up(&[1, 2]);
    let second = server.worker(2).pid;
    shown(&["generation 2".into(), second.to_string(), first.to_string()]);
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.eventually("the old worker to be forgotten", || {
        let status = manager.statuses().pop()?;
        (!status.contains(&first.to_string())).then_some(())
    });
    server.stop();
}

#[test]
fn a_manager_that_does_not_read_keeps_nobody_waiting_and_gets_every_word_in_its_order() {
    const RESTARTS: u64 = 8;
    let manager = Manager::new();
    let mut server = told(&manager, "serve", []).start();
    for generation in 1..=RESTARTS {
        server.up(&[generation]);
        server.hup();
    }
    server.up(&[RESTARTS + 1]);
    let mut expected = vec![READY];
    expected.extend([RELOADING, READY].repeat(RESTARTS as usize));
    server.eventually("every word", || {
        (manager.states() == expected).then_some(())
    });
    let statuses = manager.statuses();
    for (generation, pid) in server.started() {
        let words = format!("generation {generation} (pid {pid})");
        assert!(
            statuses.iter().any(|status| status.contains(&words)),
            "{words} in {statuses:?}"
        );
    }
    server.stop();
    expected.push(STOPPING);
    assert_eq!(manager.states(), expected);
}

#[test]
fn a_manager_that_does_not_read_for_very_long_learns_in_the_end_how_it_is_now() {
    const RESTARTS: u64 = 50;
    let manager = Manager::new();
    let server = told(&manager, "serve", []).start();
    for generation in 1..=RESTARTS {
        server.up(&[generation]);
        server.hup();
    }
    server.up(&[RESTARTS + 1]);
    let pid = server.worker(RESTARTS + 1).pid;
    let words = format!("generation {} (pid {pid})", RESTARTS + 1);
    server.eventually("the last state and the last status", || {
        let is_ready = manager.states().pop()? == READY;
        (is_ready && manager.statuses().pop()?.contains(&words)).then_some(())
    });
}

#[test]
fn the_end_does_not_wait_for_a_manager_that_does_not_read() {
    let manager = Manager::new();
    while manager.socket.send_to(b"X=1", &manager.address).is_ok() {}
    let mut server = told(&manager, "serve", []).up();
    server.stop();
}

#[test]
fn a_manager_that_is_not_there_is_no_obstacle() {
    let addresses = ["", "no/such/socket", "/", "file", "@nobody", "relative"];
    for address in addresses {
        let mut server = Setup::new(["--interval=0", "--status-file=status"])
            .file("file", "")
            .env("NOTIFY_SOCKET", address)
            .role("serve")
            .up();
        server.hup();
        server.up(&[2]);
        server.stop();
    }
}

#[test]
fn what_the_manager_says_to_start_server_is_not_for_workers() {
    let manager = Manager::new();
    let server = told(&manager, "serve", [])
        .env("WATCHDOG_USEC", "30000000")
        .env("WATCHDOG_PID", "1")
        .start();
    for generation in 1..=2 {
        server.up(&[generation]);
        let report = server.worker(generation);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert_eq!(report.variable(name), None, "{name}");
        }
        server.hup();
    }
}

#[test]
fn a_worker_that_says_when_it_is_ready_has_a_socket_of_its_own() {
    let manager = Manager::new();
    let server = told(&manager, "ready:serve", ["--ready=notify"])
        .env("WATCHDOG_USEC", "30000000")
        .env("WATCHDOG_PID", "1")
        .up();
    let report = server.worker(1);
    assert_ne!(report.variable("NOTIFY_SOCKET").unwrap(), manager.address);
    assert_eq!(report.variable("WATCHDOG_USEC"), None);
    assert_eq!(report.variable("WATCHDOG_PID"), None);
}

/// A shell that becomes what it is given, in the process that the sockets are meant for.
const MEANT_FOR_IT: &str = "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\"";

/// start_server, by way of a shell script, with copies of these at descriptor 3 and up.
fn given<const N: usize>(script: &str, sockets: &[&dyn AsFd], options: [&str; N]) -> Setup {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program());
    let count = sockets.len();
    let copies: Vec<OwnedFd> = sockets
        .iter()
        .map(|socket| kernel::copy_far_off(*socket))
        .collect();
    let hand_over = move || {
        for (number, copy) in (3..).zip(&copies) {
            kernel::duplicate(copy.as_raw_fd(), number);
        }
        // What the tests were started with may be open there.
        kernel::close(3 + count as i32);
    };
    Setup::by(shell, options)
        .args(["--interval=0", "--status-file=status"])
        .env("LISTEN_FDS", count.to_string())
        .env("LISTEN_FDNAMES", vec!["name"; count].join(":"))
        .role("serve")
        .with(|command| kernel::on_fork(command, hand_over))
}

/// start_server as a service manager starts it that has made these sockets.
fn activated<const N: usize>(sockets: &[&dyn AsFd], options: [&str; N]) -> Setup {
    given(MEANT_FOR_IT, sockets, options)
}

/// A socket such as "stream 127.0.0.1", and its port.
fn bound(socket: &str) -> (OwnedFd, u16) {
    bound_at(socket, 0)
}

fn bound_at(socket: &str, port: u16) -> (OwnedFd, u16) {
    let (kind, host) = socket.split_once(' ').unwrap();
    let address = format!("{host}:{port}");
    if kind == "stream" {
        let socket = TcpListener::bind(address).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket.into(), port)
    } else {
        let socket = UdpSocket::bind(address).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket.into(), port)
    }
}

/// Whether the worker's descriptor is our socket, and not another one at the same address, as far as the system
/// tells.
fn is_ours(report: &Report, number: i32, ours: &dyn AsFd) -> bool {
    let link = |process: &str, number: i32| fs::read_link(format!("/proc/{process}/fd/{number}"));
    let ours = link("self", ours.as_fd().as_raw_fd());
    link(&report.pid.to_string(), number).ok() == ours.ok()
}

/// How many descriptors of the worker are bound to a port.
fn count(report: &Report, port: u16) -> usize {
    let bound = format!(":{port} ");
    let descriptors = report.all("fd");
    descriptors.iter().filter(|fd| fd.contains(&bound)).count()
}

fn names(report: &Report) -> Vec<String> {
    report.ports().into_iter().map(|(name, _)| name).collect()
}

/// The answer to a question that was asked before.
fn answer(mut connection: impl Read) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn says(report: &Report) -> String {
    format!("{} {}\n", report.generation, report.pid)
}

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
        // What systemd makes of a bare port serves both protocols, where the system is not told otherwise.
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
    let mut connection = UnixStream::connect(&path).unwrap();
    connection.write_all(b"?").unwrap();
    assert_eq!(answer(connection), says(&report));
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
fn a_socket_outlives_start_server_and_who_connects_in_between_is_served() {
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
        assert_eq!(answer(by_port), says(&report));
        assert_eq!(answer(by_path), says(&report));
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
fn what_is_no_socket_is_refused_with_one_line() {
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

/// A program of systemd's, if it is here.
fn systemds(name: &str) -> Option<String> {
    let folders = ["/usr/bin", "/lib/systemd", "/usr/lib/systemd"];
    let mut files = folders.iter().map(|folder| format!("{folder}/{name}"));
    let found = files.find(|file| Path::new(file).exists());
    if found.is_none() {
        skipped(name);
    }
    found
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
    let mut connection = UnixStream::connect(&path).unwrap();
    connection.write_all(b"?").unwrap();
    assert_eq!(answer(connection), says(&report));
    server.stop();
    assert!(Path::new(&path).exists());
}

/// What a worker was told in the way of systemd: LISTEN_FDS, LISTEN_FDNAMES, and each LISTEN_PID.
fn told_as_by_systemd(report: &Report) -> (Option<OsString>, Option<OsString>, Vec<String>) {
    let environment = report.all("env");
    let pids = environment
        .iter()
        .filter_map(|line| line.strip_prefix("LISTEN_PID="));
    (
        report.variable("LISTEN_FDS"),
        report.variable("LISTEN_FDNAMES"),
        pids.map(str::to_string).collect(),
    )
}

/// What a worker should be told then.
fn as_by_systemd(
    count: usize,
    names: &str,
    pid: i32,
) -> (Option<OsString>, Option<OsString>, Vec<String>) {
    (
        Some(count.to_string().into()),
        Some(names.into()),
        vec![pid.to_string()],
    )
}

#[test]
fn listen_fds_describes_the_sockets_from_3_on_in_their_order() {
    let options = [
        "--interval=0",
        "--status-file=status",
        "--path=b:sock",
        "--listen-fds",
        "--port=127.0.0.1:0",
        "--path=a.sock",
        "--port=[::1]:u0",
        "--port=0",
    ];
    let server = Setup::new(options).role("serve").start();
    for generation in 1..=2 {
        server.up(&[generation]);
        let report = server.worker(generation);
        let expected = ["127.0.0.1:0", "[::1]:0", "0", "b:sock", "a.sock"];
        let expected: Vec<_> = expected.map(String::from).into_iter().zip(3..).collect();
        assert_eq!(report.ports(), expected);
        let names = "127.0.0.1_0:[__1]_0:0:b_sock:a.sock";
        assert_eq!(
            told_as_by_systemd(&report),
            as_by_systemd(5, names, report.pid)
        );
        let kinds: Vec<String> = (3..8)
            .map(|number| report.descriptor(number).unwrap())
            .map(|seen| seen.split(' ').next().unwrap().to_string())
            .collect();
        assert_eq!(kinds, ["stream", "datagram", "stream", "stream", "stream"]);
        server.hup();
    }
}

#[test]
fn listen_fds_without_sockets_says_so() {
    let setup = Setup::new(["--interval=0", "--listen-fds"]);
    let report = setup.role("serve").start().worker(1);
    assert_eq!(
        told_as_by_systemd(&report),
        as_by_systemd(0, "", report.pid)
    );
}

#[test]
fn without_the_option_nothing_is_said_in_the_way_of_systemd() {
    let setup = Setup::new(["--interval=0", "--port=127.0.0.1:0"]);
    let report = setup.role("serve").start().worker(1);
    assert_eq!(told_as_by_systemd(&report), (None, None, vec![]));
}

#[test]
fn what_caller_and_envdir_say_of_sockets_gives_way() {
    let options = [
        "--interval=0",
        "--listen-fds",
        "--port=127.0.0.1:0",
        "--envdir=envdir",
    ];
    for value in ["", "1", "2147483647", "99999999999999999999"] {
        let mut setup = Setup::new(options);
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            let line = format!("{value}\n");
            setup = setup.env(name, value).file(&format!("envdir/{name}"), line);
        }
        let report = setup.role("serve").start().worker(1);
        let expected = as_by_systemd(1, "127.0.0.1_0", report.pid);
        assert_eq!(told_as_by_systemd(&report), expected, "{value:?}");
    }
}

#[test]
fn an_empty_listen_pid_in_envdir_stays_empty() {
    let report = Setup::new(["--interval=0", "--envdir=envdir"])
        .file("envdir/LISTEN_PID", "\n")
        .role("serve")
        .start()
        .worker(1);
    assert_eq!(report.variable("LISTEN_PID").unwrap(), "");
}

#[cfg(target_os = "linux")]
#[test]
fn listen_pid_is_the_workers_number_however_long_that_is() {
    // As process 1 of a container it gives its workers the numbers from 2 on.
    let container = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--pid", "--fork", "--kill-child"]);
        unshare
    };
    let probe = container().arg("true").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return skipped("unshare that may make a container");
    }
    let mut command = container();
    command.arg(program());
    let server = Setup::by(command, ["--interval=0", "--listen-fds"])
        .role("exit:1")
        .start();
    server.worker(100);
    let started: Vec<(u64, i32)> = server.started().into_iter().take(100).collect();
    assert!(started[0].1 < 10 && started[99].1 > 99, "{started:?}");
    for (generation, pid) in started {
        let report = server.worker(generation);
        assert_eq!(told_as_by_systemd(&report), as_by_systemd(0, "", pid));
    }
}

#[test]
fn descriptors_that_fit_into_the_row_may_be_named() {
    let table: [(&[&str], i32); 4] = [
        (&["--port=127.0.0.1:0=3"], 1),
        (&["--port=127.0.0.1:0=3", "--port=127.0.0.1:0=4"], 2),
        (
            &["--port=127.0.0.1:0", "--port=[::1]:0=4", "--path=sock"],
            3,
        ),
        (&["--port=127.0.0.1:0=3", "--path=sock", "--ready=fd=5"], 2),
    ];
    for (options, count) in table {
        let setup = Setup::new(["--interval=0", "--listen-fds"]).args(options);
        let report = setup.role("serve").start().worker(1);
        let numbers: Vec<i32> = report.ports().into_iter().map(|(_, fd)| fd).collect();
        assert_eq!(numbers, (3..3 + count).collect::<Vec<_>>(), "{options:?}");
    }
}

#[test]
fn descriptors_that_break_the_row_are_refused_with_the_reason() {
    let table: [(&[&str], &str); 6] = [
        (
            &["--port=127.0.0.1:0=7"],
            "--port=127.0.0.1:0=7: --listen-fds passes it as descriptor 3",
        ),
        (
            &["--port=127.0.0.1:0=0"],
            "--port=127.0.0.1:0=0: --listen-fds passes it as descriptor 3",
        ),
        (
            &["--port=127.0.0.1:0", "--port=[::1]:0=3"],
            "--port=[::1]:0=3: --listen-fds passes it as descriptor 4",
        ),
        (
            &["--port=127.0.0.1:0=4", "--port=127.0.0.1:0=3"],
            "--port=127.0.0.1:0=4: --listen-fds passes it as descriptor 3",
        ),
        (
            &["--port=127.0.0.1:0", "--ready=fd=3"],
            "--ready=fd=3: --listen-fds puts a socket there",
        ),
        (
            &["--port=127.0.0.1:0", "--path=sock", "--ready=fd=4"],
            "--ready=fd=4: --listen-fds puts a socket there",
        ),
    ];
    for (options, line) in table {
        let setup = Setup::new(["--listen-fds", "--pid-file=pid"]).args(options);
        let ended = setup.args(["--", "touch", "was_run"]).finish();
        assert_eq!(ended.status.code(), Some(1), "{options:?}");
        assert_eq!(ended.said, format!("start_server: {line}\n"));
        assert_eq!(ended.server.scratch.names(), ["log", "output"]);
    }
}

#[test]
fn sockets_that_were_taken_over_are_described_too() {
    let (other, other_port) = bound("stream [::1]");
    let (first, first_port) = bound("stream 127.0.0.1");
    let (second, second_port) = bound("stream 127.0.0.1");
    let options = [
        &format!("--port=127.0.0.1:{first_port}")[..],
        &format!("--port=127.0.0.1:{second_port}"),
        "--listen-fds",
        "--path=sock",
    ];
    let server = activated(&[&other, &second, &first], options).start();
    for generation in 1..=2 {
        server.up(&[generation]);
        let report = server.worker(generation);
        let expected =
            format!("127.0.0.1_{first_port}:127.0.0.1_{second_port}:sock:[__1]_{other_port}");
        assert_eq!(
            told_as_by_systemd(&report),
            as_by_systemd(4, &expected, report.pid)
        );
        for (number, socket) in [(3, &first), (4, &second), (6, &other)] {
            assert!(is_ours(&report, number, socket), "descriptor {number}");
        }
        assert_eq!(ask(first_port).unwrap(), (generation, report.pid));
        server.hup();
    }
    // What nobody asked for has its place in the row as well.
    let ended = activated(&[&other], ["--listen-fds", "--ready=fd=3", "true"]).finish();
    let line = "start_server: --ready=fd=3: --listen-fds puts a socket there\n";
    assert_eq!(ended.said, line);
}

/// `[::]` as start_server binds it takes no IPv4 and so is not what a bare port asks for.
#[test]
fn one_start_server_hands_its_sockets_to_another_that_runs_under_it() {
    let port = free_port();
    let outer = [
        "--interval=0",
        "--status-file=status",
        "--listen-fds",
        &format!("--port=[::]:{port}"),
        "--port=127.0.0.1:0",
        "--",
    ];
    let mut server = Setup::new(outer)
        .args([program()])
        .args(["--interval=0", &format!("--port={port}")])
        .role("serve")
        .up();
    let report = server.worker(1);
    let found = names(&report);
    assert_eq!(found[..2], [port.to_string(), format!("[::]:{port}")]);
    assert!(found[2].starts_with("127.0.0.1:"), "{found:?}");
    assert_eq!(report.variable("LISTEN_FDS"), None);
    assert_eq!(ask(port).unwrap(), (1, report.pid));
    server.stop();
}

#[test]
fn systemds_own_proxy_takes_the_sockets() {
    let Some(proxy) = systemds("systemd-socket-proxyd") else {
        return;
    };
    let behind = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let mut server = Setup::new(["--interval=0", "--listen-fds", "--status-file=status"])
        .args([&format!("--port=127.0.0.1:{port}"), "--"])
        // The proxy does not see that a failed test is over.
        .args([&proxy, "--exit-idle-time=60s"])
        .args([behind.local_addr().unwrap().to_string()])
        .launch();
    for generation in 1..=2 {
        server.up(&[generation]);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        behind.accept().unwrap().0.write_all(b"hello").unwrap();
        assert_eq!(answer(client), "hello");
        server.hup();
    }
    server.up(&[3]);
    server.stop();
}
