//! How it ended: restarts that are given up, what `--restart`, `--status` and `--daemonize` tell, workers that
//! are killed in the end, logs that are opened again.

use crate::support::fixtures::{by_envdir, RESTART, RESTART_STORY};
use crate::support::{ask, kernel, run_beside, Finished, Server, Setup};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

/// With workers that say when they are ready, so that nobody waits for an interval.
fn notifying<const N: usize>(role: &str, options: [&str; N]) -> Setup {
    by_envdir(role, ["--ready=notify"]).args(options)
}

fn restart<const N: usize>(server: &Server, options: [&str; N]) -> Setup {
    Setup::beside(&server.scratch, RESTART).args(options)
}

/// Every attempt fails.
const FAIL: &str = "exit:7";

mod giving_up {
    use super::*;

    #[test]
    fn after_so_many_failures_the_old_generation_is_current_again() {
        for failures in [1, 3] {
            let option = format!("--max-start-failures={failures}");
            let mut server = notifying("ready:serve", [&option]).up();
            server.next_role(FAIL);
            server.hup();
            let last = failures + 1;
            server.shows(&format!("1 failed:{last} given-up:{last}"));
            server.says(&format!(
                "start_server: giving up the restart after {failures} failed starts, generation 1 is still serving\n"
            ));
            server.idle();
            assert_eq!(server.started().len() as u64, last);
            let first = server.worker(1);
            assert_eq!(ask(first.port()).unwrap(), (1, first.pid));
            assert!(!server.is_told(1));
            // It is current, so it is replaced when it dies.
            server.next_role("ready:serve");
            kernel::kill(first.pid, libc::SIGKILL);
            server.shows(&(last + 1).to_string());
            let died = "worker A died unexpectedly with status:9, restarting\n";
            assert!(server.story().contains(died), "{}", server.story());
            server.stop();
        }
    }

    #[test]
    fn the_next_hup_tries_anew() {
        let mut server = notifying("ready:serve", ["--max-start-failures=2"]).up();
        server.next_role(FAIL);
        for last in [3, 5, 7] {
            server.hup();
            server.shows(&format!("1 failed:{last} given-up:{last}"));
            // It is said after the file is written.
            server.idle();
        }
        // While it tries it has not given up.
        server.next_role("fail");
        server.hup();
        server.worker(8);
        server.shows("1 failed:7");
        server.next_role("ready:serve");
        server.scratch.write("fail", "");
        server.shows("9");
        assert!(server.is_told(1));
        server.stop();
    }

    #[test]
    fn the_failures_of_one_restart_are_not_those_of_the_next() {
        let mut server = notifying("ready:serve", ["--max-start-failures=2"]).up();
        for generation in [1, 3, 5] {
            server.next_role("fail");
            server.hup();
            server.worker(generation + 1);
            server.next_role("ready:serve");
            server.scratch.write("fail", "");
            server.shows(&(generation + 2).to_string());
            fs::remove_file(server.scratch.path("fail")).unwrap();
        }
        server.stop();
        assert!(!server.log().contains("giving up"), "{}", server.log());
    }

    #[test]
    fn a_success_removes_the_line() {
        // A failure is told of with either option, whatever becomes of the restart.
        for (options, first, next) in [
            (
                ["--max-start-failures=100", "--ready=interval"],
                "serve",
                "serve",
            ),
            (
                ["--max-start-failures=0", "--ready=fd=9"],
                "ready:serve",
                "ready:serve",
            ),
        ] {
            let mut server = notifying(first, options).args(["--interval=1"]).up();
            server.next_role("fail");
            server.hup();
            server.worker(2);
            // The attempt after this one cannot but succeed.
            server.next_role(next);
            server.scratch.write("fail", "");
            server.shows("1 failed:2");
            server.shows("3");
            server.stop();
        }
    }

    #[test]
    fn without_these_options_the_status_file_never_tells_of_failures() {
        let options = ["--ready=interval", "--interval=1"];
        let mut server = notifying("serve", options).up();
        let before = server.scratch.read("status");
        server.next_role(FAIL);
        server.hup();
        for failures in 1..=2 {
            server.says_times("seems to have failed to start", failures);
            assert_eq!(server.scratch.read("status"), before);
        }
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.says("old worker ");
        server.says_times("seems to have failed to start", 4);
        server.shows("");
        server.stop();
    }

