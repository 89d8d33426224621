//! `--listen-fds`: sockets that are handed on as a service manager would.

use super::{activated, bound, is_ours, names, systemds};
use crate::support::reading::rest;
use crate::support::{ask, free_port, program, Report, Setup};
use std::ffi::OsString;
use std::io::Write;
use std::net::{TcpListener, TcpStream};

/// The variables by which systemd would tell a worker of its sockets: LISTEN_FDS, LISTEN_FDNAMES, and each LISTEN_PID.
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

/// The values that they should have.
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
fn variables_of_sockets_from_caller_and_envdir_give_way() {
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
    // Process 1 of a container gives its workers the numbers from 2 on.
    let options = ["--pid", "--fork", "--kill-child"];
    let Some(mut command) = crate::support::container(&options) else {
        return;
    };
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
    // A socket that nobody asked for has its place in the row as well.
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
    behind.set_nonblocking(true).unwrap();
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
        let (mut accepted, _) = server.eventually("the proxy", || behind.accept().ok());
        accepted.write_all(b"hello").unwrap();
        drop(accepted);
        assert_eq!(rest(client), "hello");
        server.hup();
    }
    server.up(&[3]);
    server.stop();
}
