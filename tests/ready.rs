//! `--ready`: a worker is up the moment it says so, by sd_notify(3) or with a newline on a pipe, and not before.

mod attacks;
mod failure;
mod folder;
mod pipe;
mod words;

use crate::support::fixtures::{by_envdir, RESTART_STORY};
use crate::support::{kernel, program, Scratch, Server, Setup};
use std::path::PathBuf;
use std::process::Command;

/// The two ways to say that a worker is ready: the option, and the word.
pub const WAYS: [(&str, &str); 2] = [("--ready=notify", "READY=1"), ("--ready=fd=9", "\n")];

/// Workers that say what the test has them say; an old one stays until the file `leave` is there.
fn talk<const N: usize>(options: [&str; N]) -> Setup {
    by_envdir("talk:linger", options)
}

/// A server whose first worker has said that it is ready.
fn start(setup: Setup, word: &str) -> Server {
    let server = setup.start();
    server.worker(1);
    server.has_said(1, word);
    server.up(&[1]);
    server
}

/// Has a worker that is being started say something for people. All that was said before it has been heard when
/// that is in the log.
fn is_still_starting(server: &Server, generation: u64) {
    let word = format!("still starting, {}", server.log().lines().count());
    server.has_said(generation, format!("STATUS={word}"));
    let pid = server.worker(generation).pid;
    server.says(&format!("start_server: new worker {pid}: {word}\n"));
}

/// Waits for a start_server whose worker, started later than any other, has failed in this time.
fn another_waits_in_vain(start_timeout: &str) {
    let other = by_envdir("talk:serve", ["--ready=notify", start_timeout]).start();
    other.says("is not ready within --start-timeout, killing it");
}

/// The generation that is up first. Where there is little time it need not be 1.
fn first_up(server: &Server) -> u64 {
    server.eventually("one that is up", || {
        let is_up = server.details("state") == ["up"];
        let workers = server.details("worker");
        let [worker] = &workers[..] else { return None };
        let (generation, _) = worker.split_once(' ')?;
        is_up.then(|| generation.parse().unwrap())
    })
}

fn socket(server: &Server, generation: u64) -> PathBuf {
    let report = server.worker(generation);
    report.variable("NOTIFY_SOCKET").unwrap().into()
}

#[test]
fn a_worker_is_up_when_it_says_so_and_not_before_however_long_the_interval() {
    for (option, word) in WAYS {
        for interval in ["--interval=0", "--interval=100000"] {
            let mut server = start(talk([option, interval]), word);
            server.hup();
            server.worker(2);
            // With no interval it would be up before another start_server has run.
            assert!(Setup::new(["--version"]).finish().status.success());
            server.idle();
            assert_eq!(server.status().len(), 1, "{option} {interval}");
            assert!(!server.is_told(1), "{option} {interval}");
            server.has_said(2, word);
            server.up(&[1, 2]);
            server.notes("signal 1 15");
            server.scratch.write("leave", "");
            server.up(&[2]);
            server.stop();
        }
    }
}

#[test]
fn the_log_is_that_of_any_restart() {
    for (option, word) in WAYS {
        let mut server = start(by_envdir("talk:serve", [option]), word);
        server.hup();
        server.worker(2);
        server.has_said(2, word);
        server.up(&[2]);
        server.stop();
        assert_eq!(server.story(), RESTART_STORY, "{option}");
    }
}

#[test]
fn old_workers_get_their_delay_all_the_same() {
    let server = start(talk(["--ready=notify", "--kill-old-delay=1000"]), "READY=1");
    server.hup();
    server.worker(2);
    server.has_said(2, "READY=1");
    server.says("sleeping 1000 secs before killing old workers");
    server.up(&[1, 2]);
    assert!(!server.is_told(1));
}

#[test]
fn a_worker_that_dies_is_replaced_by_one_that_says_so_too() {
    for (option, word) in WAYS {
        let mut server = start(talk([option, "--interval=0"]), word);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.worker(2);
        server.eventually("nobody in the status file", || {
            server.status().is_empty().then_some(())
        });
        server.has_said(2, word);
        server.up(&[2]);
        server.scratch.write("leave", "");
        server.stop();
    }
}

#[test]
fn term_is_obeyed_while_nobody_is_ready() {
    for (option, _) in WAYS {
        let mut server = by_envdir("talk:serve", [option]).start();
        server.worker(1);
        server.stop();
        let story = server.story();
        assert!(story.ends_with("worker A died, status:0\nexiting\n"));
    }
}

/// The variables that a worker must not have from anybody but us.
#[test]
fn variables_of_the_callers_service_manager_and_pipes_do_not_reach_the_worker() {
    const NAMES: [&str; 4] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "SERVER_STARTER_READY_FD",
    ];
    // The second column has the variables that start_server makes again.
    let table: [(&str, &[&str]); 3] = [
        ("--ready=interval", &[]),
        ("--ready=notify", &["NOTIFY_SOCKET"]),
        ("--ready=fd=9", &["SERVER_STARTER_READY_FD"]),
    ];
    for (option, ours) in table {
        let manager = Scratch::new();
        let theirs = manager.path("manager");
        let mut setup = by_envdir("serve", [option]);
        for name in NAMES {
            setup = setup.env(name, &theirs);
        }
        let report = setup.start().worker(1);
        for name in NAMES {
            let found = report.variable(name);
            assert_eq!(found.is_some(), ours.contains(&name), "{option} {name}");
            assert_ne!(found.as_deref(), Some(theirs.as_os_str()), "{option}");
        }
    }
}

#[test]
fn an_idle_superdaemon_waits_in_one_poll_without_end() {
    let found = Command::new("strace").arg("--version").output();
    if found.is_err() {
        return crate::support::skipped("strace");
    }
    for (option, _) in WAYS {
        let mut strace = Command::new("strace");
        strace.args(["-o", "trace"]).arg(program());
        let options = [option, "--status-file=status", "--pid-file=pid"];
        let mut server = Setup::by(strace, options).role("ready:serve").up();
        let pid = server.scratch.read("pid").trim_end().parse().unwrap();
        // strace shows a call when it is over, so what is last is the one that the signal ends.
        server.eventually("start_server to sleep", || {
            crate::support::is_asleep(pid).then_some(())
        });
        kernel::kill(pid, libc::SIGTERM);
        server.end();
        let trace = server.scratch.read("trace");
        let (before, _) = trace.split_once("--- SIGTERM").unwrap();
        let last = before.lines().last().unwrap();
        let endless = ["], 2, -1)", "], 2, NULL, NULL"];
        assert!(last.contains("poll("), "{last}");
        assert!(endless.iter().any(|end| last.contains(end)), "{last}");
    }
}