    /// What a start_server leaves that has given up.
    fn assert_over(mut server: Server, failures: u32) {
        let ended = server.end();
        let log = server.log();
        assert_eq!(ended.code(), Some(1), "{log}");
        let line = format!(
            "start_server: giving up after {failures} failed starts, no worker is left to serve\n"
        );
        assert!(log.contains(&line), "{log}");
        assert!(log.ends_with("exiting\n"), "{log}");
        for name in ["pid", "status", "socket"] {
            assert!(!server.scratch.path(name).exists(), "{name}");
        }
    }

    #[test]
    fn without_an_old_generation_it_is_all_over_with_status_1() {
        for options in [
            ["--max-start-failures=1", "--interval=1", "--ready=interval"],
            ["--max-start-failures=3", "--interval=1", "--ready=interval"],
            ["--max-start-failures=3", "--interval=0", "--ready=notify"],
            ["--max-start-failures=3", "--interval=0", "--ready=fd=9"],
        ] {
            let server = notifying(FAIL, options).args(["--path=socket"]).start();
            assert_over(server, if options[0].ends_with('1') { 1 } else { 3 });
        }
    }

    #[test]
    fn a_program_that_is_not_there_ends_it_too() {
        let setup = notifying("", ["--max-start-failures=2", "--path=socket"]);
        let server = setup.args(["--", "/nowhere/at/all"]).launch();
        server.says_times("cannot execute /nowhere/at/all: No such file", 2);
        assert_over(server, 2);
    }

    #[test]
    fn when_nobody_replaces_the_only_worker_it_is_all_over() {
        let server = notifying("ready:serve", ["--max-start-failures=2", "--path=socket"]).up();
        server.next_role(FAIL);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        assert_over(server, 2);
    }

    #[test]
    fn one_that_was_told_to_finish_is_no_heir_but_may_finish() {
        let server = notifying("ready:linger", ["--max-start-failures=2", "--path=socket"]).up();
        server.hup();
        server.notes("signal 1 15");
        server.up(&[1, 2]);
        server.next_role(FAIL);
        kernel::kill(server.worker(2).pid, libc::SIGKILL);
        server.says("no worker is left to serve");
        // The socket is still his.
        assert!(server.scratch.path("socket").exists());
        server.scratch.write("leave", "");
        assert_over(server, 2);
    }
}

mod restarts {
    use super::*;

    /// Launches `--restart` and waits until its HUP was obeyed, which the log file tells that is opened then.
    fn launch(server: &Server) -> Server {
        fs::rename(server.scratch.path("out"), server.scratch.path("out.old")).unwrap();
        let command = restart(server, []).launch();
        let obeyed = || server.scratch.path("out").exists().then_some(());
        server.eventually("the log file", obeyed);
        command
    }

    fn assert_ends(mut command: Server, status: i32, said: &str) {
        let ended = command.end();
        assert_eq!(ended.code(), Some(status), "{}", command.log());
        assert_eq!(command.log(), said);
    }

    #[test]
    fn it_tells_how_it_goes() {
        let mut server = notifying("ready:linger", ["--ready=notify"]).up();
        server.next_role("fail");
        let command = restart(&server, []).launch();
        server.worker(2);
        server.next_role("talk:linger");
        server.scratch.write("fail", "");
        command.says("generation 2 failed to start, trying again\n");
        let pid = server.worker(3).pid;
        server.has_said(3, "READY=1");
        command.says(&format!(
            "generation 3 (pid {pid}) is up, waiting for 1 old worker\n"
        ));
        server.scratch.write("leave", "");
        let said = format!(
            "\
generation 2 failed to start, trying again
generation 3 (pid {pid}) is up, waiting for 1 old worker
generation 3 (pid {pid}) is up
"
        );
        assert_ends(command, 0, &said);
        server.stop();
    }

    #[test]
    fn it_counts_the_old_workers() {
        let mut server = notifying("ready:linger", []).up();
        server.hup();
        server.up(&[1, 2]);
        server.notes("signal 1 15");
        server.worker(2);
        let command = restart(&server, []).launch();
        let pid = server.worker(3).pid;
        let up = format!("generation 3 (pid {pid}) is up");
        command.says(&format!("{up}, waiting for 2 old workers\n"));
        server.scratch.write("leave", "");
        let said = format!("{up}, waiting for 2 old workers\n{up}\n");
        let mut command = command;
        assert!(command.end().success());
        // It need not see them go one by one.
        let log = command.log();
        let log = log.replace(&format!("{up}, waiting for 1 old worker\n"), "");
        assert_eq!(log, said);
        server.stop();
    }

