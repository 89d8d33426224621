//! Every system call of a life fails once, with each error that its manual page makes likely: strace has it fail.
//!
//! Before the first worker is up start_server may refuse to start, with one message and nothing left behind. From
//! then on the ports take connections throughout, and the life comes to its proper end.

use crate::support::{ask, eventually, kernel, program, skipped, Server, Setup};
use std::env;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;

/// The names that a call has on one machine or another, a part of its arguments, and the errors with which it can fail:
/// mostly by its page in section 2 of the manual, apart from what comes of asking for the impossible (EBADF,
/// EFAULT, EINVAL …).
const ERRORS: [(&str, &str, &str); 35] = [
    ("access faccessat", "", "EACCES EIO ENOENT ENOMEM EROFS"),
    ("bind", "", "EACCES EADDRINUSE EADDRNOTAVAIL ENOMEM EROFS"),
    ("chdir", "", "EACCES EIO ENOENT ENOMEM"),
    ("chown lchown fchownat", "", "EIO ENOENT EPERM EROFS"),
    ("clone clone3 fork", "", "EAGAIN ENOMEM"),
    ("dup2 dup3", "", "EBUSY EINTR EMFILE"),
    ("execve", "", "E2BIG EACCES EIO ENOENT ENOMEM ETXTBSY"),
    ("fcntl", "F_DUPFD_CLOEXEC", "EMFILE"),
    // A security module may refuse these.
    ("fcntl", "F_GETFL", "EACCES"),
    ("fcntl", "F_SETFD, FD_CLOEXEC", "EACCES"),
    ("fcntl", "F_SETFL", "EACCES"),
    ("flock", "", "EAGAIN EINTR ENOLCK"),
    ("fchmod fchmodat", "", "EIO EPERM EROFS"),
    ("ftruncate", "", "EINTR EIO EPERM"),
    ("getdents64", "", "EIO ENOENT"),
    ("getrandom", "", "EAGAIN EINTR ENOSYS"),
    ("getsockopt", "", "ENOBUFS"),
    ("kill", "", "EPERM"),
    ("listen", "", "EADDRINUSE"),
    (
        "open openat",
        "",
        "EACCES EINTR EIO EMFILE ENOENT ENOMEM ENOSPC",
    ),
    ("pipe pipe2", "", "EMFILE ENFILE"),
    ("poll ppoll", "", "EINTR ENOMEM"),
    ("read", "", "EAGAIN EINTR EIO"),
    ("readlink readlinkat", "", "EACCES EINVAL EIO ENOENT"),
    ("rename renameat", "", "EACCES EIO ENOENT ENOSPC EROFS"),
    ("setpgid", "", "EPERM ESRCH"),
    ("setsockopt", "", "ENOBUFS ENOMEM"),
    ("socket", "", "EACCES EMFILE ENFILE ENOBUFS ENOMEM"),
    // Of a descriptor; of a path.
    ("statx newfstatat", "\"\"", "EIO ENOMEM"),
    ("fstat", "", "EIO ENOMEM"),
    ("statx stat lstat", "", "EACCES EIO ENOENT ENOMEM"),
    ("unlink unlinkat", "", "EACCES EBUSY EIO ENOENT EPERM EROFS"),
    ("wait4", "", "EINTR"),
    ("waitid", "", "EINTR"),
    ("write", "", "EAGAIN EINTR EIO ENOSPC EPIPE"),
];

/// Calls that do not fail, or about which nobody could do anything; they are looked for first.
const NEVER: [(&str, &str); 16] = [
    // The kernel answers with the old end, not with an error that strace could feign.
    ("brk", ""),
    // For the C library's malloc. Rust ends a program that is out of memory.
    ("mmap", "MAP_ANONYMOUS"),
    ("mremap", ""),
    // The malloc of zig's C library wants to know how many processors there are.
    ("sched_getaffinity", ""),
    // The descriptor is gone whatever it says.
    ("close", ""),
    // It does not return.
    ("exit_group", ""),
    // For an open descriptor: std looks for itself when it was built for debugging, start_server in the beginning.
    ("fcntl", "F_GETFD"),
    // The child clears the flag of an open descriptor.
    ("fcntl", "F_SETFD, 0"),
    ("getpid", ""),
    ("prlimit64", ""),
    // They refuse only numbers that are no signal, or one that is not to be caught.
    ("rt_sigaction rt_sigprocmask", ""),
    // It returns to what a signal has interrupted: nobody could be told.
    ("rt_sigreturn restart_syscall", ""),
    // The C library's own in a fork, which does not look at the answer.
    ("set_robust_list", ""),
    ("umask", ""),
    // The C library gives memory back.
    ("munmap", ""),
    // A handler writes this to wake poll. A full pipe refuses it, and then poll is awake.
    ("write", "\"!\", 1)"),
];

