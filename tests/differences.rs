//! The deliberate differences from Perl's start_server: each row of that table, with a test that fails against Perl's.

use crate::support::fixtures::{by_envdir, serve, with_role, without_port, RESTART, USUAL};
use crate::support::reading::rest;
use crate::support::{ask, kernel, now, program, run_beside, Scratch, Server, Setup};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{symlink, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

/// Counts the notes of the workers that are this line.
fn noted(server: &Server, line: &str) -> usize {
    server
        .scratch
        .read("notes")
        .lines()
        .filter(|found| *found == line)
        .count()
}

// A failed exec or chdir in the child runs the parent's clean-up there.

/// A server whose first worker is up, and whose program is gone since.
fn without_program<const N: usize>(options: [&str; N]) -> Server {
    let setup = serve(options);
    let worker = std::env::current_exe().unwrap();
    symlink(worker, setup.scratch.path("program")).unwrap();
    let server = setup.worker_at("./program").launch();
    server.worker(1);
    server.up(&[1]);
    fs::remove_file(server.scratch.path("program")).unwrap();
    server
}

#[test]
fn a_failed_exec_leaves_sockets_and_files_alone() {
    let mut server = without_program(["--path=socket"]);
    server.hup();
    server.says_times(
        "start_server: cannot execute ./program: No such file or directory\n",
        2,
    );
    server.says_times("seems to have failed to start, exit status:65280", 2);
    assert!(server.scratch.path("pid").exists() && server.scratch.path("socket").exists());
    server.up(&[1]);
    assert_eq!(ask(server.worker(1).port()).unwrap().0, 1);
    server.stop();
}

#[test]
fn a_failed_chdir_leaves_sockets_and_files_alone() {
    let mut server = serve(["--path=socket", "--dir=dir"]).file("dir/x", "").up();
    fs::rename(server.scratch.path("dir"), server.scratch.path("moved")).unwrap();
    server.hup();
    server.says_times(
        "start_server: cannot enter --dir=dir: No such file or directory\n",
        2,
    );
    assert!(server.scratch.path("pid").exists() && server.scratch.path("socket").exists());
    fs::rename(server.scratch.path("moved"), server.scratch.path("dir")).unwrap();
    server.says("killing old workers");
    server.stop();
}

#[test]
fn with_no_interval_a_failed_exec_does_not_end_the_old_worker() {
    let mut server = without_program(["--interval=0"]);
    server.hup();
    server.says_times("seems to have failed to start", 20);
    server.up(&[1]);
    server.stop();
    assert_eq!(server.log().matches("killing old workers").count(), 0);
}

// --restart waits for exactly generation+1.

#[test]
fn a_restart_ends_well_though_an_attempt_failed() {
    let mut server = with_role("picky", ["--interval=1"]).up();
    server.scratch.write("bad", "");
    let mut restart = Setup::beside(&server.scratch, RESTART).launch();
    server.says("seems to have failed to start");
    fs::remove_file(server.scratch.path("bad")).unwrap();
    assert_eq!(restart.end().code(), Some(0), "{}", restart.log());
    assert!(server.status()[0].0 > 2);
    server.stop();
}

#[test]
fn a_restart_ends_with_1_when_start_server_ends() {
    let mut server = with_role("picky", ["--interval=1"]).up();
    server.scratch.write("bad", "");
    let mut restart = Setup::beside(&server.scratch, RESTART).launch();
    server.says("seems to have failed to start");
    server.stop();
    assert_eq!(restart.end().code(), Some(1), "{}", restart.log());
    let said = restart.log();
    assert!(
        said.contains("ended before the restart was complete"),
        "{said}"
    );
}

#[test]
fn a_restart_and_a_stop_end_with_2_after_their_timeout() {
    let mut server = with_role("linger", []).up();
    let [restart, pid, status] = RESTART;
    let (code, said) = run_beside(&server.scratch, &[restart, pid, status, "--timeout=1"]);
    assert_eq!(code, Some(2), "{said}");
    server.up(&[1, 2]);
    let (code, said) = run_beside(&server.scratch, &["--stop", pid, "--timeout=1"]);
    assert_eq!(code, Some(2), "{said}");
    server.scratch.write("leave", "");
    assert!(server.end().success());
}

// A HUP during the interval cuts the check short.

#[test]
fn a_hup_during_the_interval_cuts_no_check_short_and_leads_to_one_more_restart() {
    let mut server = by_envdir("serve", ["--interval=3"]).up();
    server.next_role("fail");
    server.hup();
    server.worker(2);
    server.hup();
    server.hup();
    server.next_role("serve");
    server.scratch.write("fail", "");
    server.says("seems to have failed to start");
    assert_eq!(noted(&server, "signal 1 15"), 0);
    server.up(&[4]);
    server.stop();
    assert_eq!(server.log().matches("received HUP").count(), 2);
}

// TERM is not obeyed during --kill-old-delay.

#[test]
fn term_is_obeyed_during_the_kill_old_delay() {
    let mut server = serve(["--kill-old-delay=1000"]).up();
    server.hup();
    server.says("sleeping 1000 secs before killing old workers");
    server.stop();
    assert!(server
        .story()
        .contains("received TERM, sending TERM to all workers:A,B\n"));
}

// A new worker that dies during that delay still gets the old ones killed.

#[test]
fn old_workers_serve_until_a_new_one_is_up() {
    let mut server = serve(["--kill-old-delay=2"]).up();
    server.hup();
    server.says("sleeping 2 secs");
    kernel::kill(server.worker(2).pid, libc::SIGKILL);
    server.notes("signal 1 15");
    server.stop();
    let notes = server.scratch.read("notes");
    let successor = notes
        .lines()
        .position(|line| line.starts_with("began 3 "))
        .unwrap();
    let told = notes
        .lines()
        .position(|line| line == "signal 1 15")
        .unwrap();
    assert!(successor < told, "{notes}");
}

// An unknown signal name is found out at the first HUP: see tests/refusals.rs.

// Fork failure, or a status file that can't be written, kills the daemon.

#[cfg(target_os = "linux")]
#[test]
fn a_failed_fork_is_said_and_tried_again() {
    let mut server = serve(["--interval=0"]).with(kernel::refuse_fork).start();
    server.says_times("start_server: cannot fork a new worker: ", 3);
    server.stop();
}

#[test]
fn a_status_file_that_cannot_be_written_is_said_and_survived() {
    let mut server = serve(["--status-file=dir/status"])
        .file("dir/x", "")
        .start();
    let shows = |server: &Server, line: &str| {
        server.eventually(line, || {
            server
                .scratch
                .read("dir/status")
                .starts_with(line)
                .then_some(())
        });
    };
    shows(&server, "1:");
    fs::rename(server.scratch.path("dir"), server.scratch.path("moved")).unwrap();
    server.hup();
    server.says("start_server: cannot write the status file: No such file or directory");
    server.says("old worker ");
    fs::rename(server.scratch.path("moved"), server.scratch.path("dir")).unwrap();
    server.hup();
    shows(&server, "3:");
    server.stop();
}

// A second instance truncates the live pid file, then hangs.

#[test]
fn a_second_instance_with_the_pid_file_is_refused() {
    let mut server = serve([]).up();
    let (code, said) = run_beside(
        &server.scratch,
        &["--pid-file=pid", "--port=127.0.0.1:0", "--", "true"],
    );
    let pid = server.pid();
    assert_eq!(
        said,
        format!("start_server: --pid-file=pid: start_server is already running as process {pid}\n")
    );
    assert_eq!(code, Some(1));
    assert_eq!(server.scratch.read("pid"), format!("{pid}\n"));
    server.stop();
}

// A second instance steals a live Unix socket; its exit unlinks the other's.

#[test]
fn a_live_unix_socket_is_not_taken() {
    let mut server = serve(["--path=socket"]).up();
    let inode = || fs::metadata(server.scratch.path("socket")).unwrap().ino();
    let before = inode();
    let (code, said) = run_beside(&server.scratch, &["--path=socket", "--", "true"]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("start_server: --path=socket: another process listens there"),
        "{said}"
    );
    assert_eq!(inode(), before);
    UnixStream::connect(server.scratch.path("socket")).unwrap();
    server.stop();
}

#[test]
fn only_our_own_files_are_removed() {
    let mut server = serve(["--path=socket"]).up();
    for name in ["socket", "pid", "status"] {
        fs::rename(
            server.scratch.path(name),
            server.scratch.path(format!("our-{name}")),
        )
        .unwrap();
    }
    let _theirs = UnixListener::bind(server.scratch.path("socket")).unwrap();
    server.scratch.write("pid", "theirs");
    server.term();
    server.end();
    assert!(server.scratch.path("socket").exists());
    assert_eq!(server.scratch.read("pid"), "theirs");
}

// `=fd` may overwrite the log, another listener or standard error.

#[test]
fn a_wanted_descriptor_takes_nobodys_place() {
    let options = [
        "--port=127.0.0.1:0=3",
        "--port=127.0.0.1:0=4",
        "--log-file=log-file",
    ];
    let mut server = serve(options).up();
    let report = server.worker(1);
    let numbers: Vec<i32> = report.ports().iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [5, 3, 4]);
    for number in numbers {
        ask(report.tcp_port(number)).unwrap();
    }
    server.stop();
    assert!(server.scratch.read("log-file").contains("exiting"));
}

