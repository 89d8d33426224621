//! Processes, memory or descriptors run out: nothing but the start waits until there are enough again.

use crate::support::fixtures::{serve, USUAL};
use crate::support::worker::LIVE;
use crate::support::{ask, container, kernel, program, skipped, Setup};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The lowest number that no descriptor of the process has.
fn first_free(pid: i32) -> u64 {
    let is_free = |number: &u64| {
        fs::symlink_metadata(format!("/proc/{pid}/fd/{number}"))
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    (0..).find(is_free).unwrap()
}

/// A limit of processes concerns every user but root.
const USER: u32 = 54321;

#[test]
fn with_too_many_processes_the_old_worker_still_serves_and_the_restart_completes_with_fewer() {
    let setup = serve(["--path=socket"]);
    let folder = setup.scratch.path("");
    let user = match fs::metadata(&folder).unwrap().uid() {
        0 => USER,
        ours => ours,
    };
    let by_user = |program: OsString, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(arguments).uid(user).output();
        output.is_ok_and(|output| output.status.success())
    };
    let programs = [program(), std::env::current_exe().unwrap().into()];
    if user == USER
        && !programs
            .into_iter()
            .all(|program| by_user(program, &["--help"]))
    {
        return skipped("programs that another user may run");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let mut server = setup
        .with(|command| {
            command.uid(user);
        })
        .start();
    let old = server.worker(1);
    server.up(&[1]);
    // Only the user himself may always do so.
    let limit = |processes| {
        let pid = format!("--pid={}", server.pid());
        let limit = format!("--nproc={processes}:");
        assert!(by_user("prlimit".into(), &[&pid, &limit]));
    };
    limit("0");
    server.hup();
    let reason = "start_server: cannot fork a new worker: Resource temporarily unavailable\n";
    server.says_times(reason, 3);
    server.up(&[1]);
    assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
    limit("4000");
    server.succeeded(1);
    server.stop();
    assert_eq!(server.count("received HUP"), 1);
}

/// A process whose children are to live in a container cannot fork any more once the first of them, process 1
/// of the container, has died: for the system that is a want of memory.
#[test]
fn without_memory_for_a_fork_it_tries_again_and_obeys() {
    let Some(mut unshare) = container(&["--pid"]) else {
        return;
    };
    unshare.arg(program());
    let setup = Setup::by(unshare, USUAL).args(["--path=socket"]);
    let mut server = setup
        .args(["--", "sh", "-c", &format!("trap : TERM; {LIVE}")])
        .launch();
    server.up(&[1]);
    kernel::kill(server.status()[0].1, libc::SIGKILL);
    server.up(&[]);
    server.says_times(
        "start_server: cannot fork a new worker: Cannot allocate memory\n",
        3,
    );
    server.stop();
    for name in ["pid", "status", "socket"] {
        assert!(!server.scratch.path(name).exists(), "{name}");
    }
}

/// A child hangs like this when its program or its folder is on a server of NFS that is gone.
#[test]
fn a_child_that_hangs_on_its_way_to_the_program_holds_nobody_up() {
    let mut server = serve(["--path=socket"]).up();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &server.pid().to_string(), "-o"]);
    strace.arg(server.scratch.path("trace"));
    strace.args(["-e", "inject=execve:delay_enter=1000000000"]);
    let strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(strace) = strace else {
        return skipped("strace");
    };
    let mut strace = Ended(strace);
    let is_traced = || kernel::tracer(server.pid()).or(strace.0.try_wait().unwrap().map(|_| 0));
    if server.eventually("strace", is_traced) == 0 {
        return skipped("strace that may trace");
    }
    server.hup();
    server.says_times("starting new worker", 2);
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.says("\nold worker ");
    server.term();
    server.says("received TERM, sending TERM to all workers:");
    drop(strace);
    assert!(server.end().success());
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With a limit of 0, poll(2) refuses to look even at the descriptors that are open.
#[test]
fn without_any_descriptor_signals_are_obeyed_all_the_same() {
    let nofile = libc::RLIMIT_NOFILE;
    let cannot_poll = "start_server: cannot poll: Invalid argument\n";
    let cannot_fork = "start_server: cannot fork a new worker: Too many open files\n";
    let start = || serve(["--path=socket"]).up();
    let mut server = start();
    for times in 1..=2 {
        let generation = server.status()[0].0;
        let old = server.worker(generation);
        let before = kernel::limit_process(server.pid(), nofile, 0);
        // The poll that has begun goes on until a signal wakes it.
        server.signal(libc::SIGALRM);
        server.says_times(cannot_poll, times);
        let attempts = server.count(cannot_fork);
        server.hup();
        server.says_times("received HUP", times);
        server.says_times(cannot_fork, attempts + 3);
        assert_eq!(ask(old.port()).unwrap(), (generation, old.pid));
        assert_eq!(server.count(cannot_poll), times, "it is said once");
        kernel::limit_process(server.pid(), nofile, before);
        server.succeeded(generation);
        server.idle();
    }
    server.stop();
    assert_eq!(server.count(cannot_poll), 2);

    let mut server = start();
    kernel::limit_process(server.pid(), nofile, 0);
    server.stop();
    for name in ["pid", "status", "socket"] {
        assert!(!server.scratch.path(name).exists(), "{name}");
    }
}

