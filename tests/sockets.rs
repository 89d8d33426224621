//! The sockets: what each `--port` and `--path` binds, what the worker knows it by, and that clients never
//! notice a restart.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use support::{ask, free_port, kernel, Report, Server, Setup};

#[test]
fn worker() {
    support::worker::run();
}

fn serve<const N: usize>(options: [&str; N]) -> Server {
    Setup::new(["--interval=0"])
        .args(options)
        .role("serve")
        .start()
}

/// What the one worker of a command line reports.
fn report<const N: usize>(options: [&str; N]) -> Report {
    let mut server = serve(options);
    let report = server.worker(1);
    server.stop();
    report
}

/// The names in `SERVER_STARTER_PORT` and what is found behind them: kind and host.
fn seen(report: &Report) -> Vec<(String, i32, String)> {
    let look = |(name, fd): (String, i32)| {
        let found = report.descriptor(fd).unwrap();
        let mut words = found.split(' ');
        let kind = words.next().unwrap();
        let address = words.next().unwrap();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        (name, fd, format!("{kind} {host}"))
    };
    report.ports().into_iter().map(look).collect()
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
        ("[::1] : 0", "[::1]:0", "stream [::1]"),
        ("::1:0", "[::1]:0", "stream [::1]"),
        ("[::1]:u0", "[::1]:0", "datagram [::1]"),
        ("[0:0::1]:0", "[0:0::1]:0", "stream [::1]"),
    ];
    for (value, name, socket) in table {
        let report = report([&format!("--port={value}")]);
        let expected = [(name.to_string(), 3, socket.to_string())];
        assert_eq!(seen(&report), expected, "--port={value:?}");
    }
}
