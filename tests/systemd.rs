//! systemd, both ways: what start_server tells the service manager that runs it, the sockets that it takes over
//! from it, and the sockets that it hands on as it would.

mod activation;
mod listen_fds;
mod manager;

use crate::support::{kernel, program, skipped, Report, Setup};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

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
        // The caller of the tests may have left that descriptor open.
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

/// Tells whether the worker's descriptor is our socket, and not another one at the same address, as far as the system
/// tells.
fn is_ours(report: &Report, number: i32, ours: &dyn AsFd) -> bool {
    let link = |process: &str, number: i32| fs::read_link(format!("/proc/{process}/fd/{number}"));
    let ours = link("self", ours.as_fd().as_raw_fd());
    link(&report.pid.to_string(), number).ok() == ours.ok()
}

/// Counts the descriptors of the worker are bound to a port.
fn count(report: &Report, port: u16) -> usize {
    let bound = format!(":{port} ");
    let descriptors = report.all("fd");
    descriptors.iter().filter(|fd| fd.contains(&bound)).count()
}

fn names(report: &Report) -> Vec<String> {
    report.ports().into_iter().map(|(name, _)| name).collect()
}

/// The answer of a worker.
fn says(report: &Report) -> String {
    format!("{} {}\n", report.generation, report.pid)
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