#[test]
fn without_a_free_descriptor_everything_but_the_start_goes_on() {
    let setup = serve(["--envdir=envdir", "--path=socket"])
        .file("envdir/WORKER_ROLE", "linger")
        .file("envdir/VALUE", "before");
    let mut server = setup.start();
    let old = server.worker(1);
    server.up(&[1]);
    server.idle();
    let nofile = libc::RLIMIT_NOFILE;
    let before = kernel::limit_process(server.pid(), nofile, first_free(server.pid()));
    server.scratch.write("envdir/VALUE", "after");
    server.hup();
    server.says_times(
        "start_server: cannot fork a new worker: Too many open files\n",
        3,
    );
    assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
    // The status file has a descriptor in reserve.
    kernel::kill(old.pid, libc::SIGKILL);
    server.up(&[]);
    kernel::limit_process(server.pid(), nofile, before);
    server.succeeded(1);
    let (generation, _) = server.status()[0];
    let value = |generation| server.worker(generation).variable("VALUE");
    // Between reading envdir and starting it the limit may have gone.
    assert!([Some("before".into()), Some("after".into())].contains(&value(generation)));
    server.scratch.write("leave", "");
    server.hup();
    server.succeeded(generation);
    assert_eq!(value(server.status()[0].0), Some("after".into()));
    server.stop();
    let ignored =
        "start_server: ignoring envdir: Too many open files; keeping the values read before\n";
    assert_eq!(server.count(ignored), 1, "{}", server.log());
    assert_eq!(server.count("cannot write the status file"), 0);
    assert!(!server.scratch.path("socket").exists());
}

#[test]
fn a_log_command_that_dies_without_a_free_descriptor_is_there_again_when_there_is_one() {
    let log = "--log-file=| echo $$ >> log-pids; exec cat >> log-file";
    let mut server = serve([log]).start_silent(":");
    let old = server.worker(1);
    server.up(&[1]);
    let pids = || server.scratch.read("log-pids");
    let first = server.eventually("the log command", || {
        pids().strip_suffix('\n').map(|pid| pid.parse().unwrap())
    });
    server.idle();
    let free = first_free(server.pid());
    let before = kernel::limit_process(server.pid(), libc::RLIMIT_NOFILE, free);
    kernel::kill(first, libc::SIGKILL);
    kernel::kill(old.pid, libc::SIGKILL);
    server.up(&[]);
    kernel::limit_process(server.pid(), libc::RLIMIT_NOFILE, before);
    server.succeeded(1);
    server.eventually("its successor", || {
        (pids().lines().count() == 2).then_some(())
    });
    server.stop();
    server.eventually("the end of the log", || {
        let log = server.scratch.read("log-file");
        log.contains("exiting\n").then_some(())
    });
}
