//! `--ready`: a worker stands the moment it says so, by sd_notify(3) or with a newline on a pipe, and not before.

use crate::support::fixtures::{by_envdir, RESTART_STORY};
use crate::support::{ask, kernel, program, Scratch, Server, Setup};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

/// What is as true of one way to say it as of the other: the option, and the word.
const WAYS: [(&str, &str); 2] = [("--ready=notify", "READY=1"), ("--ready=fd=9", "\n")];

/// Workers that say what the test has them say; an old one stays until the file `leave` is there.
fn talk<const N: usize>(options: [&str; N]) -> Setup {
    by_envdir("talk:linger", options)
}

/// A server whose first worker has said that it is ready.
fn start(setup: Setup, word: &str) -> Server {
    let server = setup.start();
    server.worker(1);
    server.has_said(1, word);
    server.up(&[1]);
    server
}

/// Has a worker that is being started say something for people. All that was said before it has been heard when
/// that is in the log.
fn is_still_starting(server: &Server, generation: u64) {
    let word = format!("still starting, {}", server.log().lines().count());
    server.has_said(generation, format!("STATUS={word}"));
    let pid = server.worker(generation).pid;
    server.says(&format!("start_server: new worker {pid}: {word}\n"));
}

/// Waits for a start_server whose worker, started later than any other, has failed in this time.
fn another_waits_in_vain(start_timeout: &str) {
    let other = by_envdir("talk:serve", ["--ready=notify", start_timeout]).start();
    other.says("is not ready within --start-timeout, killing it");
}

/// The generation that stands first. Where there is little time it need not be 1.
fn stands(server: &Server) -> u64 {
    server.eventually("one that stands", || server.outline().parse().ok())
}

fn socket(server: &Server, generation: u64) -> PathBuf {
    let report = server.worker(generation);
    report.variable("NOTIFY_SOCKET").unwrap().into()
}

#[test]
fn a_worker_stands_when_it_says_so_and_not_before_however_long_the_interval() {
    for (option, word) in WAYS {
        for interval in ["--interval=0", "--interval=100000"] {
            let mut server = start(talk([option, interval]), word);
            server.hup();
            server.worker(2);
            // With no interval it would stand before another start_server has run.
            assert!(Setup::new(["--version"]).finish().status.success());
            server.idle();
            assert_eq!(server.status().len(), 1, "{option} {interval}");
            assert!(!server.is_told(1), "{option} {interval}");
            server.has_said(2, word);
            server.up(&[1, 2]);
            server.notes("signal 1 15");
            server.scratch.write("leave", "");
            server.up(&[2]);
            server.stop();
        }
    }
}

#[test]
fn the_log_is_that_of_any_restart() {
    for (option, word) in WAYS {
        let mut server = start(by_envdir("talk:serve", [option]), word);
        server.hup();
        server.worker(2);
        server.has_said(2, word);
        server.up(&[2]);
        server.stop();
        assert_eq!(server.story(), RESTART_STORY, "{option}");
    }
}

#[test]
fn old_workers_get_their_delay_all_the_same() {
    let server = start(talk(["--ready=notify", "--kill-old-delay=1000"]), "READY=1");
    server.hup();
    server.worker(2);
    server.has_said(2, "READY=1");
    server.says("sleeping 1000 secs before killing old workers");
    server.up(&[1, 2]);
    assert!(!server.is_told(1));
}

#[test]
fn a_worker_that_dies_is_replaced_by_one_that_says_so_too() {
    for (option, word) in WAYS {
        let mut server = start(talk([option, "--interval=100000"]), word);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.worker(2);
        server.eventually("nobody in the status file", || {
            server.status().is_empty().then_some(())
        });
        server.has_said(2, word);
        server.up(&[2]);
        server.scratch.write("leave", "");
        server.stop();
    }
}

#[test]
fn term_is_obeyed_while_nobody_is_ready() {
    for (option, _) in WAYS {
        let mut server = by_envdir("talk:serve", [option]).start();
        server.worker(1);
        server.stop();
        let story = server.story();
        assert!(story.ends_with("worker A died, status:0\nexiting\n"));
    }
}