    /// What has been shown on a terminal, as soon as it ends with this.
    fn shown(user: &OwnedFd, end: &str) -> String {
        let mut shown = Vec::new();
        let mut file = File::from(user.try_clone().unwrap());
        let text = |shown: &[u8]| String::from_utf8_lossy(shown).into_owned();
        for _ in 0..100 {
            if text(&shown).ends_with(end) {
                break;
            }
            if kernel::readable(&[user.as_raw_fd()]).is_some() {
                let mut bytes = [0; 4096];
                let count = file.read(&mut bytes).unwrap();
                shown.extend_from_slice(&bytes[..count]);
            }
        }
        text(&shown)
    }

    #[test]
    fn on_a_terminal_it_is_one_line_that_is_redrawn() {
        let server = notifying("ready:linger", []).up();
        let (user, program) = kernel::terminal();
        let number = program.as_raw_fd();
        let on_terminal =
            |command: &mut _| kernel::on_fork(command, move || kernel::duplicate(number, 2));
        let mut command = restart(&server, []).with(on_terminal).launch();
        let up = format!("generation 2 (pid {}) is up", server.worker(2).pid);
        let first = format!("\r{up}, waiting for 1 old worker\x1b[K");
        assert_eq!(shown(&user, &first), first);
        server.scratch.write("leave", "");
        assert!(command.end().success());
        // The terminal itself adds the return to the newline.
        let last = format!("\r{up}\x1b[K\r\n");
        assert_eq!(shown(&user, &last), last);
    }

    #[test]
    fn a_restart_that_is_given_up_is_status_3() {
        let mut server = notifying("ready:serve", ["--max-start-failures=1"]).up();
        for failed in 2..=4 {
            // What failed before is not news.
            server.next_role(FAIL);
            let ended = restart(&server, []).finish();
            assert_eq!(ended.status.code(), Some(3), "{}", ended.said);
            let expected = format!(
                "start_server: generation {failed} failed to start, the restart was given up, generation 1 is still serving\n"
            );
            assert_eq!(ended.said, expected);
            assert_eq!(
                server.outline(),
                format!("1 failed:{failed} given-up:{failed}")
            );
        }
        server.next_role("ready:serve");
        let ended = restart(&server, []).finish();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        server.shows("5");
        server.worker(5);
        server.stop();
    }

    #[test]
    fn a_restart_that_takes_too_long_is_status_2_and_goes_on() {
        let mut server = notifying("ready:serve", ["--ready=notify"]).up();
        server.next_role("talk:serve");
        let ended = restart(&server, ["--timeout=1"]).finish();
        assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
        assert_eq!(
            ended.said,
            "start_server: the restart is not complete yet\n"
        );
        server.has_said(2, "READY=1");
        server.shows("2");
        server.stop();
    }

    #[test]
    fn a_stop_that_takes_too_long_is_status_2_and_goes_on() {
        let mut server = notifying("ready:linger", []).up();
        let options = ["--stop", "--pid-file=pid", "--timeout=1"];
        let ended = Setup::beside(&server.scratch, options).finish();
        assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
        let expected = format!("start_server: process {} has not ended yet\n", server.pid());
        assert!(ended.said.ends_with(&expected), "{}", ended.said);
        server.scratch.write("leave", "");
        assert!(server.end().success());
    }

    #[test]
    fn a_timeout_of_0_is_none() {
        let server = notifying("ready:linger", []).up();
        let options = ["--stop", "--pid-file=pid", "--timeout=0"];
        let mut command = Setup::beside(&server.scratch, options).launch();
        server.notes("signal 1 15");
        assert!(Setup::new(["--version"]).finish().status.success());
        assert!(!command.has_ended(), "{}", command.log());
        server.scratch.write("leave", "");
        assert!(command.end().success());
    }

    #[test]
    fn a_start_server_that_ends_meanwhile_or_does_not_run_is_status_1() {
        let mut server = notifying("ready:serve", ["--ready=notify"]).up();
        server.next_role("talk:serve");
        let command = restart(&server, []).launch();
        server.worker(2);
        server.stop();
        let said = format!(
            "start_server: process {} ended before the restart was complete\n",
            server.pid()
        );
        assert_ends(command, 1, &said);
        for text in [None, Some("1\n")] {
            if let Some(text) = text {
                server.scratch.write("pid", text);
                server.scratch.write("status", "1:1\n");
            }
            let ended = restart(&server, []).finish();
            assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
            assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
        }
    }

