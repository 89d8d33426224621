//! The number in a pid file is not an identity: only the process that holds the file is signalled.

use crate::support::fixtures::{serve, with_role, USUAL};
use crate::support::{container, kernel, nobody_can_execute, program, run_beside, skipped};
use crate::support::{eventually, Scratch, Server, Setup};
use std::fs::{self, File};
use std::os::unix::fs::{chown, PermissionsExt};
use std::process::{Command, Stdio};

const COMMANDS: [&[&str]; 4] = [
    &["--status", "--pid-file=pid"],
    &["--restart", "--pid-file=pid", "--status-file=status"],
    &["--upgrade", "--pid-file=pid", "--status-file=status"],
    &["--stop", "--pid-file=pid"],
];

/// Expects that no command signals the process whose pid is in the file, because its lock belongs to another.
fn are_refused(folder: &Scratch, pid: i32) {
    let reason = format!("start_server: --pid-file=pid: process {pid} does not hold the lock: ");
    for command in COMMANDS {
        let (status, said) = run_beside(folder, command);
        assert_eq!(status, Some(1), "{command:?}: {said}");
        assert!(said.starts_with(&reason), "{command:?}: {said}");
        let holders = ["holds it\n", "may run in another pid namespace\n"];
        assert!(holders.iter().any(|end| said.ends_with(end)), "{said}");
    }
}

/// A stale pid file, which somebody who may read it has locked. The process that has its number now may even have
/// inherited the locked file.
#[test]
fn a_process_that_has_not_locked_the_file_is_not_signalled() {
    for inherits in [false, true] {
        let folder = Scratch::new();
        folder.write("status", "1:1\n");
        let file = File::open(folder.write("pid", "")).unwrap();
        kernel::lock(&file, false);
        let input = match inherits {
            true => Stdio::from(file.try_clone().unwrap()),
            false => Stdio::null(),
        };
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdin(input);
        let mut sleep = sleep.env("WORKER_DIR", folder.folder()).spawn().unwrap();
        let pid = sleep.id() as i32;
        folder.write("pid", format!("{pid}\n"));
        are_refused(&folder, pid);
        assert!(sleep.try_wait().unwrap().is_none(), "it was signalled");
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }
}

/// Somebody else's folder: he can have any number in his pid file.
#[test]
fn a_process_is_not_signalled_if_its_number_stands_in_the_file_of_another_user() {
    if !kernel::is_root() {
        return skipped("root");
    }
    let mut server = serve([]).up();
    let command = |command| run_beside(&server.scratch, command);
    for (folder, file, refused) in [(1, 1, true), (0, 1, false), (1, 0, false)] {
        chown(server.scratch.folder(), Some(folder), None).unwrap();
        chown(server.scratch.path("pid"), Some(file), None).unwrap();
        let (status, said) = command(COMMANDS[0]);
        assert_eq!(status, Some(i32::from(refused)), "{said}");
        if refused {
            let line = "start_server: --pid-file=pid: it belongs to user 1, who could change it\n";
            assert_eq!(said, line);
        }
    }
    server.stop();
}

/// His own start_server may be controlled.
#[test]
fn root_controls_the_start_server_of_another_user() {
    if !nobody_can_execute() {
        return skipped("root, and a program that every user can execute");
    }
    let setup = serve([]).with(|command| kernel::on_fork(command, kernel::become_nobody));
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(setup.scratch.folder(), all).unwrap();
    chown(setup.scratch.folder(), Some(65_534), None).unwrap();
    let mut server = setup.up();
    for command in [1, 3] {
        let (status, said) = run_beside(&server.scratch, COMMANDS[command]);
        assert_eq!(status, Some(0), "{said}");
    }
    assert!(server.end().success());
}

/// Somebody waits for the lock, and gets it when start_server has ended.
#[test]
fn stop_is_over_when_another_process_gets_the_lock() {
    let mut server = with_role("linger", []).up();
    let file = File::open(server.scratch.path("pid")).unwrap();
    let waiter = std::thread::spawn(move || {
        kernel::lock(&file, false);
        file
    });
    let mut command = Setup::beside(&server.scratch, COMMANDS[3]).launch();
    server.notes("signal 1 15");
    server.scratch.write("leave", "");
    let _locked = waiter.join().unwrap();
    assert!(command.end().success(), "{}", command.log());
    assert!(server.end().success());
}

/// The number in a stale file is not that of the process which has locked it.
#[test]
fn a_start_names_the_process_that_has_locked_a_stale_pid_file() {
    let folder = Scratch::new();
    let file = File::open(folder.write("pid", "1\n")).unwrap();
    let start = || run_beside(&folder, &["--pid-file=pid", "--", "true"]);
    for is_shared in [false, true] {
        kernel::lock(&file, is_shared);
        let own = format!("process {}", std::process::id());
        // Some file systems have other device numbers in /proc/locks.
        let lines = [own.as_str(), "another process"]
            .map(|holder| format!("start_server: --pid-file=pid: {holder} holds a lock on it\n"));
        let (status, said) = start();
        assert_eq!(status, Some(1), "{said}");
        assert!(lines.contains(&said), "{said}");
    }
    assert_eq!(folder.read("pid"), "1\n");
}

/// Process 1 outside of a container is another one than process 1 inside.
#[test]
fn a_start_server_of_another_pid_namespace_is_not_mistaken_for_a_process_of_this_one() {
    let Some(mut command) = container(&["--pid", "--fork", "--kill-child"]) else {
        return;
    };
    command.arg(program());
    let server = Setup::by(command, USUAL).role("serve").up();
    assert_eq!(server.scratch.read("pid"), "1\n");
    if kernel::is_root() {
        are_refused(&server.scratch, 1);
    }
    assert_eq!(server.started().len(), 1);
}

