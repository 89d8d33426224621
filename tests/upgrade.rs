//! start_server replaces itself, and nobody notices.

mod command;
mod in_progress;
mod numbers;

use crate::support::clients::{Clients, Ends};
use crate::support::fixtures::{UPGRADE, USUAL};
use crate::support::waiting::{now, LIMIT};
use crate::support::worker::LIVE;
use crate::support::{
    alive_in, ask, kernel, program, run_beside, skipped, Report, Scratch, Server, Setup,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

/// A program at a path of its own, where another can take its place.
pub struct Place(Scratch);

impl Place {
    pub fn new() -> Place {
        let place = Place(Scratch::new());
        place.put(fs::read(program()).unwrap());
        place
    }

    /// Puts a program there, as an installation does: whole, and under a new inode.
    fn put(&self, bytes: impl AsRef<[u8]>) {
        let new = self.0.program("new", bytes);
        fs::rename(new, self.0.path("start_server")).unwrap();
    }

    /// A server under that program, whose workers have the role that envdir says.
    pub fn serve<const N: usize>(&self, role: &str, options: [&str; N]) -> Setup {
        Setup::by(Command::new(self.0.path("start_server")), USUAL)
            .args(["--envdir=envdir"])
            .args(options)
            .file("envdir/WORKER_ROLE", role)
    }
}

/// Upgrades by the control command, and expects that to succeed.
pub fn upgrade(server: &Server) {
    let (status, said) = run_beside(&server.scratch, &UPGRADE);
    assert_eq!(status, Some(0), "{said}{}", server.log());
    assert!(said.contains("by an upgrade"), "{said}");
}

/// The numbers of a worker's descriptors.
fn numbers(worker: &Report) -> Vec<String> {
    let lines = worker.all("fd").into_iter();
    lines
        .map(|line| line.split(' ').next().unwrap().to_string())
        .collect()
}

pub const UPGRADED: &str = "start_server: upgraded from start_server ";

#[test]
fn everything_is_still_there() {
    let place = Place::new();
    let options = [
        "--port=127.0.0.1:u0",
        "--port=127.0.0.1:0=20",
        "--path=socket with =%",
        "--log-file=| echo $$ >> log-command; cat >> log-file",
    ];
    let mut server = place.serve("serve", options).up();
    let first = server.worker(1);
    let command = server.eventually("the log command", || {
        let pid = server.scratch.read("log-command");
        pid.ends_with('\n').then_some(pid)
    });
    for _ in 0..3 {
        upgrade(&server);
        assert_eq!(ask(first.port()).unwrap(), (1, first.pid));
    }
    assert_eq!(server.scratch.read("pid"), format!("{}\n", server.pid()));
    server.restart(2);
    let second = server.worker(2);
    // All but the generation is what it was, descriptors and variables alike.
    assert_eq!(numbers(&first), numbers(&second));
    for key in ["env", "cwd", "blocked", "umask"] {
        let but_for_generation = |lines: Vec<String>| {
            let lines = lines.into_iter();
            let kept = lines.filter(|line| !line.starts_with("SERVER_STARTER_GENERATION="));
            kept.collect::<Vec<_>>()
        };
        let (before, after) = (first.all(key), second.all(key));
        assert_eq!(
            but_for_generation(before),
            but_for_generation(after),
            "{key}"
        );
    }
    assert_eq!(ask(first.port()).unwrap(), (2, second.pid));
    assert_eq!(server.scratch.read("log-command"), command);
    server.stop();
    let left = server.scratch.names();
    for name in ["pid", "status", "socket with =%"] {
        assert!(!left.contains(&name.to_string()), "{left:?}");
    }
    assert_eq!(server.scratch.read("log-file").matches(UPGRADED).count(), 3);
}

/// The open descriptors, but for the numbers of pipes: each program makes its own wake-up pipe.
pub fn descriptors(server: &Server) -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let all = crate::support::descriptors(server).into_iter();
    all.map(|open| match open.split_once("pipe:") {
        Some(_) => "pipe".to_string(),
        None => open,
    })
    .collect()
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--path=socket"]).up();
    let first = server.worker(1);
    let ours = fs::read(program()).unwrap();
    let mut alien = ours.clone();
    // elf(5): e_machine. A Motorola 68000 is a machine that this one is not.
    alien[18..20].copy_from_slice(&[4, 0]);
    let wrapper = format!("#!/bin/sh\n{} \"$@\"", program().into_string().unwrap());
    let table: [(&str, Option<&[u8]>, &str); 11] = [
        ("none", None, "No such file or directory"),
        ("empty", Some(b""), "Exec format error"),
        ("text", Some(b"exit 0"), "Exec format error"),
        ("another machine's", Some(&alien), "Exec format error"),
        ("cut off", Some(&ours[..2000]), ""),
        ("silent", Some(b"#!/bin/sh\nexit 0"), "exit status:0"),
        ("failing", Some(b"#!/bin/sh\nexit 7"), "exit status:1792"),
        (
            "chatty",
            Some(b"#!/bin/sh\necho understood by start_server"),
            "exit status:0",
        ),
        (
            "older",
            Some(b"#!/bin/sh\necho understood by start_server 0.1.0"),
            "it is the older version 0.1.0",
        ),
        (
            "failing in the end",
            Some(b"#!/bin/sh\necho understood by start_server 9, process $$; exit 3"),
            "exit status:768",
        ),
        (
            "a wrapper that does not exec",
            Some(wrapper.as_bytes()),
            "it answers from a process that it has started",
        ),
    ];
    let mut attempts = 0;
    let mut look = |name: &str, reason: &str| {
        attempts += 1;
        let (status, said) = run_beside(&server.scratch, &UPGRADE);
        assert_eq!(status, Some(3), "{name}: {said}");
        assert!(said.contains("keeps its current version"), "{name}: {said}");
        // The line follows after the status file.
        server.says_times("cannot upgrade", attempts);
        let log = server.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("cannot upgrade"))
            .unwrap();
        assert!(line.contains(reason), "{name}: {line}");
        assert_eq!(log.matches("cannot upgrade").count(), attempts, "{name}");
        assert_eq!(ask(first.port()).unwrap(), (1, first.pid), "{name}");
        assert_eq!(server.outline(), "1");
        assert_eq!(server.details("upgrades"), [attempts.to_string()]);
        let outcome = server.details("upgrade").pop().unwrap();
        assert!(outcome.contains(" failed "), "{outcome}");
        assert!(
            outcome.contains(reason) && said.contains(reason),
            "{outcome} {said}"
        );
    };
    for (name, bytes, reason) in table {
        match bytes {
            Some(bytes) => place.put(bytes),
            None => fs::remove_file(place.0.path("start_server")).unwrap(),
        }
        look(name, reason);
    }
    fs::set_permissions(
        place.0.path("start_server"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    look("not executable", "Permission denied");
    if Path::new("/usr/bin/start_server").exists() {
        place.put(fs::read("/usr/bin/start_server").unwrap());
        look("Perl's", "exit status:");
    }
    place.put(ours);
    upgrade(&server);
    assert_eq!(server.status(), [(1, first.pid)]);
    server.restart(2);
    server.stop();
    assert!(!server.scratch.path("socket").exists());
}

#[test]
fn no_answer_is_waited_for_in_vain_and_meanwhile_everything_goes_on() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    place.put(format!("#!/bin/sh\necho $$ >>tried\n{LIVE}"));
    server.signal(libc::SIGUSR2);
    let tried = || server.scratch.read("tried").lines().count();
    server.eventually("the trial", || (tried() == 1).then_some(()));
    server.restart(2);
    // A second wish begins again.
    server.signal(libc::SIGUSR2);
    server.eventually("another trial", || (tried() == 2).then_some(()));
    server.restart(3);
    server.says("/start_server: no answer within 10 seconds\n");
    server.idle();
    assert_eq!(server.count("cannot upgrade"), 1);
    for pid in server.scratch.read("tried").lines() {
        assert!(!kernel::exists(pid.parse().unwrap()));
    }
    server.stop();
}