    #[test]
    fn two_at_once_both_succeed() {
        let setup = notifying("ready:serve", ["--ready=notify", "--log-file=out"]);
        let mut server = setup.up();
        server.next_role("talk:serve");
        let mut commands = [launch(&server), launch(&server)];
        server.has_said(2, "READY=1");
        server.worker(3);
        server.has_said(3, "READY=1");
        server.shows("3");
        for command in &mut commands {
            assert_eq!(command.end().code(), Some(0), "{}", command.log());
        }
        server.stop();
    }

    #[test]
    fn two_at_once_of_which_one_fails_both_succeed() {
        let setup = notifying("ready:serve", ["--max-start-failures=1", "--log-file=out"]);
        let mut server = setup.up();
        server.next_role("fail");
        let mut commands = [launch(&server), launch(&server)];
        server.worker(2);
        server.next_role("ready:serve");
        server.scratch.write("fail", "");
        for command in &mut commands {
            assert_eq!(command.end().code(), Some(0), "{}", command.log());
        }
        server.shows("3");
        server.worker(3);
        server.stop();
    }

    #[test]
    fn two_at_once_are_both_given_up() {
        let setup = notifying("ready:serve", ["--max-start-failures=1", "--log-file=out"]);
        let mut server = setup.up();
        server.next_role("fail");
        let mut commands = [launch(&server), launch(&server)];
        server.scratch.write("fail", "");
        for command in &mut commands {
            assert_eq!(command.end().code(), Some(3), "{}", command.log());
            let said =
                "generation 3 failed to start, the restart was given up, generation 1 is still serving\n";
            assert!(command.log().ends_with(said), "{}", command.log());
        }
        server.shows("1 failed:3 given-up:3");
        server.stop();
    }
}

mod status {
    use super::*;

    fn ask_for_status<const N: usize>(server: &Server, options: [&str; N]) -> Finished {
        Setup::beside(&server.scratch, ["--status"])
            .args(options)
            .finish()
    }

