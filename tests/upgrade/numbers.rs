//! The sockets have the lowest free numbers, whatever else start_server opens, and an upgrade changes none of them.

use super::upgrade;
use crate::support::{kernel, program, Daemon, Report, Setup};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

/// Three sockets, under a caller that has opened nothing but the standard streams: cargo and make may have more.
fn sockets(options: &[&str]) -> Setup {
    let mut shell = Command::new("sh");
    shell.arg("-c");
    shell.arg("exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; exec \"$0\" \"$@\"");
    shell.arg(program());
    let sockets = ["--port=127.0.0.1:0", "--port=u0", "--path=socket"];
    Setup::by(shell, sockets)
        .args(["--interval=0"])
        .args(options)
}

fn numbers(worker: &Report) -> Vec<i32> {
    let ports = worker.ports().into_iter();
    ports.map(|(_, number)| number).collect()
}

#[test]
fn no_option_takes_a_number_from_the_sockets() {
    let table = [
        "--interval=0",
        "--pid-file=pid",
        "--status-file=status",
        "--log-file=log-file",
        "--log-file=| cat >>log-file",
        "--ready=notify",
        "--ready=fd=9",
        "--envdir=envdir",
        "NOTIFY_SOCKET",
    ];
    for option in table {
        let mut setup = sockets(&[]).role("serve");
        let manager = setup.scratch.path("manager");
        let _manager = UnixDatagram::bind(&manager).unwrap();
        setup = if option.starts_with("--") {
            setup.args([option])
        } else {
            setup.env(option, manager)
        };
        let server = setup.start();
        assert_eq!(numbers(&server.worker(1)), [3, 4, 5], "{option}");
    }
}

#[test]
fn all_options_together_and_an_upgrade_take_none() {
    let options = [
        "--pid-file=pid",
        "--status-file=status",
        "--log-file=log-file",
        "--ready=notify",
        "--daemonize",
    ];
    let setup = sockets(&options).role("ready:serve");
    let manager = setup.scratch.path("manager");
    let _manager = UnixDatagram::bind(&manager).unwrap();
    let worker = std::env::current_exe().unwrap();
    let started = setup.env("NOTIFY_SOCKET", manager).worker_at(worker);
    let daemon = Daemon::of(started.finish());
    let server = &daemon.server;
    server.up(&[1]);
    upgrade(server);
    kernel::kill(daemon.pid(), libc::SIGHUP);
    for generation in [1, 2] {
        let worker = server.worker(generation);
        assert_eq!(numbers(&worker), [3, 4, 5], "generation {generation}");
    }
    server.up(&[2]);
    daemon.stop();
}