mod failure {
    use super::*;

    #[test]
    fn who_exits_before_it_is_ready_has_failed_and_the_old_one_serves_on() {
        for (option, word) in WAYS {
            let setup = talk([option]);
            let mut server = start(setup, word);
            let port = server.worker(1).port();
            server.next_role("exit:7");
            server.hup();
            server.says_times("seems to have failed to start, exit status:1792", 3);
            assert_eq!(ask(port).unwrap().0, 1, "{option}");
            assert!(!server.is_told(1), "{option}");
            server.next_role("ready:linger");
            server.notes("signal 1 15");
            let newest = server.started().last().unwrap().0;
            server.up(&[1, newest]);
            server.scratch.write("leave", "");
            server.up(&[newest]);
            assert_eq!(ask(port).unwrap().0, newest, "{option}");
            server.stop();
        }
    }

    #[test]
    fn the_interval_paces_attempts() {
        for (option, word) in WAYS {
            let server = start(talk([option, "--interval=100000"]), word);
            server.next_role("exit:7");
            server.hup();
            server.says("seems to have failed to start");
            // Without an interval there are three attempts meanwhile.
            let other = by_envdir("exit:7", [option, "--interval=0"]).start();
            other.says_times("seems to have failed to start", 3);
            assert_eq!(server.started().len(), 2, "{option}");
        }
    }

    #[test]
    fn who_is_not_ready_in_time_is_killed_and_the_old_one_serves_on() {
        for (option, _) in WAYS {
            let mut server = by_envdir("ready:linger", [option, "--start-timeout=1"]).start();
            let first = stands(&server);
            server.next_role("talk:linger");
            server.hup();
            server.says_times("seems to have failed to start", first as usize + 1);
            for generation in [first + 1, first + 2] {
                let pid = server.worker(generation).pid;
                server.says(&format!(
                    "
starting new worker {pid}
start_server: new worker {pid} is not ready within --start-timeout, killing it
new worker {pid} seems to have failed to start, exit status:9
"
                ));
            }
            assert!(server.outline().starts_with(&format!("{first} failed:")));
            assert!(!server.is_told(first), "{option}");
            server.scratch.write("leave", "");
            server.stop();
        }
    }

    #[test]
    fn a_start_timeout_of_0_waits_for_ever() {
        let server = by_envdir("talk:serve", ["--ready=notify", "--start-timeout=0"]).start();
        server.worker(1);
        another_waits_in_vain("--start-timeout=1");
        is_still_starting(&server, 1);
        server.has_said(1, "READY=1");
        server.up(&[1]);
    }

    #[test]
    fn one_that_is_ready_may_live_longer_than_the_start_timeout() {
        let mut server = by_envdir("ready:serve", ["--ready=notify", "--start-timeout=1"]).start();
        let generation = stands(&server);
        another_waits_in_vain("--start-timeout=1");
        assert_eq!(server.outline(), generation.to_string());
        server.stop();
    }
}

mod pipe {
    use super::*;

    #[test]
    fn only_a_newline_on_it_means_ready() {
        let mut server = talk(["--ready=fd=9"]).start();
        server.worker(1);
        for words in ["ready", "READY=1", "\r", "\0"] {
            server.has_said(1, words);
            server.idle();
            assert_eq!(server.status(), [], "{words:?}");
        }
        server.has_said(1, "and more\nand after it");
        server.up(&[1]);
        server.scratch.write("leave", "");
        server.stop();
    }

    #[test]
    fn its_end_without_a_newline_does_not_mean_ready() {
        let setup = by_envdir("talk:serve", ["--ready=fd=9", "--start-timeout=1"]);
        // Nothing to say is to close it.
        let server = setup.file("say.1", "").start();
        server.says("is not ready within --start-timeout, killing it");
        assert!(!server.scratch.path("say.1").exists(), "{}", server.log());
        assert!(!server.outline().starts_with('1'), "{}", server.outline());
    }

