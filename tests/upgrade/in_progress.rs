//! An upgrade in the middle of a restart, which goes on.

#[cfg(target_os = "linux")]
use super::UPGRADED;
use super::{upgrade, Place};
use crate::outcome::kill_mode;
use crate::support::Server;
#[cfg(target_os = "linux")]
use crate::support::{is_static, is_zombie, kernel, skipped, Scratch};
#[cfg(target_os = "linux")]
use std::io::Write;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};

/// A first worker that is up, and a restart whose new worker has not said yet that it is ready.
fn begin<const N: usize>(place: &Place, options: [&str; N]) -> Server {
    let setup = place.serve("ready:linger", []);
    let server = setup.args(options).up();
    server.next_role("talk:linger");
    server.hup();
    server.worker(2);
    server
}

#[test]
fn a_worker_says_that_it_is_ready_to_the_next_program() {
    let place = Place::new();
    for (option, word) in [("--ready=notify", "READY=1"), ("--ready=fd=9", "\n")] {
        let mut server = begin(&place, [option]);
        upgrade(&server);
        assert_eq!(server.outline().split(' ').next(), Some("1"), "{option}");
        assert!(!server.is_told(1));
        server.has_said(2, word);
        server.eventually("the old one to be told", || server.is_told(1).then_some(()));
        server.scratch.write("leave", "");
        server.up(&[2]);
        // Also to one after that.
        upgrade(&server);
        upgrade(&server);
        server.hup();
        server.worker(3);
        server.has_said(3, word);
        server.up(&[3]);
        server.stop();
        assert_eq!(server.count("seems to have failed"), 0);
    }
}

#[test]
fn no_status_file_appears_before_the_first_worker_is_up() {
    let place = Place::new();
    let server = place.serve("serve", ["--interval=600"]).start();
    server.worker(1);
    upgrade(&server);
    assert!(!server.scratch.path("status").exists());
    let mut server = server;
    server.stop();
}

#[test]
fn a_worker_that_does_not_become_ready_is_killed_by_the_next_program() {
    let place = Place::new();
    let mut server = begin(
        &place,
        [
            "--ready=notify",
            "--start-timeout=1",
            "--max-start-failures=1",
        ],
    );
    upgrade(&server);
    server.says("is not ready within --start-timeout, killing it\n");
    server.says("giving up the restart after 1 failed starts, generation 1 is still serving\n");
    upgrade(&server);
    assert_eq!(server.outline(), "1 failed:2 given-up:2");
    let failure = server.details("start-failure").pop().unwrap();
    assert!(
        failure.ends_with(" given-up not ready within --start-timeout"),
        "{failure}"
    );
    assert_eq!(server.details("upgrades"), ["2"]);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn a_worker_that_does_not_finish_is_killed_by_the_next_program() {
    let place = Place::new();
    let mut server = begin(&place, ["--ready=notify", "--kill-timeout=1"]);
    server.has_said(2, "READY=1");
    server.eventually("the old one to be told", || server.is_told(1).then_some(()));
    upgrade(&server);
    server.says("has not ended within --kill-timeout, killing it\n");
    server.up(&[2]);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn the_delay_before_old_workers_are_told_goes_on() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--kill-old-delay=1"]).up();
    server.hup();
    server.says("sleeping 1 secs");
    upgrade(&server);
    server.says("killing old workers");
    server.up(&[2]);
    server.stop();
}

#[test]
fn a_failed_start_is_tried_again_by_the_next_program() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--interval=1"]).up();
    server.next_role("exit:1");
    server.hup();
    server.says("seems to have failed");
    upgrade(&server);
    server.next_role("serve");
    server.succeeded(1);
    server.stop();
}

/// A HUP that waits for its turn, too.
#[test]
fn the_restart_that_is_to_follow_follows() {
    let place = Place::new();
    let mut server = begin(&place, ["--ready=notify"]);
    server.hup();
    server.idle();
    upgrade(&server);
    server.next_role("ready:linger");
    server.scratch.write("leave", "");
    server.has_said(2, "READY=1");
    server.up(&[3]);
    server.stop();
}

/// The numbers of such a worker and of its process group stay theirs.
#[test]
fn what_a_worker_leaves_of_its_group_is_still_waited_for() {
    let mut server = kill_mode::first(&["--kill-mode=group"]);
    server.hup();
    kill_mode::begun(&server, 2);
    server.says("has exited, waiting for the rest of its process group\n");
    server.signal(libc::SIGUSR2);
    server.says("upgraded from");
    server.idle();
    server.up(&[1, 2]);
    server.scratch.write("leave", "");
    server.up(&[2]);
    assert_eq!(server.count("has exited"), 1, "{}", server.log());
    server.stop();
}

/// The end of the first trial and the second request come in the same turn.
#[cfg(target_os = "linux")]
#[test]
fn a_second_request_replaces_the_first_one() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    let worker = server.worker(1).pid;
    for round in 1..=20 {
        kernel::kill(server.pid(), libc::SIGUSR2);
        kernel::kill(server.pid(), libc::SIGSTOP);
        let pid = server.pid();
        server.eventually("the end of the trial", || {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            let mut pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
            pids.all(|pid| pid == worker || is_zombie(pid))
                .then_some(())
        });
        kernel::kill(server.pid(), libc::SIGUSR2);
        kernel::kill(server.pid(), libc::SIGCONT);
        server.says_times(UPGRADED, round);
    }
    server.stop();
    assert_eq!(server.count("cannot print"), 0, "{}", server.log());
}

/// A library that does to start_server as the BSDs and macOS do: a SIGCHLD that is pending when it executes the next
/// program is dropped. It belongs to the death of the worker whose pid is in the file `victim`.
#[cfg(target_os = "linux")]
const DROP_SIGCHLD: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int execve(const char *path, char *const arguments[], char *const environment[])
{
    FILE *file = fopen("victim", "r");
    int own = 0, victim = 0;
    if (file != NULL && fscanf(file, "%d %d", &own, &victim) == 2 && own == getpid()) {
        sigset_t child;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        unlink("victim");
        kill(victim, SIGKILL);
        sigwaitinfo(&child, NULL);
    }
    if (file != NULL)
        fclose(file);
    return syscall(SYS_execve, path, arguments, environment);
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_death_that_the_system_does_not_report_is_noticed() {
    if is_static() {
        return skipped("a program with a loader");
    }
    let folder = Scratch::new();
    let library = folder.path("library.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-xc", "-", "-o"])
        .arg(&library);
    let Ok(mut cc) = cc.stdin(Stdio::piped()).spawn() else {
        return skipped("cc");
    };
    let mut input = cc.stdin.take().unwrap();
    input.write_all(DROP_SIGCHLD.as_bytes()).unwrap();
    drop(input);
    assert!(cc.wait().unwrap().success());
    let place = Place::new();
    let mut server = place.serve("serve", []).env("LD_PRELOAD", &library).up();
    let (own, first) = (server.pid(), server.worker(1).pid);
    server.scratch.write("victim", format!("{own} {first}"));
    upgrade(&server);
    server.says(&format!("worker {first} died unexpectedly with status:9"));
    server.up(&[2]);
    assert!(!server.scratch.path("victim").exists());
    server.stop();
}