// QUIT, USR1, USR2 kill the daemon and orphan the workers.

#[test]
fn quit_is_term() {
    let mut server = serve(["--signal-on-term=USR1"]).up();
    server.signal(libc::SIGQUIT);
    assert!(server.end().success());
    assert!(server
        .story()
        .contains("received QUIT, sending USR1 to all workers:A\n"));
}

#[test]
fn every_other_signal_is_survived() {
    let mut server = serve([]).up();
    let uncatchable = [libc::SIGKILL, libc::SIGSTOP];
    let stopping = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let meaning = [libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
    // Linux's C libraries keep 32 to 34 for themselves and let nobody catch them.
    for signal in (1..=64).filter(|signal| !(32..=34).contains(signal)) {
        if ![&uncatchable[..], &stopping, &meaning]
            .concat()
            .contains(&signal)
            && kernel::disposition(signal).is_some()
        {
            server.signal(signal);
        }
    }
    // Signals of a fault that somebody sends in a burst are not taken for a fault.
    for signal in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
    ] {
        (0..200).for_each(|_| server.signal(signal));
    }
    server.restart(2);
    server.stop();
    assert_eq!(
        server.log().matches("starting new worker").count(),
        2,
        "nothing else came of it"
    );
}

// --stop and --restart signal whatever process has the pid in a stale file.