    #[test]
    fn it_is_at_the_number_that_was_asked_for_and_no_listener_is() {
        // 3 is where the listener would be, and where our own ends are among the first to be.
        for number in 3..12 {
            let ready = format!("--ready=fd={number}");
            let setup = by_envdir("ready:serve", [&ready]);
            let mut server = setup.up();
            let report = server.worker(1);
            let variable = report.variable("SERVER_STARTER_READY_FD").unwrap();
            assert_eq!(variable, number.to_string().as_str());
            let expected = Some("file - blocking kept".to_string());
            assert_eq!(report.descriptor(number), expected, "{number}");
            assert_eq!(ask(report.port()).unwrap(), (1, report.pid), "{number}");
            server.stop();
        }
    }

    #[test]
    fn a_grandchild_may_write_the_newline() {
        let mut server = by_envdir("talk:serve", ["--ready=fd=9"])
            .env("MESSENGER", "grandchild")
            .start();
        server.worker(1);
        server.has_said(1, "\n");
        server.up(&[1]);
        server.stop();
    }
}

mod words {
    use super::*;

    #[test]
    fn ready_counts_from_a_grandchild_and_from_a_user_without_privileges() {
        for who in ["grandchild", "nobody"] {
            if who == "nobody" && !kernel::is_root() {
                return crate::support::skipped("root's right to become another user");
            }
            let setup = by_envdir("talk:serve", ["--ready=notify"]).env("MESSENGER", who);
            let mut server = start(setup, "READY=1");
            server.stop();
            let notes = server.scratch.read("notes");
            assert!(!notes.contains("could not say it"), "{who}: {notes}");
        }
    }

    #[test]
    fn a_late_word_of_an_older_generation_is_nobodys() {
        let mut server = start(talk(["--ready=notify", "--interval=0"]), "READY=1");
        server.hup();
        server.worker(2);
        for word in ["READY=1", "STATUS=late\nREADY=1"] {
            server.has_said(1, word);
            is_still_starting(&server, 2);
            assert_eq!(server.status().len(), 1, "{word}");
        }
        assert!(!server.is_told(1));
        server.has_said(2, "READY=1");
        server.up(&[1, 2]);
        assert!(!server.log().contains("late"), "{}", server.log());
        server.scratch.write("leave", "");
        server.stop();
    }

    #[test]
    fn a_word_to_the_socket_of_a_worker_that_is_gone_is_nobodys() {
        let setup = talk(["--ready=notify", "--interval=0"]);
        let server = start(setup, "READY=1");
        let first = socket(&server, 1);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.worker(2);
        let unbound = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert!(unbound.send_to(b"READY=1", first).is_err());
        is_still_starting(&server, 2);
        assert_eq!(server.status(), []);
    }

    #[test]
    fn a_status_is_logged_in_a_line_while_the_worker_is_being_started_and_not_afterwards() {
        let mut server = talk(["--ready=notify"]).start();
        let pid = server.worker(1).pid;
        for (words, shown) in [
            ("STATUS=loading, 10 %", "loading, 10 %"),
            ("X=1\nSTATUS=a=b\nY=2", "a=b"),
            ("STATUS=", ""),
            ("STATUS=tab\tbell\x07", "tab\\tbell\\u{7}"),
            // What comes together with the word that ends the start still belongs to it.
            ("READY=1\nSTATUS=up", "up"),
        ] {
            server.has_said(1, words);
            server.says(&format!("start_server: new worker {pid}: {shown}\n"));
        }
        server.up(&[1]);
        server.has_said(1, "STATUS=busy");
        server.hup();
        server.worker(2);
        server.has_said(1, "STATUS=busy");
        is_still_starting(&server, 2);
        assert!(!server.log().contains("busy"), "{}", server.log());
        server.scratch.write("leave", "");
        server.stop();
    }

