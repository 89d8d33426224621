//! The service manager that runs start_server is told how it goes.

use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Scratch, Server, Setup};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixDatagram;

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

    /// A manager whose address is no file.
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

    /// The states that it was told: the first line of each datagram.
    fn states(&self) -> Vec<String> {
        let heard = self.heard();
        let first = heard.iter().filter_map(|datagram| datagram.lines().next());
        first
            .filter(|line| !line.starts_with("STATUS="))
            .map(str::to_string)
            .collect()
    }

    /// The texts for people that it was told.
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
fn the_manager_is_told_once_that_the_first_worker_is_up_and_not_before() {
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
        // A program that waits for that word may look into the file at once.
        assert_eq!(server.status(), [(1, pid)]);
        server.has_said(1, READY);
        server.stop();
        assert_eq!(manager.states(), [READY, STOPPING]);
    }
}

#[test]
fn a_first_worker_that_fails_is_no_reason_to_tell_that_one_is_up() {
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
fn a_first_worker_that_is_given_up_is_never_told_of() {
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
fn a_manager_that_is_not_there_is_no_obstacle_and_said_once() {
    const ODD: &str = "neither an absolute path nor an abstract name";
    let addresses = [
        ("", ""),
        ("no/such/socket", ODD),
        ("vsock:2:1234", ODD),
        ("/", "Connection refused"),
        ("/no/such/socket", "No such file or directory"),
        ("@nobody", "Connection refused"),
    ];
    for (address, reason) in addresses {
        let mut server = Setup::new(["--interval=0", "--status-file=status"])
            .file("file", "")
            .env("NOTIFY_SOCKET", address)
            .role("serve")
            .up();
        server.hup();
        server.up(&[2]);
        server.stop();
        let line = format!("start_server: cannot reach NOTIFY_SOCKET={address}: {reason}\n");
        let times = usize::from(!reason.is_empty());
        assert_eq!(server.count(&line), times, "{}", server.log());
        assert_eq!(server.count("NOTIFY_SOCKET"), times, "{}", server.log());
    }
}

#[test]
fn a_watchdog_that_would_end_the_service_is_said_once() {
    let manager = Manager::new();
    let mut server = told(&manager, "serve", [])
        .env("WATCHDOG_USEC", "30000000")
        .up();
    server.restart(2);
    server.stop();
    let line = "start_server: WATCHDOG_USEC is set, but start_server sends no watchdog messages";
    assert_eq!(server.count(line), 1, "{}", server.log());
}

#[test]
fn the_managers_variables_for_start_server_are_not_for_workers() {
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