#[test]
fn a_stranger_with_the_pid_of_a_stale_file_is_not_signalled() {
    let folder = Scratch::new();
    let mut stranger = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    folder.write("pid", format!("{}\n", stranger.id()));
    folder.write("status", format!("1:{}\n", stranger.id()));
    for arguments in [&["--stop", "--pid-file=pid"][..], &RESTART] {
        let (code, said) = run_beside(&folder, arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("start_server is not running"), "{said}");
    }
    stranger.stdin.take().unwrap().write_all(b"alive").unwrap();
    let echo = rest(stranger.stdout.take().unwrap());
    assert!(stranger.wait().unwrap().success());
    assert_eq!(echo, "alive");
}

// Port 70000 binds 4464: see tests/refusals.rs.

// Strangers reaped as process 1, and the log command, are logged as old workers.

#[test]
fn strangers_are_reaped_in_silence() {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "true & true & exec \"$0\" \"$@\""])
        .arg(program());
    let mut server = Setup::by(shell, USUAL).role("serve").up();
    server.hup();
    server.says("old worker ");
    server.stop();
    assert_eq!(server.log().matches("died").count(), 2, "{}", server.log());
}

#[test]
fn a_dead_log_command_is_started_again() {
    let mut server = serve(["--log-file=| echo $$ >> log-pids; exec cat >> log-file"]).start();
    let pids = |count: usize| {
        server.eventually("the log command", || {
            let pids: Vec<i32> = server
                .scratch
                .read("log-pids")
                .lines()
                .map(|pid| pid.parse().unwrap())
                .collect();
            (pids.len() == count).then_some(pids)
        })
    };
    let first = pids(1)[0];
    server.up(&[1]);
    kernel::kill(first, libc::SIGKILL);
    server.restart(2);
    pids(2);
    server.stop();
    server.eventually("the end of the log", || {
        server
            .scratch
            .read("log-file")
            .contains("exiting\n")
            .then_some(())
    });
    let log = server.scratch.read("log-file");
    assert!(
        log.contains(&format!(
            "start_server: log command {first} died, status:9, starting it again\n"
        )),
        "{log}"
    );
    assert_eq!(
        log.matches("old worker ").count(),
        1,
        "only a worker is called one: {log}"
    );
}