const OPTIONS: [&str; 10] = [
    // They have numbers of their own, so that a child calls dup2 once more than its parent.
    "--port=127.0.0.1:0=20",
    "--port=127.0.0.1:u0=21",
    "--port=127.0.0.1:0=22",
    "--path=socket",
    "--pid-file=pid",
    "--status-file=status",
    "--log-file=log-file",
    "--envdir=envdir",
    "--dir=dir",
    "--interval=0",
];

/// Options that change only few calls.
const MORE_OPTIONS: [&str; 3] = [
    "--kill-mode=group",
    "--forward-signal=TTIN",
    "--path-owner=0:0",
];

/// The calls that come, or change, with these options, and a part of their arguments. Of the hundreds of files below
/// /proc each would take a life of its own.
const MORE_CALLS: [(&str, &str); 9] = [
    ("chown", ""),
    ("fchownat", ""),
    ("getdents64", ""),
    ("kill", ""),
    ("lchown", ""),
    ("openat", "\"/proc\""),
    ("setpgid", ""),
    ("wait4", ""),
    ("waitid", ""),
];

/// Files of somebody else, with their names in them.
const STRANGERS: [&str; 5] = ["dir/A", "envdir/A", "pid.new", "socket.1", "status.1"];

struct Fault {
    name: String,
    /// strace counts from the start of each process, a child's from its fork.
    nth: usize,
    error: &'static str,
    in_life: LifeKind,
}

/// The life in which a call fails.
#[derive(Clone, Copy)]
struct LifeKind {
    /// Every child makes the call, between fork and execve.
    in_child: bool,
    with_more_options: bool,
}

#[test]
fn every_system_call_fails_once() {
    let mut strace = Command::new("strace");
    let tried = strace.args(["-o", "/dev/null", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        return skipped("strace");
    }
    let faults = faults();
    let (next, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // Most of a life is waiting.
        for _ in 0..4 * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, SeqCst)) {
                    match survive(fault) {
                        Ok(hit) => drop(hits.fetch_add(hit.into(), SeqCst)),
                        Err(how) => wrong.lock().unwrap().push(how),
                    }
                }
            });
        }
    });
    let (wrong, lives) = (wrong.into_inner().unwrap(), faults.len());
    let text = wrong.join("\n");
    assert!(wrong.is_empty(), "{} of {lives}:\n{text}", wrong.len());
    let hits = hits.into_inner();
    assert!(hits * 10 > lives * 9, "only {hits} of {lives} faults came");
}

/// Lives with a fault: whether it came, or what came of it.
fn survive(fault: &Fault) -> Result<bool, String> {
    // Signals come at any moment, so that strace may count to another call than was recorded, or not so far.
    for _ in 0..5 {
        let mut life = Life::begin(Some(fault), fault.in_life);
        let lived = catch_unwind(AssertUnwindSafe(|| life.live()));
        let hit = life.injected();
        if !life.is_fair() || (lived.is_ok() && hit.is_empty()) {
            continue;
        }
        let Err(panic) = lived else {
            return Ok(true);
        };
        let text = panic.downcast_ref::<&str>().copied();
        let text = panic.downcast_ref().map(String::as_str).or(text);
        let (call, error) = (&fault.name, fault.error);
        let (what, log) = (text.unwrap_or_default(), life.log());
        let nth = fault.nth;
        return Err(format!("=== {call}:{error}:{nth} {hit}\n{what}\n{log}"));
    }
    Ok(false)
}

fn faults() -> Vec<Fault> {
    let mut faults = faults_of(false, |_| true);
    faults.extend(faults_of(true, |call| {
        let is_one = |(name, part): &(&str, &str)| *name == call.name && call.line.contains(part);
        MORE_CALLS.iter().any(is_one)
    }));
    faults
}

/// The calls of a life that are wanted, with each of their errors.
fn faults_of(with_more_options: bool, is_wanted: fn(&Call) -> bool) -> Vec<Fault> {
    // A life on a busy machine has a few calls more than others, which strace would wait for in vain.
    let shortest = |kind| {
        std::thread::scope(|scope| {
            let lives = [(); 8].map(|()| scope.spawn(move || record(kind)));
            let lives = lives.map(|life| life.join().unwrap());
            lives.into_iter().min_by_key(Vec::len).unwrap()
        })
    };
    let kind = |in_child| LifeKind {
        in_child,
        with_more_options,
    };
    let (parent, child) = (shortest(kind(false)), shortest(kind(true)));
    // The calls of the loader are not ours. `main` begins by looking whether the standard descriptors are open.
    let begins = |call: &Call| call.line.starts_with("fcntl(0, F_GETFD");
    let main = parent.iter().skip_while(|call| !begins(call));
    // A fault of the others would hit the parent before.
    let count = |name: &str| parent.iter().filter(|call| call.name == name).count();
    let late = child.iter().filter(|call| call.nth > count(&call.name));
    let all = main.map(|call| (call, false));
    let all = all.chain(late.map(|call| (call, true)));
    let all = all.filter(|(call, _)| is_wanted(call));
    let faults = all.flat_map(|(call, in_child)| {
        let errors = errors(&call.line).split_whitespace();
        errors.map(move |error| Fault {
            name: call.name.clone(),
            nth: call.nth,
            error,
            in_life: kind(in_child),
        })
    });
    faults.collect()
}

