//! The files that start_server keeps and reads: pid file, status file, log, envdir; and `--daemonize`.

use crate::support::fixtures::{serve, without_port};
use crate::support::{ask, ask_path, kernel, Daemon, Server, Setup};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};

/// Restarts, and waits until the worker of this generation has begun.
fn restart(server: &Server, generation: u64) {
    server.hup();
    server.worker(generation);
}

mod pid_file {
    use super::*;

    #[test]
    fn it_has_the_pid_on_a_line_and_is_locked_until_it_is_removed_at_the_end() {
        let mut server = serve(["--pid-file=pid"]).start();
        server.worker(1);
        assert_eq!(server.scratch.read("pid"), format!("{}\n", server.pid()));
        let file = File::open(server.scratch.path("pid")).unwrap();
        assert!(kernel::is_locked(&file));
        server.stop();
        assert!(!kernel::is_locked(&file));
        assert!(!server.scratch.path("pid").exists());
    }

    #[test]
    fn one_that_a_killed_process_left_is_taken_over() {
        let mut server = serve(["--pid-file=pid"])
            .file("pid", "1234567890\n\n\n")
            .start();
        server.worker(1);
        assert_eq!(server.scratch.read("pid"), format!("{}\n", server.pid()));
        server.stop();
        assert!(!server.scratch.path("pid").exists());
    }

    #[test]
    fn a_worker_that_stays_has_no_part_in_the_lock() {
        let mut server = serve(["--pid-file=pid"]).role("stubborn").start();
        let worker = server.worker(1).pid;
        let file = File::open(server.scratch.path("pid")).unwrap();
        server.signal(libc::SIGKILL);
        server.end();
        // The worker may end at any time now that it is an orphan; it was there when the lock was let go.
        assert!(!kernel::is_locked(&file), "worker {worker} holds it");
    }
}

mod status_file {
    use super::*;

    #[test]
    fn it_tells_of_every_worker_that_is_up_oldest_first() {
        let mut server = serve(["--status-file=status"]).role("linger").start();
        let mut expected = Vec::new();
        for generation in 1..=3 {
            expected.push((generation, server.worker(generation).pid));
            server.eventually("the workers in the status file", || {
                (server.status() == expected).then_some(())
            });
            if generation < 3 {
                server.hup();
            }
        }
        server.scratch.write("leave", "");
        server.eventually("the newest alone", || {
            (server.status() == expected[2..]).then_some(())
        });
        server.stop();
        assert!(!server.scratch.path("status").exists());
    }

    #[test]
    fn it_has_a_line_for_each_worker() {
        let server = serve(["--status-file=status"]).role("linger").start();
        let old = server.worker(1).pid;
        restart(&server, 2);
        let new = server.worker(2).pid;
        let expected = format!("1:{old}\n2:{new}\n");
        server.eventually("the lines", || {
            (server.scratch.read("status") == expected).then_some(())
        });
    }

    #[test]
    fn a_reader_finds_it_whole_at_any_time() {
        let server = serve(["--status-file=status"]).up();
        let look = || {
            let text = fs::read_to_string(server.scratch.path("status")).unwrap();
            let whole = text.lines().all(|line| line.split(':').count() == 2);
            assert!(whole && text.ends_with('\n'), "{text:?}");
        };
        for generation in 2..=6 {
            server.hup();
            server.eventually(&format!("generation {generation} alone"), || {
                (0..300).for_each(|_| look());
                let status = server.status();
                (status.len() == 1 && status[0].0 == generation).then_some(())
            });
            server.worker(generation);
        }
    }

    #[test]
    fn it_is_replaced_by_another_file() {
        let mut server = serve(["--status-file=status"]).up();
        let path = server.scratch.path("status");
        // While it is open nothing else can have its inode.
        let first = File::open(&path).unwrap();
        restart(&server, 2);
        server.up(&[2]);
        let inode = |file: &File| file.metadata().unwrap().ino();
        assert_ne!(inode(&first), inode(&File::open(&path).unwrap()));
        server.stop();
        let mut left = server.scratch.names().into_iter();
        assert_eq!(left.find(|name| name.starts_with("status")), None);
    }
}