    #[test]
    fn extend_timeout_usec_puts_the_end_off() {
        // Three seconds, so that a busy machine lets it say so in time.
        let setup = by_envdir("talk:serve", ["--ready=notify", "--start-timeout=3"]);
        let server = setup
            .file("say.1", "EXTEND_TIMEOUT_USEC=1000000000")
            .start();
        is_still_starting(&server, 1);
        another_waits_in_vain("--start-timeout=3");
        is_still_starting(&server, 1);
        server.has_said(1, "READY=1");
        server.up(&[1]);
    }

    #[test]
    fn extend_timeout_usec_does_not_shorten_and_may_be_as_long_as_it_likes() {
        let mut server = by_envdir("talk:serve", ["--ready=notify"]).start();
        server.worker(1);
        for time in ["0", "1", "18446744073709551615"] {
            server.has_said(1, format!("EXTEND_TIMEOUT_USEC={time}"));
            is_still_starting(&server, 1);
        }
        server.idle();
        server.has_said(1, "READY=1");
        server.up(&[1]);
        server.stop();
        assert!(!server.log().contains("killing"), "{}", server.log());
    }

    #[test]
    fn an_extension_that_is_over_is_over() {
        let setup = by_envdir("talk:serve", ["--ready=notify", "--start-timeout=1"]);
        let server = setup.file("say.1", "EXTEND_TIMEOUT_USEC=1500000").start();
        server.says("is not ready within --start-timeout, killing it");
    }

    #[test]
    fn anything_else_is_passed_over() {
        const OTHERS: [&[u8]; 17] = [
            b"",
            b"\n",
            b"\0",
            b"=",
            b"READY",
            b"READY=",
            b"READY=0",
            b"READY=11",
            b"READY=1 ",
            b" READY=1",
            b"ready=1",
            b"X_READY=1",
            b"STATUS",
            b"EXTEND_TIMEOUT_USEC=-1",
            b"EXTEND_TIMEOUT_USEC=99999999999999999999999",
            b"\xff\xfe=\xfd\n\x80",
            b"MAINPID=1\nERRNO=2\nBUSERROR=x\nWATCHDOG=1\nWATCHDOG=trigger\nFDSTORE=1\nSTOPPING=1\nRELOADING=1",
        ];
        let mut server = by_envdir("talk:serve", ["--ready=notify"]).start();
        server.worker(1);
        for words in OTHERS {
            server.has_said(1, words);
            is_still_starting(&server, 1);
            assert_eq!(server.status(), [], "{}", words.escape_ascii());
        }
        // Where such a datagram is too long it does not even come to us.
        server.has_said(1, vec![b'x'; 100_000]);
        is_still_starting(&server, 1);
        server.has_said(1, vec![b'\n'; 100_000]);
        is_still_starting(&server, 1);
        assert_eq!(server.status(), []);
        server.has_said(1, "X=1\nREADY=1\n\n");
        server.up(&[1]);
        server.stop();
    }

    /// systemd's own, which waits until what it said was read.
    #[test]
    fn systemd_notify_is_answered() {
        let found = Command::new("systemd-notify").arg("--version").output();
        if found.is_err() {
            return crate::support::skipped("systemd-notify");
        }
        let line = "systemd-notify --ready --status=loaded && touch \"$WORKER_DIR\"/answered";
        let mut server = Setup::new(["--ready=notify", "--status-file=status"])
            .role("serve")
            .worker_after(line)
            .launch();
        server.up(&[1]);
        let pid = server.worker(1).pid;
        assert!(server.scratch.path("answered").exists());
        server.says(&format!("start_server: new worker {pid}: loaded\n"));
        server.stop();
    }

    #[test]
    fn a_worker_that_never_stops_saying_it_keeps_nobody_waiting() {
        for (option, word) in WAYS {
            let mut server = by_envdir("chatter:linger", [option, "--interval=0"]).up();
            server.next_role("talk:linger");
            server.hup();
            server.worker(2);
            if option == "--ready=notify" {
                is_still_starting(&server, 2);
            }
            assert_eq!(server.status().len(), 1, "{option}");
            assert!(!server.is_told(1), "{option}");
            server.has_said(2, word);
            server.up(&[1, 2]);
            server.notes("signal 1 15");
            kernel::kill(server.worker(2).pid, libc::SIGKILL);
            server.worker(3);
            server.has_said(3, word);
            server.up(&[1, 3]);
            server.scratch.write("leave", "");
            server.up(&[3]);
            server.stop();
        }
    }
}