// A FIFO in envdir blocks for ever.

#[test]
fn a_fifo_in_envdir_is_ignored_with_a_message() {
    let setup = by_envdir("serve", []);
    kernel::make_fifo(&setup.scratch.path("envdir/FIFO"));
    let mut server = setup.start();
    server.says("start_server: ignoring envdir/FIFO: not a regular file\n");
    server.up(&[1]);
    server.restart(2);
    server.stop();
    assert_eq!(server.log().matches("FIFO").count(), 1, "it is said once");
}

// envdir can overwrite SERVER_STARTER_PORT and SERVER_STARTER_GENERATION.

#[test]
fn port_and_generation_are_always_ours() {
    let setup = by_envdir("serve", []).file("envdir/SERVER_STARTER_GENERATION", "7");
    let mut server = setup.file("envdir/SERVER_STARTER_PORT", "theirs=9").up();
    server.restart(2);
    assert_eq!(server.worker(2).ports()[0].0, "127.0.0.1:0");
    server.stop();
}

// A corrected envdir isn't read while a start keeps failing; a variable of the first start's envdir is never
// unset again; ENABLE_AUTO_RESTART appearing in envdir isn't noticed until something else happens.

#[test]
fn envdir_is_read_for_every_attempt() {
    let mut server = by_envdir("exit:1", ["--interval=1"]).start();
    server.says("seems to have failed to start");
    server.next_role("serve");
    server.eventually("a worker that is up", || {
        (!server.status().is_empty()).then_some(())
    });
    server.stop();
}

#[test]
fn a_variable_that_leaves_envdir_gets_its_inherited_value_back() {
    let setup = by_envdir("serve", []).env("INHERITED", "outer");
    let mut server = setup
        .file("envdir/INHERITED", "inner")
        .file("envdir/NEW", "inner")
        .up();
    let seen =
        |generation| ["INHERITED", "NEW"].map(|name| server.worker(generation).variable(name));
    assert_eq!(seen(1), [Some("inner".into()), Some("inner".into())]);
    for name in ["envdir/INHERITED", "envdir/NEW"] {
        fs::remove_file(server.scratch.path(name)).unwrap();
    }
    server.restart(2);
    assert_eq!(seen(2), [Some("outer".into()), None]);
    server.stop();
}