mod log_file {
    use super::*;

    const TALK: &str = "echo from stdout; echo from stderr >&2";

    #[test]
    fn it_gets_our_lines_but_the_first_and_what_workers_write() {
        let mut server = serve(["--log-file=out"])
            .worker_after(TALK)
            .file("out", "from before\n")
            .launch();
        let worker = server.worker(1).pid;
        server.eventually("the first line", || {
            let first = format!("start_server (pid:{}) starting now...\n", server.pid());
            (server.log() == first).then_some(())
        });
        server.stop();
        let text = server.scratch.read("out");
        assert!(text.starts_with("from before\n"), "{text}");
        for line in [
            &format!("starting new worker {worker}"),
            "from stdout",
            "from stderr",
            &format!("received TERM, sending TERM to all workers:{worker}"),
            &format!("worker {worker} died, status:0"),
            "exiting",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("starting now"), "{text}");
        assert_eq!(server.scratch.read("output"), "");
    }

    #[test]
    fn it_is_appended_to_even_after_another_program_has_emptied_it() {
        let mut server = serve(["--log-file=out"]).worker_after(TALK).launch();
        let worker = server.worker(1).pid;
        let starting = format!("starting new worker {worker}\n");
        server.eventually(&starting, || {
            server.scratch.read("out").contains(&starting).then_some(())
        });
        server.scratch.write("out", "");
        server.stop();
        let text = server.scratch.read("out");
        assert!(text.starts_with("received TERM"), "{text:?}");
    }

    #[test]
    fn a_command_gets_it_on_standard_input() {
        for option in [
            "--log-file=|sed 's/^/> /' >out",
            "--log-file= \t| \t sed 's/^/> /' >out",
        ] {
            let mut server = serve([option]).worker_after(TALK).launch();
            let worker = server.worker(1).pid;
            server.stop();
            // The command ends after us, and writes at the latest then.
            server.eventually("the end in the log", || {
                let text = server.scratch.read("out");
                text.contains("> exiting\n").then_some(())
            });
            let text = server.scratch.read("out");
            for line in [
                &format!("> starting new worker {worker}"),
                "> from stdout",
                "> from stderr",
            ] {
                assert!(text.lines().any(|found| found == line), "{line}: {text}");
            }
            assert!(server.log().lines().count() == 1, "{}", server.log());
        }
    }
}

mod envdir {
    use super::*;

    fn variable(server: &Server, generation: u64, name: &str) -> Option<OsString> {
        server.worker(generation).variable(name)
    }

