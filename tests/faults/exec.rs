//! The program or its folder is gone, broken or too much for the system: the restart is tried again until it is right.

use crate::support::fixtures::serve;
use crate::support::{ask, now, Scratch, Server, Setup};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

const FAILED: &str = "seems to have failed to start, exit status:";

/// A worker that is up, of a program that the test can spoil: `program` in the scratch folder.
fn spoilable(setup: Setup) -> (Server, PathBuf) {
    let program = setup.scratch.path("program");
    symlink(std::env::current_exe().unwrap(), &program).unwrap();
    let server = setup.worker_at("./program").launch();
    server.worker(1);
    server.up(&[1]);
    (server, program)
}

/// Several attempts at a restart fail, each with this `reason`; the old worker is still serving.
fn fails(server: &Server, reason: &str) {
    let old = server.worker(1);
    server.hup();
    server.says_times(reason, 3);
    server.up(&[1]);
    assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
}

/// The cause is gone: the restart completes without another HUP.
fn recovers(mut server: Server, reason: &str) {
    server.succeeded(1);
    server.stop();
    assert_eq!(server.count(reason), server.count(FAILED));
    assert_eq!(server.count("received HUP"), 1);
}

/// `spoiled` takes the program's place for a while.
fn with_program(spoiled: impl FnOnce(&Scratch), reason: &str) {
    with_program_of(serve([]), spoiled, reason);
}

fn with_program_of(setup: Setup, spoiled: impl FnOnce(&Scratch), reason: &str) {
    let (server, program) = spoilable(setup);
    let good = server.scratch.path("good");
    fs::rename(&program, &good).unwrap();
    spoiled(&server.scratch);
    fails(&server, reason);
    fs::rename(&good, &program).unwrap();
    recovers(server, reason);
}

const EXECUTE: &str = "start_server: cannot execute ./program: ";

#[test]
fn a_program_that_is_gone_is_said_and_the_restart_completes_when_it_is_back() {
    with_program(|_| {}, &format!("{EXECUTE}No such file or directory\n"));
}

#[test]
fn a_program_that_may_not_be_executed_is_said_and_the_restart_completes_when_it_may() {
    with_program(
        |folder| {
            let path = folder.program("program", "#!/bin/sh\n");
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        },
        &format!("{EXECUTE}Permission denied\n"),
    );
}

#[test]
fn a_program_without_its_interpreter_is_said() {
    with_program(
        |folder| drop(folder.program("program", "#!/no/such/interpreter\n")),
        &format!("{EXECUTE}No such file or directory\n"),
    );
}

#[test]
fn a_program_that_links_to_itself_is_said() {
    with_program(
        |folder| symlink("program", folder.path("program")).unwrap(),
        &format!("{EXECUTE}Too many levels of symbolic links\n"),
    );
}

#[test]
fn a_truncated_program_fails_and_the_restart_completes_when_it_is_whole() {
    let text = fs::read(std::env::current_exe().unwrap()).unwrap();
    // The system does not take so little of it for a program, and the shell gets it, as with execvp(3).
    for length in [32, 4096] {
        let truncated = |folder: &Scratch| drop(folder.program("program", &text[..length]));
        with_program_of(serve(["--interval=1"]), truncated, FAILED);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_is_being_written_is_said_and_the_restart_completes_after_it() {
    let (server, program) = spoilable(serve([]));
    let good = fs::read(&program).unwrap();
    fs::remove_file(&program).unwrap();
    let mut writer = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&program)
        .unwrap();
    std::io::Write::write_all(&mut writer, &good).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let reason = &format!("{EXECUTE}Text file busy\n");
    fails(&server, reason);
    drop(writer);
    recovers(server, reason);
}

#[test]
fn variables_too_big_for_the_system_are_said_and_the_restart_completes_without_them() {
    let setup = serve(["--envdir=envdir"]).file("envdir/SMALL", "small");
    let (server, _) = spoilable(setup);
    // Each is short enough.
    let big = (0..100).map(|number| format!("envdir/BIG{number}"));
    let big: Vec<_> = big
        .map(|name| server.scratch.write(name, vec![b'x'; 100_000]))
        .collect();
    let reason = &format!("{EXECUTE}Argument list too long\n");
    fails(&server, reason);
    for file in big {
        fs::remove_file(file).unwrap();
    }
    recovers(server, reason);
}

#[test]
fn a_folder_that_is_gone_is_said_and_the_restart_completes_when_it_is_made_again() {
    let mut server = serve(["--dir=dir"]).file("dir/file", "").up();
    let dir = server.scratch.path("dir");
    fs::remove_dir_all(&dir).unwrap();
    let reason = "start_server: cannot enter --dir=dir: No such file or directory\n";
    fails(&server, reason);
    // A file in its place does not help.
    fs::write(&dir, "").unwrap();
    server.says("start_server: cannot enter --dir=dir: Not a directory\n");
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    server.succeeded(1);
    server.stop();
    assert_eq!(
        server.count("cannot enter --dir=dir: "),
        server.count(FAILED)
    );
}

/// No attempt comes sooner after another than this allows, however it fails.
#[test]
fn attempts_are_paced_by_the_interval() {
    let without_program = || serve(["--interval=1"]).args(["--", "./program"]);
    let setups = vec![
        (without_program(), EXECUTE),
        (
            serve(["--interval=1", "--dir=.", "--", "false"]),
            "seems to have failed to start",
        ),
    ];
    #[cfg(target_os = "linux")]
    let setups = setups.into_iter().chain([(
        without_program().with(crate::support::kernel::refuse_fork),
        "start_server: cannot fork a new worker: ",
    )]);
    for (setup, reason) in setups {
        let begun = now();
        let mut server = setup.launch();
        server.says_times(reason, 3);
        let spent = begun.elapsed();
        // A slow machine makes it longer, never shorter.
        assert!(spent >= Duration::from_secs(2), "{reason} {spent:?}");
        server.stop();
    }
}