mod folder {
    use super::*;

    /// With the socket in a folder of the test's own.
    fn in_tmp<const N: usize>(options: [&str; N]) -> Setup {
        let setup = talk(["--ready=notify"]).args(options);
        fs::create_dir(setup.scratch.path("tmp")).unwrap();
        let tmp = setup.scratch.path("tmp");
        setup.env("TMPDIR", tmp)
    }

    /// How many there are.
    fn folders(server: &Server) -> usize {
        fs::read_dir(server.scratch.path("tmp")).unwrap().count()
    }

    fn left(server: &Server, count: usize) {
        server.eventually(&format!("{count} folders"), || {
            (folders(server) == count).then_some(())
        });
    }

    #[test]
    fn everybody_passes_through_it_but_nobody_can_list_it() {
        let setup = in_tmp([]).with(|command| {
            // The mode does not depend on it.
            kernel::on_fork(command, || kernel::set_umask(0o077));
        });
        let server = setup.start();
        let socket = socket(&server, 1);
        let folder = socket.parent().unwrap();
        let metadata = fs::metadata(folder).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o711);
        assert_eq!(
            metadata.uid(),
            fs::metadata(server.scratch.path("tmp")).unwrap().uid()
        );
        // To send is to write.
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0o222);
    }

    #[test]
    fn each_generation_has_its_own_under_a_name_that_nobody_guesses() {
        let server = start(in_tmp([]), "READY=1");
        for generation in 2..=5 {
            server.hup();
            server.worker(generation);
            server.has_said(generation, "READY=1");
            server.up(&(1..=generation).collect::<Vec<_>>());
        }
        let sockets: Vec<_> = (1..=5)
            .map(|generation| socket(&server, generation))
            .collect();
        let mut names: Vec<_> = sockets
            .iter()
            .map(|socket| socket.file_name().unwrap().to_owned())
            .collect();
        for name in &names {
            let digits = name.to_str().unwrap();
            assert!(digits.len() >= 16, "{digits}");
            assert!(!digits.contains(&server.pid().to_string()), "{digits}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5, "{names:?}");
        let mut folders: Vec<_> = sockets.iter().map(|socket| socket.parent()).collect();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), 5, "{folders:?}");
    }

    #[test]
    fn it_goes_with_its_worker_and_at_the_end() {
        let mut server = start(in_tmp(["--interval=0"]), "READY=1");
        assert_eq!(folders(&server), 1);
        server.hup();
        server.worker(2);
        server.has_said(2, "READY=1");
        server.up(&[1, 2]);
        // The old one may have something to say as long as it lives.
        assert_eq!(folders(&server), 2);
        server.scratch.write("leave", "");
        server.up(&[2]);
        left(&server, 1);
        server.next_role("exit:1");
        server.hup();
        server.says_times("seems to have failed to start", 3);
        server.next_role("ready:serve");
        assert!(stands(&server) >= 6);
        left(&server, 1);
        server.stop();
        assert_eq!(folders(&server), 0);
    }

    #[test]
    fn one_that_was_cleaned_up_meanwhile_is_no_loss() {
        let mut server = start(in_tmp([]), "READY=1");
        fs::remove_dir_all(socket(&server, 1).parent().unwrap()).unwrap();
        server.hup();
        server.worker(2);
        server.has_said(2, "READY=1");
        server.scratch.write("leave", "");
        server.up(&[2]);
        server.stop();
        assert_eq!(folders(&server), 0);
    }

    #[test]
    fn it_is_made_in_the_runtime_directory_else_in_tmpdir_else_in_tmp() {
        // Folders of the scratch folder; unset; empty; as systemd gives several; and a relative one.
        let table: [(Option<&str>, Option<&str>, &str); 6] = [
            (Some("/run"), Some("/tmp"), "/run"),
            (None, Some("/tmp"), "/tmp"),
            (Some(""), Some("/tmp"), "/tmp"),
            (Some("/run:/other"), None, "/run"),
            (None, None, "outside"),
            (None, Some(""), "outside"),
        ];
        for (runtime, tmp, expected) in table {
            let mut setup = by_envdir("ready:serve", ["--ready=notify"]).with(|command| {
                command.env_remove("RUNTIME_DIRECTORY").env_remove("TMPDIR");
            });
            for name in ["run", "tmp", "other"] {
                fs::create_dir(setup.scratch.path(name)).unwrap();
            }
            let root = setup.scratch.path("").to_str().unwrap().to_string();
            let root = root.trim_end_matches('/');
            for (name, value) in [("RUNTIME_DIRECTORY", runtime), ("TMPDIR", tmp)] {
                if let Some(value) = value {
                    setup = setup.env(name, value.replace('/', &format!("{root}/")));
                }
            }
            let expected = match expected {
                "outside" => PathBuf::from("/tmp"),
                inside => PathBuf::from(format!("{root}{inside}")),
            };
            let mut server = setup.up();
            let folder = socket(&server, 1).parent().unwrap().to_path_buf();
            // Where it is outside of the test's folder, a failed test must not leave it there.
            let _removed = Scratch::adopt(folder.clone());
            assert_eq!(folder.parent(), Some(&*expected), "{runtime:?} {tmp:?}");
            server.stop();
            assert!(!folder.exists(), "{}", folder.display());
        }
    }

    #[test]
    fn a_worker_elsewhere_reaches_one_that_was_named_from_here() {
        let setup = by_envdir("ready:serve", ["--ready=notify", "--dir=/"]).env("TMPDIR", "tmp");
        fs::create_dir(setup.scratch.path("tmp")).unwrap();
        let mut server = setup.up();
        assert!(socket(&server, 1).is_absolute());
        server.stop();
        assert_eq!(folders(&server), 0);
    }

    #[test]
    fn where_it_cannot_be_made_the_start_is_refused_and_nothing_is_bound() {
        let long = format!("{}/x", "y".repeat(100));
        let table = [
            ("nowhere", "No such file or directory"),
            ("file", "Not a directory"),
            (&long, "longer than"),
        ];
        for (folder, reason) in table {
            let options = ["--ready=notify", "--path=socket", "--pid-file=pid"];
            let setup = Setup::new(options)
                .args(["--status-file=status", "--log-file=out", "true"])
                .file("file", "")
                .file(&format!("{long}/file"), "");
            let folder = setup.scratch.path(folder);
            let ended = setup.env("RUNTIME_DIRECTORY", &folder).finish();
            assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
            let expected = format!(
                "start_server: --ready=notify: cannot make a socket in {}: ",
                folder.display()
            );
            assert!(ended.said.starts_with(&expected), "{}", ended.said);
            assert!(ended.said.contains(reason), "{reason}: {}", ended.said);
            assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
            let scratch = &ended.server.scratch;
            let mut names = scratch.names();
            names.retain(|name| !name.starts_with('y'));
            assert_eq!(names, ["file", "log", "output"]);
            // Nor is the folder left that was made before the socket was found to be too long.
            let inside = fs::read_dir(scratch.path(&long)).unwrap();
            assert_eq!(inside.count(), 1, "{reason}");
        }
    }

    #[test]
    fn one_that_cannot_be_made_later_is_a_failed_attempt_and_said() {
        let server = start(in_tmp(["--interval=1"]), "READY=1");
        let (tmp, away) = (server.scratch.path("tmp"), server.scratch.path("away"));
        fs::rename(&tmp, &away).unwrap();
        server.hup();
        let complaint = format!("cannot make a socket in {}", tmp.display());
        server.says_times(&complaint, 2);
        assert!(server.outline().starts_with("1 failed:"));
        assert!(!server.is_told(1));
        server.next_role("ready:linger");
        fs::rename(&away, &tmp).unwrap();
        server.notes("signal 1 15");
    }
}

