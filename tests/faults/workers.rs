//! Workers that die, stop or shut their listeners down at any moment.

use crate::support::fixtures::{serve, with_role};
use crate::support::worker::LIVE;
use crate::support::{ask, ask_path, free_port, kernel, skipped, Server, Setup};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn every_exit_status_and_signal_is_told_as_the_system_has_it() {
    let scripts = [
        "exit 0",
        "exit 1",
        "exit 127",
        "exit 255",
        "kill -TERM $$",
        "kill -KILL $$",
        "kill -USR1 $$",
        "kill -SEGV $$",
        "ulimit -c unlimited; kill -SEGV $$",
        "ulimit -c unlimited; kill -ABRT $$",
        "ulimit -c 0; kill -ABRT $$",
    ];
    for script in scripts {
        let setup = Setup::new(["--interval=1", "--", "sh", "-c", script]);
        // The same, without start_server: whether there is a core depends on the machine.
        let mut alone = Command::new("sh");
        alone
            .args(["-c", script])
            .current_dir(setup.scratch.path(""));
        let expected = alone.status().unwrap().into_raw();
        let mut server = setup.launch();
        server.says(&format!(
            "seems to have failed to start, exit status:{expected}\n"
        ));
        server.stop();
    }
}

#[test]
fn the_status_of_a_worker_that_was_up_is_told_too() {
    let mut server = serve([]).start();
    server.worker(1);
    for (generation, signal) in (1..).zip([libc::SIGKILL, libc::SIGILL, libc::SIGUSR2]) {
        server.up(&[generation]);
        let pid = server.worker(generation).pid;
        kernel::kill(pid, signal);
        server.eventually("its death", || {
            let log = server.log();
            let death = format!("worker {pid} died unexpectedly with status:");
            let status = log.lines().find_map(|line| line.strip_prefix(&death))?;
            let status: i32 = status.strip_suffix(", restarting")?.parse().ok()?;
            // The core flag is the machine's.
            (status & !0x80 == signal).then_some(())
        });
    }
    server.up(&[4]);
    server.stop();
}

#[test]
fn an_old_worker_that_dies_while_its_successor_is_being_proved_is_survived() {
    let mut server = serve(["--interval=3"]).up();
    server.hup();
    server.worker(2);
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.up(&[]);
    server.up(&[2]);
    server.stop();
    assert_eq!(server.started().len(), 2);
}

#[test]
fn old_and_new_worker_that_die_together_are_both_replaced_by_one() {
    let mut server = serve(["--interval=3"]).up();
    server.hup();
    server.worker(2);
    for generation in [1, 2] {
        kernel::kill(server.worker(generation).pid, libc::SIGKILL);
    }
    server.up(&[3]);
    server.stop();
    assert_eq!(server.started().len(), 3);
}

#[test]
fn workers_that_die_while_they_are_being_ended_let_it_end() {
    let mut server = with_role("linger", []).up();
    server.hup();
    server.worker(2);
    server.up(&[1, 2]);
    server.term();
    server.notes("signal 2 15");
    for generation in [2, 1] {
        kernel::kill(server.worker(generation).pid, libc::SIGKILL);
    }
    assert!(server.end().success());
    assert_eq!(server.started().len(), 2);
}

#[test]
fn grandchildren_that_outlive_a_worker_are_neither_waited_for_nor_told_of() {
    let line = format!("({LIVE}) >silence 2>&1 & echo $! >>grandchildren");
    let mut server = serve([]).start_silent(&line);
    server.worker(1);
    server.restart(2);
    server.stop();
    let grandchildren = server.scratch.read("grandchildren");
    for pid in grandchildren.lines() {
        assert!(kernel::exists(pid.parse().unwrap()));
        assert!(!server.log().contains(&format!("worker {pid} ")));
    }
    assert_eq!(grandchildren.lines().count(), 2);
    assert_eq!(server.count(" died, status:0\n"), 2);
}

#[test]
fn a_worker_that_closes_its_listener_closes_it_for_nobody_else() {
    let setup = Setup::new([
        "--port=127.0.0.1:0=7",
        "--interval=0",
        "--status-file=status",
    ])
    .role("serve")
    .file("closes", "");
    let line = format!("test -e closes && {{ exec 7<&-; rm closes; {LIVE}; }}");
    let mut server = setup.start_silent(&line);
    server.eventually("the first one's deed", || {
        (!server.scratch.path("closes").exists()).then_some(())
    });
    server.restart(2);
    let second = server.worker(2);
    assert_eq!(ask(second.tcp_port(7)).unwrap(), (2, second.pid));
    server.stop();
}

/// A service on a port of its own, whose worker can shut it down; what is said when it listens again.
struct Shut {
    server: Server,
    port: u16,
    again: String,
}

/// `role` is what its first worker is.
fn to_shut(role: &str, options: &[&str]) -> Shut {
    // A port that the system has chosen is lost by shutdown(2).
    let port = free_port();
    let setup = Setup::new([format!("--port=127.0.0.1:{port}")]).args(options);
    let setup = setup.args(["--status-file=status", "--envdir=envdir"]);
    let server = setup.file("envdir/WORKER_ROLE", role).up();
    let again = format!(
        "start_server: listening again on 127.0.0.1:{port}, which a worker had shut down\n"
    );
    Shut {
        server,
        port,
        again,
    }
}