#[test]
fn nobody_of_a_trial_outlives_start_server() {
    let place = Place::new();
    // The state is longer than any pipe, and nobody reads it.
    let long = "x".repeat(100_000);
    let setup = place.serve("serve", []);
    let names = ["A", "B", "C"].map(|name| format!("envdir/{name}"));
    let setup = names
        .iter()
        .fold(setup, |setup, name| setup.file(name, &long));
    let mut server = setup.up();
    place.put(format!("#!/bin/sh\necho $$ >tried\n{LIVE}"));
    server.signal(libc::SIGUSR2);
    server.file_has("tried", "\n");
    server.stop();
    server.eventually("the end of all processes", || {
        alive_in(server.scratch.folder()).is_empty().then_some(())
    });
}

/// The program that the trial has found good may be gone a moment later.
#[test]
fn an_exec_that_fails_at_the_last_moment_changes_nothing() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--path=socket"]).up();
    let first = server.worker(1);
    server.idle();
    let before = descriptors(&server);
    let real = program().into_string().unwrap();
    place.put(format!("#!/bin/sh\nrm \"$0\"\nexec {real} \"$@\""));
    let (status, said) = run_beside(&server.scratch, &UPGRADE);
    assert_eq!(status, Some(3), "{said}");
    server.says("cannot upgrade, keeping the current version: /");
    server.says("/start_server: No such file or directory\n");
    server.restart(2);
    let second = server.worker(2);
    // The descriptors that were to be kept are not left open for workers.
    assert_eq!(numbers(&first), numbers(&second));
    server.eventually(&format!("{before:#?}"), || {
        (descriptors(&server) == before).then_some(())
    });
    server.stop();
}