struct Call {
    name: String,
    /// Its number among those of its name.
    nth: usize,
    /// The line of strace for it.
    line: String,
}

/// The calls of start_server, or of its first child, in a life without a fault.
fn record(kind: LifeKind) -> Vec<Call> {
    let mut life = Life::begin(None, kind);
    life.live();
    let trace = life.server.eventually("the end of strace", || {
        let trace = life.server.scratch.read("trace");
        trace.contains("+++ exited").then_some(trace)
    });
    // When forks are followed each line begins with the process.
    let number = match kind.in_child {
        true => life.server.started()[0].1.to_string(),
        false => String::new(),
    };
    let mut calls: Vec<Call> = Vec::new();
    for line in trace.lines().filter_map(|line| line.strip_prefix(&number)) {
        let line = line.trim_start();
        let name = line.split('(').next().unwrap();
        // Other lines tell of signals, or how a call went on.
        if name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        {
            calls.push(Call {
                name: name.to_string(),
                nth: 1 + calls.iter().filter(|call| call.name == name).count(),
                line: line.to_string(),
            });
        }
    }
    calls
}

/// The errors with which a call can fail.
fn errors(line: &str) -> &'static str {
    let (name, arguments) = line.split_once('(').unwrap();
    let is_it =
        |names: &str, part| names.split(' ').any(|it| it == name) && arguments.contains(part);
    if NEVER.iter().any(|row| is_it(row.0, row.1)) {
        return "";
    }
    let row = ERRORS.iter().find(|row| is_it(row.0, row.1));
    row.unwrap_or_else(|| panic!("it is in no table: {line}")).2
}

struct Life {
    server: Server,
    /// The TCP port, once a worker has told it.
    port: u16,
    /// Counts the workers that could not be told to end.
    untold: usize,
}

impl Life {
    fn begin(fault: Option<&Fault>, kind: LifeKind) -> Life {
        let mut strace = Command::new("strace");
        // strace becomes a grandchild, so that start_server is our child, and one that TERM ends.
        strace.args(["-D", "-I2", "-o", "trace"]);
        if kind.in_child {
            strace.args(["-f", "-b", "execve"]);
        }
        if let Some(Fault {
            name, nth, error, ..
        }) = fault
        {
            let inject = format!("inject={name}:error={error}:when={nth}");
            strace.args(["-e", &format!("trace={name}"), "-e", &inject]);
        }
        strace.arg(program());
        let mut setup = Setup::by(strace, OPTIONS).role("serve");
        for name in STRANGERS {
            setup = setup.file(name, name);
        }
        if kind.with_more_options {
            setup = setup.args(MORE_OPTIONS);
        }
        // The program is not in the first folder of PATH: start_server itself calls execve but once.
        let worker = env::current_exe().unwrap();
        let folder = worker.parent().unwrap().display();
        let path = format!("{folder}/none:{folder}:{}", env::var("PATH").unwrap());
        let setup = setup
            .env("PATH", path)
            .args(["--".as_ref(), worker.file_name().unwrap()]);
        let server = setup.args(crate::support::worker::ARGUMENTS).launch();
        Life {
            server,
            port: 0,
            untold: 0,
        }
    }

    fn live(&mut self) {
        let Some(mut worker) = self.first_worker() else {
            return self.was_refused();
        };
        self.port = self.server.worker(worker.0).tcp_port(20);
        for signal in [libc::SIGHUP, libc::SIGHUP, libc::SIGKILL] {
            self.is_served_by(worker);
            match signal {
                libc::SIGKILL => kernel::kill(worker.1, signal),
                _ => self.server.signal(signal),
            }
            worker = self.successor(worker.0);
        }
        self.is_served_by(worker);
        self.ends();
    }