#[test]
fn auto_restart_that_appears_in_envdir_is_noticed_at_any_event() {
    let mut server = by_envdir("serve", []).up();
    server.scratch.write("envdir/AUTO_RESTART_INTERVAL", "1");
    server.scratch.write("envdir/ENABLE_AUTO_RESTART", "1");
    server.signal(libc::SIGALRM);
    server.says("autorestart triggered (interval=1)");
    server.stop();
}

// An unusable --dir, or a status file that can't be made at start, shows only after workers were forked: see
// `bad_input`.

// A dead worker stays in the status file while its successor is on probation.

#[test]
fn a_dead_worker_leaves_the_status_file_at_once() {
    let mut server = serve(["--interval=3"]).up();
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.up(&[]);
    assert!(server.scratch.path("status").exists());
    server.up(&[2]);
    server.stop();
}

// Perl sorts the status file as text: 10 before 9.

#[test]
fn the_status_file_is_ordered_by_number() {
    let mut server = by_envdir("serve", ["--interval=0"]).start();
    server.worker(1);
    for generation in 2..=10 {
        if generation == 9 {
            server.next_role("linger");
        }
        server.hup();
        server.worker(generation);
    }
    server.up(&[9, 10]);
    server.scratch.write("leave", "");
    server.up(&[10]);
    server.stop();
}

// `=fd` naming the very number the socket already has closes it.

#[test]
fn the_number_that_a_socket_has_anyway_can_be_asked_for() {
    let start = |port: &str| without_port([port]).up();
    let mut server = start("--port=127.0.0.1:0");
    let (_, number) = server.worker(1).ports().remove(0);
    server.stop();
    let mut server = start(&format!("--port=127.0.0.1:0={number}"));
    let report = server.worker(1);
    assert_eq!(report.ports(), [("127.0.0.1:0".to_string(), number)]);
    ask(report.tcp_port(number)).unwrap();
    server.stop();
}

// Blanks inside the brackets of `[ ::1 ]:80` half work.

#[test]
fn blanks_inside_brackets_are_allowed() {
    let mut server = without_port(["--port=[ ::1 ]:0"]).up();
    let (name, number) = server.worker(1).ports().remove(0);
    assert_eq!(name, "[::1]:0");
    assert!(server
        .worker(1)
        .descriptor(number)
        .unwrap()
        .starts_with("stream [::1]:"));
    server.stop();
}

// `--interval=0` with a worker that exits at once starts a thousand a second.

#[test]
fn attempts_are_at_least_10_ms_apart() {
    let begun = now();
    let mut server = Setup::new(["--interval=0", "--", "true"]).launch();
    server.says_times("starting new worker", 200);
    let attempts = server.log().matches("starting new worker").count() as u128;
    let spent = begun.elapsed().as_millis();
    // A slow machine makes fewer, never more.
    assert!(
        attempts <= spent / 10 + 1,
        "{attempts} attempts within {spent} ms"
    );
    server.stop();
}

// A stopped worker never ends on TERM.

#[test]
fn a_stopped_worker_ends() {
    let mut server = serve([]).up();
    kernel::kill(server.worker(1).pid, libc::SIGSTOP);
    server.restart(2);
    kernel::kill(server.worker(2).pid, libc::SIGSTOP);
    server.stop();
}

// A second TERM or INT during shutdown does nothing.

#[test]
fn a_further_term_or_int_is_passed_on() {
    let mut server = with_role("linger", ["--signal-on-term=USR1"]).up();
    server.term();
    let usr1 = format!("signal 1 {}", libc::SIGUSR1);
    server.notes(&usr1);
    for (signal, line, times) in [
        (libc::SIGTERM, usr1.as_str(), 2),
        // An INT is always passed on as TERM.
        (libc::SIGINT, "signal 1 15", 1),
        (libc::SIGINT, "signal 1 15", 2),
        (libc::SIGTERM, &usr1, 3),
    ] {
        server.signal(signal);
        server.eventually(line, || (noted(&server, line) == times).then_some(()));
    }
    server.scratch.write("leave", "");
    assert!(server.end().success());
}