#[test]
fn a_listener_that_a_worker_shut_down_before_it_died_listens_again() {
    let others = ["--interval=0", "--port=127.0.0.1:u0", "--path=socket"];
    let mut shut = to_shut("shuts", &others);
    for generation in 1..=2 {
        let worker = shut.server.worker(generation).pid;
        kernel::kill(worker, libc::SIGUSR1);
        shut.server.notes(&format!("shut {generation}"));
        assert!(ask(shut.port).is_err());
        kernel::kill(worker, libc::SIGKILL);
        shut.server.says_times(&shut.again, generation as usize);
        shut.server.up(&[generation + 1]);
    }
    assert_eq!(ask(shut.port).unwrap().0, 3);
    shut.server.stop();
    let log = shut.server.log();
    assert!(!log.contains("cannot listen again"), "{log}");
}

#[test]
fn a_listener_that_an_old_worker_shut_down_in_the_end_listens_again_for_its_successor() {
    let mut shut = to_shut("shuts", &["--interval=0"]);
    shut.server.scratch.write("envdir/WORKER_ROLE", "serve");
    shut.server.restart(2);
    shut.server.says(&shut.again);
    let worker = shut.server.worker(2).pid;
    assert_eq!(ask(shut.port).unwrap(), (2, worker));
    shut.server.restart(3);
    shut.server.stop();
    assert_eq!(shut.server.count(&shut.again), 1);
}

#[test]
fn a_failed_start_that_shut_the_listener_down_does_not_take_it_from_the_old_worker() {
    let mut shut = to_shut("serve", &["--interval=3"]);
    let old = shut.server.worker(1);
    shut.server.scratch.write("envdir/WORKER_ROLE", "shuts");
    shut.server.hup();
    kernel::kill(shut.server.worker(2).pid, libc::SIGTERM);
    shut.server.says(&shut.again);
    assert_eq!(ask(shut.port).unwrap(), (1, old.pid));
    shut.server.scratch.write("envdir/WORKER_ROLE", "serve");
    shut.server.succeeded(1);
    shut.server.stop();
}

/// The worker has not ended, so its exit has not shown it.
#[test]
fn sockets_that_a_running_worker_has_shut_down_are_those_of_the_next_one() {
    // A port that the system has chosen would be another one after the shutdown.
    let port = free_port();
    let options = [
        &format!("--port=127.0.0.1:{port}"),
        "--path=socket",
        "--interval=0",
        "--status-file=status",
        // The first worker would shut them down again if it was told to finish.
        "--kill-old-delay=1000",
    ];
    let mut server = Setup::new(options).role("shuts").up();
    kernel::kill(server.worker(1).pid, libc::SIGUSR1);
    server.notes("shut 1");
    server.hup();
    let second = server.worker(2).pid;
    assert_eq!(ask(port).unwrap(), (2, second));
    let socket = server.scratch.path("socket");
    assert_eq!(ask_path(&socket).unwrap(), (2, second));
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn a_worker_that_dumps_core_is_told_so() {
    const DUMP: &str = "ulimit -c unlimited; kill -ABRT $$";
    let folder = crate::support::Scratch::new();
    let mut alone = Command::new("sh");
    alone.args(["-c", DUMP]).current_dir(folder.path(""));
    let status = alone.status().unwrap();
    if !status.core_dumped() {
        return skipped("a system that dumps cores");
    }
    let status = status.into_raw();
    assert_eq!(status, libc::SIGABRT | 0x80);
    // In the interval, as the current worker, as an old one, and at the end.
    let mut server = serve(["--interval=1", "--", "sh", "-c", DUMP]).launch();
    server.says(&format!(
        "seems to have failed to start, exit status:{status}\n"
    ));
    server.stop();
    let dumping = format!("trap '{DUMP}' USR1 TERM; echo >>ready; {LIVE}");
    let setup = serve(["--signal-on-hup=USR1"]);
    let mut server = setup.args(["--", "sh", "-c", &dumping]).launch();
    let is_up = |generation| {
        server.up(&[generation]);
        server.eventually("its trap", || {
            let ready = server.scratch.read("ready").lines().count();
            (ready as u64 == generation).then_some(())
        });
        server.status()[0].1
    };
    let first = is_up(1);
    kernel::kill(first, libc::SIGUSR1);
    server.says(&format!(
        "worker {first} died unexpectedly with status:{status}, restarting\n"
    ));
    let second = is_up(2);
    server.hup();
    server.says(&format!("old worker {second} died, status:{status}\n"));
    let third = is_up(3);
    server.stop();
    server.says(&format!("worker {third} died, status:{status}\n"));
}

#[test]
fn a_worker_that_stops_itself_is_ended_all_the_same() {
    let setup = serve([]);
    let mut server = setup.args(["--", "sh", "-c", "kill -STOP $$"]).launch();
    server.up(&[1]);
    server.stop();
}