#[test]
fn signals_that_come_together_with_it_are_obeyed() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    for round in 1..=30 {
        let upgraded = server.count(UPGRADED);
        kernel::kill(server.pid(), libc::SIGUSR2);
        // At one time or another in the course of it.
        let begun = now();
        while server.count("received USR2") < round {
            assert!(begun.elapsed() < LIMIT, "{}", server.log());
        }
        for _ in 0..round * 100 {
            std::hint::spin_loop();
        }
        let newest = server.started().last().unwrap().0;
        kernel::kill(server.pid(), libc::SIGHUP);
        server.worker(newest + 1);
        server.up(&[newest + 1]);
        server.says_times(UPGRADED, upgraded + 1);
    }
    kernel::kill(server.pid(), libc::SIGUSR2);
    server.stop();
    assert!(!server.scratch.path("status").exists());
}

#[test]
fn the_lock_on_the_pid_file_is_never_let_go() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    let enough = AtomicBool::new(false);
    let file = fs::File::open(server.scratch.path("pid")).unwrap();
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut looks = 0;
            while !enough.load(SeqCst) {
                assert!(kernel::is_locked(&file), "after {looks} looks");
                looks += 1;
            }
        });
        let _ends = Ends(&enough);
        for _ in 0..20 {
            upgrade(&server);
        }
        enough.store(true, SeqCst);
        looker.join().unwrap();
    });
    server.stop();
}

#[test]
fn lines_that_could_not_be_written_yet_are_written_by_the_next_program() {
    let place = Place::new();
    let command = "--log-file=| while [ ! -e flow ]; do sleep 0.1; done; cat >> log-file";
    let mut server = place.serve("flood", [command]).up();
    for generation in [2, 3] {
        // Once the pipe is full, and what we have to say waits.
        server.next_role("flood");
        server.restart(generation);
    }
    upgrade(&server);
    server.next_role("serve");
    server.restart(4);
    server.scratch.write("flow", "");
    let log = server.eventually("the last line of the log", || {
        let log = server.scratch.read("log-file");
        let last = format!("old worker {} died", server.worker(3).pid);
        log.contains(&last).then_some(log)
    });
    server.stop();
    let ours: Vec<&str> = log.lines().filter(|line| *line != "flood").collect();
    let expected = [
        "received HUP",
        "received HUP",
        "received USR2",
        "upgraded from",
        "received HUP",
    ];
    let found = expected.iter().scan(0, |from, text| {
        *from += 1 + ours[*from..].iter().position(|line| line.contains(text))?;
        Some(*from)
    });
    assert_eq!(found.count(), expected.len(), "{ours:#?}");
}