    /// What a running one says, with the date and ages taken out of it.
    fn told(server: &Server) -> String {
        let ended = ask_for_status(server, ["--pid-file=pid", "--status-file=status"]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        assert_eq!(ended.said, "");
        let cut = |line: &str| {
            let short = line.split_once(" since ").or(line.split_once(" for "));
            let (short, time) = short.unwrap_or((line, "1"));
            assert!(time.contains(|c: char| c.is_ascii_digit()), "{line}");
            format!("{short}\n")
        };
        ended.printed.lines().map(cut).collect()
    }

    #[test]
    fn it_tells_of_the_start_server_and_each_worker() {
        let mut server = notifying("ready:linger", ["--max-start-failures=2"]).up();
        let first = server.worker(1).pid;
        let head = format!("start_server (pid {}) is running\n", server.pid());
        let expected =
            format!("{head}generation 1 serves\nworker {first}: generation 1, current, up\n");
        assert_eq!(told(&server), expected);
        server.hup();
        server.up(&[1, 2]);
        server.notes("signal 1 15");
        let second = server.worker(2).pid;
        let both = format!(
            "\
worker {first}: generation 1, old, up
worker {second}: generation 2, current, up
"
        );
        assert_eq!(told(&server), format!("{head}generation 2 serves\n{both}"));
        server.next_role(FAIL);
        server.hup();
        server.shows("1 2 failed:4 given-up:4");
        let expected =
            format!("{head}generation 2 serves\ngeneration 4 failed to start, given up\n{both}");
        assert_eq!(told(&server), expected);
        server.next_role("fail");
        server.hup();
        server.shows("1 2 failed:4");
        let expected = format!(
            "{head}generation 2 serves\ngeneration 4 failed to start, trying again\n{both}"
        );
        assert_eq!(told(&server), expected);
        server.scratch.write("leave", "");
        server.scratch.write("fail", "");
        server.stop();
    }

    #[test]
    fn without_a_status_file_it_tells_of_the_start_server() {
        let mut server = notifying("ready:serve", []).up();
        let ended = ask_for_status(&server, ["--pid-file=pid"]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        let expected = format!("start_server (pid {}) is running since ", server.pid());
        assert!(ended.printed.starts_with(&expected), "{}", ended.printed);
        assert_eq!(ended.printed.lines().count(), 1);
        server.stop();
    }

    #[test]
    fn one_without_a_worker_runs_all_the_same() {
        let setup = notifying("talk:serve", ["--ready=notify"]);
        let mut server = setup.start();
        server.worker(1);
        let ended = ask_for_status(&server, ["--pid-file=pid", "--status-file=status"]);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        let second = ended.printed.lines().nth(1);
        let expected = "no worker is up yet: --status-file=status: No such file or directory";
        assert_eq!(second, Some(expected), "{}", ended.printed);
        server.stop();
    }

    #[test]
    fn it_is_3_when_nothing_runs_and_1_when_the_files_do_not_tell() {
        let server = notifying("ready:serve", []).up();
        fs::create_dir(server.scratch.path("folder")).unwrap();
        server.scratch.write("stale", "1\n");
        server.scratch.write("odd", "one\n");
        let table: [(&[&str], i32); 7] = [
            (&["--pid-file=nowhere"], 3),
            (&["--pid-file=stale"], 3),
            (&["--pid-file=stale", "--status-file=status"], 3),
            (&["--pid-file=odd"], 1),
            (&["--pid-file=folder"], 1),
            (&["--pid-file=pid", "--status-file=folder"], 1),
            (&["--status-file=status"], 1),
        ];
        for (options, status) in table {
            let arguments = [&["--status"], options].concat();
            let (code, said) = run_beside(&server.scratch, &arguments);
            assert_eq!(code, Some(status), "{options:?} {said}");
            assert_eq!(said.lines().count(), 1, "{options:?} {said}");
            assert!(said.starts_with("start_server: --"), "{options:?} {said}");
        }
    }

    #[test]
    fn a_killed_one_does_not_run() {
        let mut server = notifying("ready:serve", []).up();
        server.signal(libc::SIGKILL);
        server.end();
        let ended = ask_for_status(&server, ["--pid-file=pid", "--status-file=status"]);
        assert_eq!(ended.status.code(), Some(3), "{}", ended.said);
        assert_eq!(ended.printed, "");
    }

    #[test]
    fn with_a_value_it_is_perls_abbreviation_of_status_file() {
        for options in [
            &["--status", "file"][..],
            &["--status=file"],
            &["-stat", "file"],
        ] {
            let mut server = Setup::new(options).role("serve").start();
            server.eventually("the status file", || {
                server.scratch.read("file").starts_with("1:").then_some(())
            });
            server.stop();
        }
    }
}

mod daemonize {
    use super::*;

    /// A start_server in the background. It is killed in the end, and its worker then ends by itself.
    struct Daemon(Finished);

    impl Daemon {
        fn pid(&self) -> Option<i32> {
            let scratch = &self.0.server.scratch;
            let file = File::open(scratch.path("pid")).ok()?;
            // While the file is locked the number in it is that of its process, and nobody else's.
            let is_locked = kernel::is_locked(&file);
            is_locked.then(|| scratch.read("pid").trim_end().parse().unwrap())
        }
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            if let Some(pid) = self.pid() {
                kernel::kill_if_there(pid, libc::SIGKILL);
            }
        }
    }

    #[test]
    fn it_returns_when_the_pid_file_is_written_and_the_sockets_are_bound() {
        let port = crate::support::free_port();
        let options = ["--daemonize", "--log-file=out", "--path=socket"];
        let worker = std::env::current_exe().unwrap();
        let setup = notifying("ready:serve", options)
            .args([format!("--port=127.0.0.1:{port}")])
            .args(["--".as_ref(), worker.as_os_str()])
            .args(crate::support::worker::ARGUMENTS);
        let daemon = Daemon(setup.finish());
        assert_eq!(daemon.0.status.code(), Some(0), "{}", daemon.0.said);
        // Now, and not eventually.
        let pid = daemon.pid().unwrap();
        let server = &daemon.0.server;
        assert_ne!(pid, server.pid());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(server.scratch.path("socket").exists());
        let stop = Setup::beside(&server.scratch, ["--stop", "--pid-file=pid"]);
        assert!(stop.finish().status.success());
    }

    #[test]
    fn a_start_that_fails_is_printed_and_its_status_is_the_callers() {
        let other = notifying("ready:serve", []).up();
        let port = format!("--port=127.0.0.1:{}", other.worker(1).port());
        let held = format!("--pid-file={}", other.scratch.path("pid").display());
        let table: [(&[&str], &str); 8] = [
            (&[&port], "Address already in use"),
            (&[&held], "start_server is already running as process"),
            (&["--dir=nowhere"], "--dir=nowhere: No such file"),
            (&["--path=nowhere/socket"], "--path=nowhere/socket: "),
            (&["--pid-file=nowhere/pid"], "--pid-file=nowhere/pid: "),
            (&["--status-file=nowhere/x"], "--status-file=nowhere/x: "),
            (&["--log-file=nowhere/out"], "--log-file=nowhere/out: "),
            (&["--ready=fd=99999999"], "--ready=fd=99999999: "),
        ];
        for (options, reason) in table {
            let usual = ["--daemonize", "--log-file=out", "--pid-file=pid"];
            let ended = Setup::new(usual).args(options).args(["true"]).finish();
            assert_eq!(ended.status.code(), Some(1), "{options:?}");
            assert!(ended.said.contains(reason), "{options:?}: {}", ended.said);
            assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
            let names = ended.server.scratch.names();
            assert!(!names.contains(&"pid".to_string()), "{options:?}");
        }
    }
}

mod deadlines {
    use super::*;