#[test]
fn blanks_around_the_number_are_fine() {
    let mut server = serve([]).up();
    fs::write(
        server.scratch.path("pid"),
        format!(" {}\r\n\n", server.pid()),
    )
    .unwrap();
    let (status, said) = run_beside(&server.scratch, COMMANDS[3]);
    assert_eq!(status, Some(0), "{said}");
    assert!(server.end().success());
}

/// Under an emulator a process has the name and the locks of the emulator.
fn is_emulated(server: &Server) -> bool {
    let name = fs::read_to_string(format!("/proc/{}/comm", server.pid())).unwrap_or_default();
    let is_emulated = name != "start_server\n";
    if is_emulated {
        skipped("a program that is not emulated");
    }
    is_emulated
}

/// A second start with other files of its own, but the status file of the first.
fn second(first: &Server) -> String {
    let options = [
        "--pid-file=pid.2",
        "--status-file=status",
        "--port=127.0.0.1:0",
    ];
    let ended = Setup::beside(&first.scratch, options)
        .args(["true"])
        .finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    ended.said
}

#[test]
fn a_status_file_that_a_running_start_server_writes_is_refused() {
    let mut first = serve([]).file("status.1", "somebody else's").up();
    if is_emulated(&first) {
        return;
    }
    let files = |server: &Server| {
        // The first one and its workers have nothing to do, and write nothing.
        server.idle();
        let mut names = server.scratch.names();
        names.retain(|name| !["log", "notes", "output"].contains(&name.as_str()));
        let read = |name: String| (server.scratch.read(&name), name);
        names.into_iter().map(read).collect::<Vec<_>>()
    };
    let refusal = "start_server: --status-file=status: a running start_server writes it";
    for generation in [1, 2] {
        let before = files(&first);
        let line = second(&first);
        let holder = format!("{refusal}: process {}\n", first.pid());
        assert!([format!("{refusal}\n"), holder].contains(&line), "{line}");
        assert_eq!(files(&first), before);
        let upgrade = run_beside(&first.scratch, COMMANDS[2]);
        assert_eq!(upgrade.0, Some(0), "{}", upgrade.1);
        assert!(second(&first).starts_with(refusal));
        first.restart(generation + 1);
    }
    first.stop();
}

/// The status file is first written when a worker is up. Until then only the details are there to show who writes it.
#[test]
fn a_status_file_is_refused_while_the_first_worker_is_still_starting() {
    let mut first = serve(["--interval=600"]).start();
    if is_emulated(&first) {
        return;
    }
    first.worker(1);
    let line = second(&first);
    let refusal = "start_server: --status-file=status.details: a running start_server writes it";
    assert!(line.starts_with(refusal), "{line}");
    assert!(!first.scratch.path("status").exists());
    first.stop();
}

/// Both have found the status file unused before one of them writes it. The lock on the folder keeps them there.
#[test]
fn of_two_that_start_at_once_with_one_status_file_one_is_refused() {
    let folder = Scratch::new();
    let lock = File::open(folder.folder()).unwrap();
    kernel::lock(&lock, false);
    let start = |pid_file| {
        let options = [pid_file, "--status-file=status", "--interval=0"];
        let setup = Setup::beside(&folder, options).args(["--", "sleep", "600"]);
        setup.launch()
    };
    let mut both = [start("--pid-file=1"), start("--pid-file=2")];
    both.iter().for_each(Server::idle);
    drop(lock);
    let refused = eventually(
        || both.iter_mut().position(Server::has_ended),
        || "one of them to end".to_string(),
    );
    let refusal = "a running start_server writes it";
    assert!(both[refused].log().contains(refusal));
    let other = &mut both[1 - refused];
    other.signal(libc::SIGTERM);
    assert!(other.end().success(), "{}", other.log());
}

/// The lock ends with start_server, even if its workers live on.
#[test]
fn the_status_file_of_a_killed_start_server_is_taken_over() {
    let first = serve([]).up();
    first.signal(libc::SIGKILL);
    let mut first = first;
    first.end();
    assert!(first.is_worker(first.started()[0].1));
    let options = ["--pid-file=pid", "--status-file=status", "--interval=0"];
    let mut next = Setup::beside(&first.scratch, options)
        .args(["--", "sleep", "600"])
        .launch();
    let taken = || {
        first
            .scratch
            .read("status.details")
            .contains(&format!("pid {}\n", next.pid()))
    };
    first.eventually("the details of the next one", || taken().then_some(()));
    next.stop();
}

/// The message must not call them workers of a start_server that is gone: the reader would kill them.
#[test]
fn workers_of_a_running_start_server_are_named_as_its_children() {
    let first = serve([]).up();
    if is_emulated(&first) {
        return;
    }
    let worker = first.worker(1);
    first.scratch.write("old", first.scratch.read("status"));
    let port = format!("--port=127.0.0.1:{}", worker.port());
    let options = [
        port.as_str(),
        "--pid-file=pid.2",
        "--status-file=old",
        "true",
    ];
    let ended = Setup::beside(&first.scratch, options).finish();
    let (pid, own) = (worker.pid, first.pid());
    let line = format!(", a child of process {own} (start_server)");
    assert!(
        ended.said.contains(&format!("process {pid} (")),
        "{}",
        ended.said
    );
    assert!(ended.said.contains(&line), "{}", ended.said);
    assert!(!ended.said.contains("gone"), "{}", ended.said);
}