/// Builds this program with another number of its version.
fn build_version(folder: &Scratch, version: &str) -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let ours = format!("version = {:?}", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&ours));
    folder.write(
        "Cargo.toml",
        manifest.replacen(&ours, &format!("version = {version:?}"), 1),
    );
    for name in ["src", "tests", "README.md", "LICENSE"] {
        std::os::unix::fs::symlink(source.join(name), folder.path(name)).unwrap();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--bin", "start_server"]);
    cargo
        .current_dir(folder.path(""))
        .env("CARGO_TARGET_DIR", folder.path("target"));
    let output = cargo.output().ok()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("offline") || said.contains("network"),
            "{said}"
        );
        return None;
    }
    fs::read(folder.path("target/debug/start_server")).ok()
}

#[test]
fn another_version_goes_on() {
    let folder = Scratch::new();
    let Some(newer) = build_version(&folder, "99.0.1") else {
        return skipped("the crates to build another version");
    };
    let place = Place::new();
    let mut server = place.serve("serve", ["--path=socket"]).up();
    let first = server.worker(1);
    let clients = Clients::of(first.port());
    let ours = fs::read(program()).unwrap();
    clients.connect_during(|| {
        for (bytes, from, to) in [
            (&newer, env!("CARGO_PKG_VERSION"), "99.0.1"),
            (&ours, "99.0.1", env!("CARGO_PKG_VERSION")),
        ] {
            place.put(bytes);
            upgrade(&server);
            server.says(&format!("{UPGRADED}{from} to {to}\n"));
            let status = Setup::beside(&server.scratch, ["--status", "--pid-file=pid"]);
            let told = status.args(["--status-file=status"]).finish().printed;
            assert!(
                told.contains(&format!("start_server {to} since ")),
                "{told}"
            );
        }
    });
    assert_eq!(clients.refused.load(SeqCst), 0);
    assert_eq!(server.status(), [(1, first.pid)]);
    server.stop();
}

/// As a container's: its end would be that of all the others.
#[cfg(target_os = "linux")]
#[test]
fn process_1_upgrades_itself() {
    let options = ["--pid", "--fork", "--mount-proc", "--kill-child=KILL"];
    let Some(mut unshare) = crate::support::container(&options) else {
        return;
    };
    let place = Place::new();
    unshare.arg(place.0.path("start_server"));
    let mut server = Setup::by(unshare, USUAL).role("serve").up();
    assert_eq!(server.scratch.read("pid"), "1\n");
    // Seen from outside it has another number.
    let unshare = server.pid();
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
    let outer: i32 = children.trim().parse().unwrap();
    for round in 1..=3 {
        kernel::kill(outer, libc::SIGUSR2);
        server.says_times(UPGRADED, round);
        kernel::kill(outer, libc::SIGHUP);
        server.up(&[round as u64 + 1]);
    }
    kernel::kill(outer, libc::SIGTERM);
    assert!(server.end().success());
    assert!(!server.scratch.path("pid").exists());
}

/// The program is looked for as it was when it was started: by PATH, or from the working directory.
#[test]
fn the_program_is_found_under_the_name_it_was_started_by() {
    let place = Place::new();
    let path = format!("{}:/usr/bin:/bin", place.0.path("").display());
    let mut by_path = Command::new("sh");
    by_path
        .args(["-c", "exec start_server \"$@\"", "sh"])
        .env("PATH", path);
    let mut by_name = Command::new("sh");
    by_name.args([
        "-c",
        "ln -s \"$1\" bin; shift; exec bin/start_server \"$@\"",
        "sh",
    ]);
    by_name.arg(place.0.path(""));
    for command in [by_path, by_name] {
        let mut server = Setup::by(command, USUAL).role("serve").up();
        upgrade(&server);
        upgrade(&server);
        server.stop();
    }
}