    /// The line that tells of a kill.
    fn killing(server: &Server, generation: u64) -> String {
        let pid = server.worker(generation).pid;
        format!("start_server: worker {pid} has not ended within --kill-timeout, killing it\n")
    }

    #[test]
    fn who_does_not_finish_in_time_is_killed_after_a_restart_and_at_the_end() {
        let mut server = notifying("ready:stubborn", ["--kill-timeout=1"]).up();
        server.hup();
        server.worker(2);
        server.shows("2");
        server.notes("signal 1 15");
        server.term();
        assert!(server.end().success());
        server.notes("signal 2 15");
        let killed = |worker| {
            format!(
                "start_server: worker {worker} has not ended within --kill-timeout, killing it\n"
            )
        };
        let expected = RESTART_STORY
            .replace(
                "old worker A died, status:0",
                &(killed('A') + "old worker A died, status:9"),
            )
            .replace(
                "\nworker B died, status:0",
                &format!("\n{}worker B died, status:9", killed('B')),
            );
        assert_eq!(server.story(), expected);
    }

    #[test]
    fn old_and_new_ones_are_killed_at_the_end() {
        let mut server = notifying("ready:stubborn", []).up();
        server.hup();
        server.worker(2);
        server.notes("signal 1 15");
        server.change("KILL_TIMEOUT", "1");
        server.term();
        assert!(server.end().success());
        for generation in [1, 2] {
            assert!(server.log().contains(&killing(&server, generation)));
        }
    }

    #[test]
    fn the_variable_is_as_good_as_the_option_and_envdir_wins_over_both() {
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
        const HOURS: &str = "10000";
        let table: [Case; 4] = [
            (&[], &[("KILL_TIMEOUT", "1")], None),
            (&["--kill-timeout=1"], &[("KILL_TIMEOUT", HOURS)], None),
            (&[], &[], Some("1")),
            (
                &["--kill-timeout=10000"],
                &[("KILL_TIMEOUT", HOURS)],
                Some("1"),
            ),
        ];
        for (options, variables, envdir) in table {
            let mut setup = notifying("ready:stubborn", []).args(options);
            for (name, value) in variables {
                setup = setup.env(name, value);
            }
            if let Some(value) = envdir {
                setup = setup.file("envdir/KILL_TIMEOUT", value);
            }
            let mut server = setup.up();
            server.term();
            assert!(server.end().success(), "{options:?}");
            assert!(server.log().contains(&killing(&server, 1)), "{options:?}");
        }
    }

    #[test]
    fn a_change_in_envdir_holds_for_workers_that_were_told_before() {
        for (option, before) in [
            ("--kill-timeout=0", None),
            ("--kill-timeout=1", Some("10000")),
        ] {
            let mut setup = notifying("ready:stubborn", [option]);
            if let Some(value) = before {
                setup = setup.file("envdir/KILL_TIMEOUT", value);
            }
            let server = setup.up();
            server.hup();
            server.notes("signal 1 15");
            server.up(&[1, 2]);
            server.change("KILL_TIMEOUT", "1");
            // Any news has it looked at.
            server.signal(libc::SIGALRM);
            server.says(&killing(&server, 1));
            server.shows("2");
        }
    }