    #[test]
    fn a_file_is_a_variable_and_its_first_line_the_value() {
        type Row = (&'static str, &'static [u8], Option<&'static [u8]>);
        const FILES: [Row; 11] = [
            ("A_LINE", b"value\n", Some(b"value")),
            ("NO_NEWLINE", b"value", Some(b"value")),
            ("TWO_LINES", b"one\ntwo\n", Some(b"one")),
            ("CARRIAGE_RETURN", b"dos\r\n", Some(b"dos\r")),
            ("BLANKS", b" a\tb \t\n", Some(b" a\tb \t")),
            ("BYTES", b"\xff=\xfe;\n", Some(b"\xff=\xfe;")),
            ("lower-case.and.dots", b"value\n", Some(b"value")),
            ("EMPTY_LINE", b"\nsecond\n", Some(b"")),
            ("ONLY_A_NEWLINE", b"\n", Some(b"")),
            ("EMPTY", b"", None),
            (".HIDDEN", b"value\n", None),
        ];
        let mut setup = serve(["--envdir=envdir"]).file("envdir/FOLDER/file", "value\n");
        for (name, text, _) in FILES {
            setup = setup.file(&format!("envdir/{name}"), text);
        }
        let server = setup.start();
        let report = server.worker(1);
        for (name, _, expected) in FILES {
            let expected = expected.map(|value| OsStr::from_bytes(value).to_os_string());
            assert_eq!(report.variable(name), expected, "{name}");
        }
        assert_eq!(report.variable("FOLDER"), None);
        // The worker can read it too.
        assert_eq!(report.variable("ENVDIR"), Some("envdir".into()));
    }

    #[test]
    fn a_file_without_a_value_is_ignored_and_the_inherited_variable_stays() {
        let mut setup = serve(["--envdir=envdir"])
            .file("envdir/EMPTY", "")
            .file("envdir/DIRECTORY/file", "from the directory\n")
            .file("envdir/VALUE", "from envdir\n");
        symlink("nowhere", setup.scratch.path("envdir/DANGLING")).unwrap();
        let forbidden = setup.scratch.write("envdir/FORBIDDEN", "from envdir\n");
        fs::set_permissions(&forbidden, fs::Permissions::from_mode(0o000)).unwrap();
        // For root nothing is.
        let is_forbidden = fs::read(&forbidden).is_err();
        for name in ["EMPTY", "DIRECTORY", "VALUE", "DANGLING", "FORBIDDEN"] {
            setup = setup.env(name, "inherited");
        }
        let server = setup.start();
        let report = server.worker(1);
        for (name, from_envdir) in [
            ("EMPTY", false),
            ("DIRECTORY", false),
            ("VALUE", true),
            ("DANGLING", false),
            ("FORBIDDEN", !is_forbidden),
        ] {
            let expected = ["inherited", "from envdir"][usize::from(from_envdir)];
            assert_eq!(report.variable(name), Some(expected.into()), "{name}");
        }
    }

    #[test]
    fn every_generation_reads_it_again() {
        let server = serve(["--envdir=envdir"])
            .env("INHERITED", "inherited")
            .start();
        let check = |generation, expected: [Option<&str>; 2]| {
            let found = ["INHERITED", "NEW"].map(|name| variable(&server, generation, name));
            assert_eq!(found, expected.map(|value| value.map(OsString::from)));
        };
        // It is missing, and that is no error.
        check(1, [Some("inherited"), None]);
        server.scratch.write("envdir/INHERITED", "two\n");
        server.scratch.write("envdir/NEW", "two\n");
        restart(&server, 2);
        check(2, [Some("two"), Some("two")]);
        server.scratch.write("envdir/NEW", "three\n");
        fs::remove_file(server.scratch.path("envdir/INHERITED")).unwrap();
        restart(&server, 3);
        check(3, [Some("inherited"), Some("three")]);
        fs::remove_dir_all(server.scratch.path("envdir")).unwrap();
        // A death starts a worker as well as a HUP does.
        kernel::kill(server.worker(3).pid, libc::SIGKILL);
        check(4, [Some("inherited"), None]);
    }

    #[test]
    fn the_option_is_as_good_as_the_inherited_variable_and_wins_over_it() {
        for (option, expected) in [(None, "a"), (Some("--envdir=b"), "b")] {
            let server = serve([])
                .args(option)
                .env("ENVDIR", "a")
                .file("a/WHICH", "a\n")
                .file("b/WHICH", "b\n")
                .start();
            assert_eq!(variable(&server, 1, "WHICH"), Some(expected.into()));
            assert_eq!(variable(&server, 1, "ENVDIR"), Some(expected.into()));
        }
    }

    /// The log of a restart, from the moment that the new worker is up until it waits or kills.
    fn restart_of(mut setup: Setup, envdir: &[(&str, &str)]) -> String {
        for (name, value) in envdir {
            setup = setup.file(&format!("envdir/{name}"), format!("{value}\n"));
        }
        let server = setup.args(["--envdir=envdir"]).start();
        server.worker(1);
        restart(&server, 2);
        server.eventually("what comes after the new worker", || {
            let log = server.log();
            let found = log
                .lines()
                .find(|line| line.ends_with("killing old workers"));
            found.map(str::to_string)
        })
    }

    #[test]
    fn envdir_wins_over_an_option_and_an_option_over_an_inherited_variable() {
        let inherited = || serve([]).env("KILL_OLD_DELAY", "21");
        let option = || inherited().args(["--kill-old-delay=22"]);
        let sleeping = |seconds| format!("sleeping {seconds} secs before killing old workers");
        assert_eq!(restart_of(inherited(), &[]), sleeping(21));
        assert_eq!(restart_of(option(), &[]), sleeping(22));
        let envdir = ("KILL_OLD_DELAY", "23");
        assert_eq!(restart_of(option(), &[envdir]), sleeping(23));
        let envdir = ("KILL_OLD_DELAY", "0");
        assert_eq!(restart_of(option(), &[envdir]), "killing old workers");
    }

    #[test]
    fn an_empty_enable_auto_restart_and_a_zero_mean_off() {
        const OFF: &str = "killing old workers";
        // The delay before the kill is what auto-restart changes at once.
        const ON: &str = "sleeping 5 secs before killing old workers";
        let option = || serve(["--enable-auto-restart"]);
        assert_eq!(restart_of(option(), &[]), ON);
        for (value, expected) in [("1", ON), ("0", OFF), ("", OFF)] {
            let inherited = serve([]).env("ENABLE_AUTO_RESTART", value);
            assert_eq!(restart_of(inherited, &[]), expected, "{value:?}");
            let envdir = ("ENABLE_AUTO_RESTART", value);
            assert_eq!(restart_of(option(), &[envdir]), expected, "{value:?}");
        }
    }
}

mod daemonize {
    use super::*;

