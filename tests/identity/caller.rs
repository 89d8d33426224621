//! The caller may ignore signals, close descriptors, give no environment or use an odd name.

use super::lives;
use crate::support::fixtures::{serve, USUAL};
use crate::support::{ask, kernel, program, Setup};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn changed(change: impl Fn() + Send + Sync + 'static) -> Setup {
    serve([]).with(|command| kernel::on_fork(command, change))
}

#[test]
fn blocked_and_ignored_signals_are_heard_all_the_same() {
    let server = changed(|| {
        for signal in 1..32 {
            kernel::set_disposition(signal, libc::SIG_IGN);
        }
        kernel::block_all();
    });
    let server = server.start();
    assert_eq!(server.worker(1).one("blocked"), "[]");
    lives(server);
}

#[test]
fn standard_descriptors_may_be_closed() {
    let table: [&'static [i32]; 7] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]];
    for closed in table {
        let close = move || closed.iter().for_each(|&fd| kernel::close(fd));
        let server = changed(close).args(["--log-file=out"]).start();
        // No listener is where a program writes its errors to.
        for (_, number) in server.worker(1).ports() {
            assert!(number > 2, "{closed:?}");
        }
        lives(server);
    }
}

#[test]
fn standard_error_may_be_closed_without_a_log() {
    lives(changed(|| kernel::close(2)).start());
}

#[test]
fn stray_descriptors_take_no_place_of_ours() {
    lives(changed(|| (3..60).for_each(|number| kernel::duplicate(0, number))).start());
}

#[test]
fn a_umask_that_takes_everything_stops_nothing() {
    let setup = changed(|| kernel::set_umask(0o777)).args(["--path=socket"]);
    let worker = std::env::current_exe().unwrap();
    // The worker's own files are to be readable for the test.
    let setup = setup.args(["--", "sh", "-c", "umask 022; exec \"$0\" \"$@\""]);
    let setup = setup.args([worker]).args(crate::support::worker::ARGUMENTS);
    let mut server = setup.launch();
    let first = server.worker(1);
    assert_eq!(ask(first.port()).unwrap(), (1, first.pid));
    server.hup();
    server.worker(2);
    server.stop();
    for name in ["pid", "status", "socket"] {
        assert!(!server.scratch.path(name).exists(), "{name}");
    }
}

#[test]
fn few_and_many_descriptors_are_enough() {
    for count in [16, 1 << 20, u64::MAX] {
        lives(changed(move || kernel::limit_descriptors(count)).start());
    }
}

/// Fewer than the loader needs to load the program are not start_server's to refuse.
#[cfg(target_os = "linux")]
#[test]
fn with_too_few_descriptors_it_starts_or_refuses_with_a_line_and_leaves_nothing() {
    let mut refused = 0;
    for count in 4..16 {
        let setup = changed(move || kernel::limit_descriptors(count));
        let setup = setup.args(["--path=socket", "--log-file=out"]);
        let mut server = setup.start();
        let runs = server.eventually("an attempt at a worker or the end", || {
            let out = server.scratch.read("out");
            match out.contains("starting new worker") || out.contains("cannot fork") {
                true => Some(true),
                false => server
                    .log()
                    .ends_with("Too many open files\n")
                    .then_some(false),
            }
        });
        if runs {
            server.stop();
        } else {
            refused += 1;
            assert_eq!(server.end().code(), Some(1), "{count}: {}", server.log());
            let lines = server.log().matches("start_server: ").count();
            assert_eq!(lines, 1, "{count}: {}", server.log());
        }
        for name in ["pid", "status", "socket"] {
            assert!(!server.scratch.path(name).exists(), "{count}: {name}");
        }
    }
    assert!(refused > 0);
}

#[test]
fn no_environment_is_needed() {
    let setup = serve(["--envdir=envdir"]).with(|command| {
        command.env_clear();
    });
    let folder = setup.scratch.path("");
    let setup = setup
        .file("envdir/WORKER_ROLE", "serve")
        .file("envdir/WORKER_DIR", folder.to_str().unwrap());
    let server = setup.start();
    assert_eq!(server.worker(1).variable("PATH"), None);
    lives(server);
}

#[test]
fn without_path_a_bare_name_is_sought_where_the_system_keeps_its_programs() {
    let setup = serve([]).with(|command| {
        command.env_remove("PATH");
    });
    lives(setup.worker_after(":").launch());
}

/// A shell becomes start_server after `line`; its files are in the scratch folder all the same.
fn by_shell(line: &str) -> Setup {
    let mut shell = Command::new("sh");
    let line = format!("{line}; exec \"$0\" \"$@\"");
    shell.args(["-c", &line]).arg(program());
    let setup = Setup::by(shell, ["--port=127.0.0.1:0", "--interval=0"]).role("serve");
    let option =
        |name: &str, file: &str| format!("--{name}={}", setup.scratch.path(file).display());
    let options = [
        option("pid-file", "pid"),
        option("status-file", "status"),
        option("dir", ""),
    ];
    setup.args(options)
}

#[test]
fn the_working_directory_may_be_removed() {
    lives(by_shell("mkdir gone; cd gone; rmdir ../gone").start());
}

#[test]
fn its_own_name_may_be_empty() {
    lives(
        serve([])
            .with(|command| {
                command.arg0("");
            })
            .start(),
    );
}

/// Not even its own name is among the arguments, and the environment, which follows them, is not taken for one. Linux
/// makes one empty argument of none since version 5.18.
#[test]
fn it_may_be_started_without_any_argument_and_then_refuses() {
    let path = CString::new(program().as_bytes()).unwrap();
    let nameless = move || kernel::become_nameless(&path, c"--version");
    let ended = changed(nameless).finish();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    assert!(ended.said.starts_with("start_server: "), "{}", ended.said);
    assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
    assert_eq!(ended.printed, "");
}

#[test]
fn it_may_be_started_by_a_relative_path() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec ./bin/start_server \"$@\"", "sh"]);
    let setup = Setup::by(shell, USUAL).role("serve");
    let text = fs::read(program()).unwrap();
    setup.scratch.program("bin/start_server", text);
    lives(setup.start());
}

#[test]
fn nohup_does_not_take_the_restart_away() {
    let mut nohup = Command::new("nohup");
    nohup.arg(program());
    lives(Setup::by(nohup, USUAL).role("serve").start());
}

#[test]
fn it_may_lead_a_session() {
    let server = changed(kernel::new_session).start();
    assert_eq!(kernel::session(server.pid()), server.pid());
    lives(server);
}