    #[test]
    fn with_0_nobody_is_killed() {
        let server = notifying("ready:stubborn", ["--kill-timeout=0"])
            .env("KILL_TIMEOUT", "1")
            .up();
        server.hup();
        server.notes("signal 1 15");
        server.up(&[1, 2]);
        // Its first worker is told later than that, and killed.
        let other = notifying("ready:stubborn", ["--kill-timeout=1"]).up();
        other.hup();
        other.says(&killing(&other, 1));
        other.shows("2");
        assert!(kernel::exists(server.worker(1).pid));
        assert_eq!(server.outline(), "1 2");
        assert!(!server.log().contains("killing it"), "{}", server.log());
    }

    #[test]
    fn who_finishes_in_time_is_not_killed() {
        let mut server = notifying("ready:linger", ["--kill-timeout=10000"]).up();
        server.hup();
        server.notes("signal 1 15");
        server.worker(2);
        server.scratch.write("leave", "");
        server.shows("2");
        server.stop();
        assert!(!server.log().contains("killing it"), "{}", server.log());
        assert!(server.log().contains("died, status:0"), "{}", server.log());
    }
}

mod log_file {
    use super::*;

    /// A shell that says its generation, on both streams, when the file `speak.GENERATION` is there.
    const SPEAKER: &str = "cd \"$WORKER_DIR\"
G=$SERVER_STARTER_GENERATION
echo \"began $G $$\" >>notes
while test -f notes; do
    if test -f speak.$G; then
        echo \"output of $G\"
        echo \"error of $G\" >&2
        rm speak.$G
    fi
    sleep 0.05
done";

    fn speakers(log_file: &str) -> Server {
        let setup = notifying("", ["--ready=interval", log_file]).args(["--", "sh", "-c", SPEAKER]);
        let server = setup.file("notes", "").launch();
        begun(&server, 1);
        server
    }

    /// With the file `out` as log, which has the first lines.
    fn speakers_into_file() -> Server {
        let server = speakers("--log-file=out");
        server.file_has("out", "starting new worker");
        server
    }

    fn begun(server: &Server, generation: u64) {
        server.eventually(&format!("worker {generation}"), || {
            let mut begun = server.started().into_iter();
            begun.find(|(found, _)| *found == generation).map(drop)
        });
    }

    /// Has a worker say something, and tells whether it is in that file.
    fn speaks_into(server: &Server, generation: u64, file: &str) -> bool {
        let name = format!("speak.{generation}");
        let before = server.scratch.read(file).len();
        server.scratch.write(&name, "");
        server.eventually(&name, || {
            (!server.scratch.path(&name).exists()).then_some(())
        });
        let said = format!("output of {generation}\nerror of {generation}\n");
        server.scratch.read(file)[before..].contains(&said)
    }

    fn rename(server: &Server, from: &str, to: &str) {
        fs::rename(server.scratch.path(from), server.scratch.path(to)).unwrap();
    }

    #[test]
    fn after_a_rename_usr1_opens_it_anew_and_running_workers_keep_theirs() {
        let mut server = speakers_into_file();
        assert!(speaks_into(&server, 1, "out"));
        rename(&server, "out", "out.1");
        // Until then it is the renamed one.
        assert!(speaks_into(&server, 1, "out.1"));
        assert!(!server.scratch.path("out").exists());
        server.signal(libc::SIGUSR1);
        server.eventually("the new file", || {
            server.scratch.path("out").exists().then_some(())
        });
        let old = server.scratch.read("out.1");
        kernel::kill(server.started()[0].1, libc::SIGKILL);
        begun(&server, 2);
        server.file_has("out", "died unexpectedly with status:9");
        server.file_has("out", "starting new worker");
        assert!(speaks_into(&server, 2, "out"));
        assert_eq!(server.scratch.read("out.1"), old);
        server.stop();
        assert!(server.scratch.read("out").ends_with("exiting\n"));
    }

    #[test]
    fn a_running_worker_keeps_the_old_file_after_usr1() {
        let server = speakers_into_file();
        rename(&server, "out", "out.1");
        server.signal(libc::SIGUSR1);
        server.eventually("the new file", || {
            server.scratch.path("out").exists().then_some(())
        });
        assert!(speaks_into(&server, 1, "out.1"));
        assert_eq!(server.scratch.read("out"), "");
    }