    /// `line` is shell for the worker to run first.
    fn start(setup: Setup, line: &str) -> Daemon {
        let options = ["--daemonize", "--log-file=log", "--pid-file=pid"];
        Daemon::of(setup.args(options).worker_after(line).finish())
    }

    #[test]
    fn it_goes_on_in_a_session_of_its_own_and_the_caller_returns() {
        let daemon = start(serve([]), ":");
        assert_ne!(daemon.pid(), daemon.server.pid());
        let session = kernel::session(daemon.pid());
        assert_ne!(session, kernel::session(0));
        // A leader could get a controlling terminal by opening one.
        assert_ne!(session, daemon.pid());
        let worker = daemon.server.worker(1).pid;
        assert_eq!(kernel::session(worker), session);
        daemon.stop();
        let log = daemon.server.log();
        assert!(log.ends_with("exiting\n"), "{log}");
    }

    #[test]
    fn a_restart_works_in_the_background() {
        let daemon = start(serve(["--status-file=status"]), ":");
        for generation in 1..=2 {
            daemon.server.worker(generation);
            daemon.server.up(&[generation]);
            kernel::kill(daemon.pid(), libc::SIGHUP);
        }
        daemon.server.worker(3);
        daemon.stop();
    }

    #[test]
    fn a_socket_file_survives_the_processes_left_behind_and_goes_with_the_daemon() {
        let daemon = start(serve(["--path=socket"]), ":");
        let server = &daemon.server;
        let worker = server.worker(1).pid;
        let socket = server.scratch.path("socket");
        assert_eq!(ask_path(&socket).unwrap(), (1, worker));
        daemon.stop();
        server.eventually("nothing left", || {
            let left = ["socket", "pid"].map(|name| server.scratch.path(name).exists());
            (left == [false; 2]).then_some(())
        });
    }

    #[test]
    fn standard_input_is_dev_null() {
        let setup = serve([]);
        let input = File::open(setup.scratch.write("typed", "by the caller\n")).unwrap();
        let daemon = start(
            setup.with(|command| {
                command.stdin(input);
            }),
            "cat >read",
        );
        daemon.server.worker(1);
        assert_eq!(fs::read(daemon.server.scratch.path("read")).unwrap(), b"");
        daemon.stop();
    }

    #[test]
    fn standard_input_stays_the_socket_that_was_put_there() {
        let daemon = start(without_port(["--port=127.0.0.1:0=0"]), ":");
        let report = daemon.server.worker(1);
        assert_eq!(report.ports(), [("127.0.0.1:0".to_string(), 0)]);
        assert_eq!(ask(report.tcp_port(0)).unwrap(), (1, report.pid));
        daemon.stop();
    }
}