/// The variables that a worker must not have from anybody but us.
#[test]
fn what_the_caller_was_told_of_service_managers_and_pipes_does_not_reach_the_worker() {
    const NAMES: [&str; 4] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "SERVER_STARTER_READY_FD",
    ];
    // Those that are there all the same, made anew.
    let table: [(&str, &[&str]); 3] = [
        ("--ready=interval", &[]),
        ("--ready=notify", &["NOTIFY_SOCKET"]),
        ("--ready=fd=9", &["SERVER_STARTER_READY_FD"]),
    ];
    for (option, ours) in table {
        let manager = Scratch::new();
        let theirs = manager.path("manager");
        let mut setup = by_envdir("serve", [option]);
        for name in NAMES {
            setup = setup.env(name, &theirs);
        }
        let report = setup.start().worker(1);
        for name in NAMES {
            let found = report.variable(name);
            assert_eq!(found.is_some(), ours.contains(&name), "{option} {name}");
            assert_ne!(found.as_deref(), Some(theirs.as_os_str()), "{option}");
        }
    }
}

/// Number and kind of each descriptor: sockets and pipes have a new number of their own in every generation.
#[cfg(target_os = "linux")]
fn descriptors(server: &Server) -> Vec<(i32, String)> {
    let folder = PathBuf::from(format!("/proc/{}/fd", server.pid()));
    let entries = fs::read_dir(&folder).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let name = entry.unwrap().file_name();
            let target = fs::read_link(folder.join(&name)).unwrap_or_default();
            let target = target.to_string_lossy();
            let kind = target.split(':').next().unwrap().to_string();
            (name.to_str().unwrap().parse().unwrap(), kind)
        })
        .collect();
    found.sort();
    found
}