    #[test]
    fn hup_opens_it_anew_before_the_next_generation() {
        let mut server = speakers_into_file();
        rename(&server, "out", "out.1");
        let old = server.scratch.read("out.1");
        server.hup();
        begun(&server, 2);
        server.file_has("out", "old worker");
        let text = server.scratch.read("out");
        assert!(text.starts_with("received HUP, spawning"), "{text}");
        assert!(speaks_into(&server, 2, "out"));
        assert_eq!(server.scratch.read("out.1"), old);
        server.stop();
    }

    #[test]
    fn where_nothing_was_renamed_it_is_the_same_file() {
        let mut server = speakers_into_file();
        server.signal(libc::SIGUSR1);
        server.idle();
        server.hup();
        begun(&server, 2);
        assert!(speaks_into(&server, 2, "out"));
        server.stop();
        let text = server.scratch.read("out");
        assert!(text.starts_with("starting new worker"), "{text}");
        assert!(text.ends_with("exiting\n"), "{text}");
    }

    #[test]
    fn when_it_cannot_be_opened_that_is_said_and_the_old_one_goes_on() {
        let setup = notifying("", ["--ready=interval", "--log-file=logs/out"])
            .args(["--", "sh", "-c", SPEAKER]);
        let mut server = setup.file("notes", "").file("logs/out", "").launch();
        begun(&server, 1);
        rename(&server, "logs", "away");
        let complaint =
            "start_server: cannot reopen --log-file=logs/out: No such file or directory\n";
        server.signal(libc::SIGUSR1);
        server.file_has("away/out", complaint);
        server.hup();
        begun(&server, 2);
        assert!(speaks_into(&server, 2, "away/out"));
        fs::create_dir(server.scratch.path("logs")).unwrap();
        server.signal(libc::SIGUSR1);
        server.eventually("the new file", || {
            server.scratch.path("logs/out").exists().then_some(())
        });
        server.stop();
        let text = server.scratch.read("logs/out");
        assert!(text.starts_with("received TERM"), "{text}");
    }

    #[test]
    fn usr1_does_nothing_to_a_log_command_and_without_a_log() {
        for (option, file) in [("--log-file=| cat >> out", "out"), ("--dir=.", "log")] {
            let mut server = speakers(option);
            server.file_has(file, "starting new worker");
            server.signal(libc::SIGUSR1);
            server.idle();
            server.stop();
            server.file_has(file, "exiting\n");
            let text = server.scratch.read(file);
            assert!(!text.contains("start_server: "), "{option} {text}");
        }
    }
}

mod path_mode {
    use super::*;

    #[test]
    fn it_is_the_mode_of_all_socket_files_whatever_the_umask() {
        let table: [(&[&str], u32); 6] = [
            (&[], 0o777),
            (&["--path-mode=0600"], 0o600),
            (&["--path-mode=660"], 0o660),
            (&["--path-mode=0"], 0),
            (&["--path-mode=0777"], 0o777),
            (&["--path-mode=0600", "--path-mode=00640"], 0o640),
        ];
        for (options, mode) in table {
            for umask in [0o000, 0o022, 0o177] {
                let mut server = notifying("ready:serve", ["--path=a", "--path=b"])
                    .args(options)
                    .with(|command| kernel::on_fork(command, move || kernel::set_umask(umask)))
                    .start();
                server.worker(1);
                for name in ["a", "b"] {
                    let metadata = fs::metadata(server.scratch.path(name)).unwrap();
                    let found = metadata.permissions().mode() & 0o7777;
                    assert_eq!(found, mode, "{options:?} {umask:o}: {found:o}");
                }
                server.stop();
            }
        }
    }

    #[test]
    fn what_is_no_octal_mode_is_refused_and_nothing_is_bound() {
        for value in [
            "8", "0o600", "-1", "+1", "1777", "10000", "u=rw", "6 0", "07_7", "٧",
        ] {
            let option = format!("--path-mode={value}");
            let ended = Setup::new(["--path=socket", &option, "true"]).finish();
            assert_eq!(ended.status.code(), Some(1), "{value}");
            let expected = format!("start_server: {option}: not an octal mode from 0 to 0777\n");
            assert_eq!(ended.said, expected);
            assert!(!ended.server.scratch.path("socket").exists(), "{value}");
        }
    }
}