    /// Waits for the first worker that is up; `None` if start_server ends before.
    fn first_worker(&mut self) -> Option<(u64, i32)> {
        let server = &mut self.server;
        let mut told = false;
        let look = || {
            if server.has_ended() {
                return Some(None);
            }
            // A fault of every child stays until strace goes.
            let failed = log(server).matches("seems to have failed to start").count();
            match kernel::tracer(server.pid()) {
                Some(tracer) if failed >= 3 => {
                    kernel::kill_if_there(tracer, libc::SIGTERM);
                    told = true;
                }
                // strace, as it goes, swallows a signal that has just come: here a child is dead and nobody knows.
                None if told => kernel::kill_if_there(server.pid(), libc::SIGCHLD),
                Some(_) | None => {}
            }
            up_alone(server, 0).map(Some)
        };
        eventually(look, || "the first worker".to_string())
    }

    /// Waits until one worker newer than this is up alone. Meanwhile the ports take connections.
    fn successor(&mut self, generation: u64) -> (u64, i32) {
        let look = || {
            TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
            UnixStream::connect(self.server.scratch.path("socket")).expect("a connection");
            if self.must_ask_again() {
                self.server.hup();
            }
            up_alone(&self.server, generation)
        };
        eventually(look, || format!("a successor of {generation}"))
    }

    /// Tells whether another worker could not be told to end. start_server tells it at the next signal.
    fn must_ask_again(&mut self) -> bool {
        assert!(self.is_fair(), "this may last for ever");
        let untold = self.log().matches("cannot send TERM to worker").count();
        untold > std::mem::replace(&mut self.untold, untold)
    }

    /// This worker serves, with the variable of envdir, and start_server sleeps.
    fn is_served_by(&self, worker: (u64, i32)) {
        assert_eq!(ask(self.port).unwrap(), worker);
        let pid = self.server.scratch.read("pid");
        assert_eq!(pid, format!("{}\n", self.server.pid()));
        // A file that is not there, or may not be read, is no variable.
        let hit = self.injected();
        let of_envdir = hit.contains("envdir") || hit.starts_with("getdents64");
        if !(of_envdir && (hit.contains("EACCES") || hit.contains("ENOENT"))) {
            let value = self.server.worker(worker.0).variable("A");
            assert_eq!(value, Some("envdir/A".into()));
        }
        self.server.idle();
    }

    fn ends(&mut self) {
        self.server.term();
        let look = || {
            if self.must_ask_again() {
                self.server.term();
            }
            self.server.has_ended().then(|| self.server.end())
        };
        let ended = eventually(look, || "the end".to_string());
        assert_eq!(ended.into_raw(), 0);
        self.left_nothing(&["unlink", "stat", "lstat"]);
    }

    fn was_refused(&mut self) {
        assert_eq!(self.server.end().code(), Some(1));
        let log = self.log();
        let said = log
            .lines()
            .filter(|line| line.starts_with("start_server: "));
        assert_eq!(said.count(), 1, "messages");
        assert!(!log.contains("starting new worker"), "it was too late");
        self.left_nothing(&["unlink"]);
    }

    /// Expects that nobody is left, and no file but those of others, unless its removal, one of these calls, failed.
    fn left_nothing(&self, removal: &[&str]) {
        assert_eq!(self.server.living(), [], "somebody is left");
        let scratch = &self.server.scratch;
        for name in STRANGERS {
            assert_eq!(scratch.read(name), name, "a stranger's file");
        }
        let hit = self.injected();
        let told = self.log().contains("\nstart_server: ");
        assert!(!hit.contains("EINTR") || !told, "it only has to ask again");
        let is_removal = removal.iter().any(|name| hit.starts_with(name));
        let mut left = scratch.names();
        left.retain(|name| {
            let ours = ["pid", "socket", "status"]
                .iter()
                .any(|ours| name.starts_with(ours));
            let excused = is_removal && hit.contains(&format!("{name:?}"));
            ours && !STRANGERS.contains(&name.as_str()) && !excused
        });
        assert_eq!(left, [""; 0], "left behind");
    }

    fn log(&self) -> String {
        log(&self.server)
    }

    /// The line of strace for the call that it had fail; nothing if there was none.
    fn injected(&self) -> String {
        let trace = self.server.scratch.read("trace");
        let hit = trace.lines().find(|line| line.contains("(INJECTED)"));
        let is_number = |c: char| c.is_ascii_digit() || c == ' ';
        hit.unwrap_or_default()
            .trim_start_matches(is_number)
            .to_string()
    }

    /// Tells whether the call that strace had fail, if any, can fail like this.
    fn is_fair(&self) -> bool {
        let hit = self.injected();
        let is_it = |error| hit.contains(&format!("= -1 {error} "));
        hit.is_empty() || errors(&hit).split_whitespace().any(is_it)
    }
}

/// The one worker that is up, if it is newer than this.
fn up_alone(server: &Server, generation: u64) -> Option<(u64, i32)> {
    match server.status()[..] {
        [worker] if worker.0 > generation && server.started().contains(&worker) => Some(worker),
        _ => None,
    }
}

fn log(server: &Server) -> String {
    server.log() + &server.scratch.read("log-file")
}