#[cfg(target_os = "linux")]
#[test]
fn restarts_leak_no_descriptor() {
    for (option, _) in WAYS {
        let mut server = by_envdir("ready:serve", [option]).up();
        let restart = |generations: std::ops::RangeInclusive<u64>| {
            for generation in generations {
                server.hup();
                server.up(&[generation]);
            }
            server.idle();
        };
        restart(2..=3);
        let before = descriptors(&server);
        restart(4..=53);
        server.eventually(&format!("{before:?}"), || {
            let now = descriptors(&server);
            // The channel of a generation may be at another number than that of the one before.
            let kinds = |found: &[(i32, String)]| {
                let mut kinds: Vec<_> = found.iter().map(|(_, kind)| kind.clone()).collect();
                kinds.sort();
                kinds
            };
            let last = |found: &[(i32, String)]| found.last().unwrap().0;
            (kinds(&now) == kinds(&before) && last(&now) <= last(&before) + 1).then_some(())
        });
        server.stop();
    }
}

#[test]
fn an_idle_superdaemon_waits_in_one_poll_without_end() {
    let found = Command::new("strace").arg("--version").output();
    if found.is_err() {
        return crate::support::skipped("strace");
    }
    for (option, _) in WAYS {
        let mut strace = Command::new("strace");
        strace.args(["-o", "trace"]).arg(program());
        let options = [option, "--status-file=status", "--pid-file=pid"];
        let mut server = Setup::by(strace, options).role("ready:serve").up();
        let pid = server.scratch.read("pid").trim_end().parse().unwrap();
        // strace shows a call when it is over, so what is last is the one that the signal ends.
        server.eventually("start_server to sleep", || {
            crate::support::is_asleep(pid).then_some(())
        });
        kernel::kill(pid, libc::SIGTERM);
        server.end();
        let trace = server.scratch.read("trace");
        let (before, _) = trace.split_once("--- SIGTERM").unwrap();
        let last = before.lines().last().unwrap();
        let endless = ["], 2, -1)", "], 2, NULL, NULL"];
        assert!(last.contains("poll("), "{last}");
        assert!(endless.iter().any(|end| last.contains(end)), "{last}");
    }
}
