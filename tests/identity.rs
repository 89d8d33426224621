//! Who starts it and how, what lies in its envdir, and who has what it wants: start_server copes, or refuses
//! and says why.

use crate::support::fixtures::{serve, USUAL};
use crate::support::{
    ask, eventually, free_port, kernel, permissions_count, program, skipped, Scratch, Server, Setup,
};
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Starts, serves, restarts, serves, and ends, with nothing left behind.
fn lives(server: Server) {
    let mut server = server;
    for generation in 1..=2 {
        let worker = server.worker(generation);
        server.up(&[generation]);
        assert_eq!(ask(worker.port()).unwrap(), (generation, worker.pid));
        server.hup();
    }
    server.worker(3);
    server.up(&[3]);
    server.stop();
    let left = server.scratch.names();
    for name in ["pid", "status"] {
        assert!(!left.contains(&name.to_string()), "{left:?}");
    }
}

mod caller {
    use super::*;

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

    /// Not even its own name is there; what comes after it, the environment, is no argument. Linux since 5.18
    /// makes one empty argument of none.
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

    /// The only child of a process, as this system's proc(5) tells.
    #[cfg(target_os = "linux")]
    fn children(parent: i32) -> Vec<(i32, String)> {
        let stat = |entry: fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let state = fields.next()?.to_string();
            (fields.next()?.parse() == Ok(parent)).then_some((pid, state))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(stat).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn as_process_1_of_a_container_it_reaps_orphans_in_silence_and_obeys() {
        let container = ["--map-root-user", "--pid", "--fork", "--kill-child"];
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(container);
            unshare
        };
        let mut probe = unshare();
        if !probe
            .arg("true")
            .status()
            .is_ok_and(|status| status.success())
        {
            return skipped("unshare that may make a container");
        }
        let mut command = unshare();
        command.arg(program());
        let setup = Setup::by(command, USUAL).role("serve");
        // Each worker leaves orphans behind, some of them dead at once.
        let line = "for i in 1 2 3; do (true & true &); done";
        let mut server = setup.worker_after(line).launch();
        server.worker(1);
        server.up(&[1]);
        assert_eq!(server.scratch.read("pid"), "1\n");
        let first = children(server.pid())[0].0;
        for generation in 2..=3 {
            kernel::kill(first, libc::SIGHUP);
            server.worker(generation);
            server.up(&[generation]);
        }
        server.eventually("one child, that lives", || {
            let children = children(first);
            (children.len() == 1 && children[0].1 != "Z").then_some(())
        });
        kernel::kill(first, libc::SIGTERM);
        assert_eq!(server.end().into_raw(), 0, "{}", server.log());
        let log = server.log();
        assert_eq!(log.matches("died").count(), 3, "{log}");
        assert_eq!(
            server
                .scratch
                .names()
                .iter()
                .filter(|name| *name == "pid")
                .count(),
            0
        );
    }
}

mod envdir {
    use super::*;

    #[test]
    fn what_is_no_variable_is_passed_over_with_one_message_or_in_silence() {
        let setup = serve(["--envdir=envdir"])
            .file("envdir/GOOD", "value\n")
            .file("envdir/A=B", "value\n")
            .file("envdir/NUL", "one\0two\n")
            .file("envdir/FOLDER/FILE", "value\n");
        let path = |name: &str| setup.scratch.path("envdir").join(name);
        symlink("/dev/zero", path("DEVICE")).unwrap();
        symlink("nowhere", path("DANGLING")).unwrap();
        symlink("LOOP", path("LOOP")).unwrap();
        symlink("GOOD", path("LINK")).unwrap();
        kernel::make_fifo(&path("FIFO"));
        let _listener = UnixListener::bind(path("SOCKET")).unwrap();
        let mut server = setup.up();
        for generation in 2..=3 {
            server.restart(generation);
        }
        for name in [
            "A=B", "NUL", "FOLDER", "DEVICE", "DANGLING", "LOOP", "FIFO", "SOCKET",
        ] {
            assert_eq!(server.worker(3).variable(name), None, "{name}");
        }
        for name in ["GOOD", "LINK"] {
            assert_eq!(server.worker(3).variable(name), Some("value".into()));
        }
        server.stop();
        let mut said: Vec<_> = server
            .log()
            .lines()
            .filter_map(|line| line.strip_prefix("start_server: ignoring envdir/"))
            .map(str::to_string)
            .collect();
        said.sort();
        let expected = [
            "A=B: a variable name cannot contain =",
            "DEVICE: not a regular file",
            "FIFO: not a regular file",
            "NUL: a value cannot contain a NUL",
            "SOCKET: not a regular file",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_may_not_be_read_is_passed_over_in_silence() {
        if !permissions_count() {
            return skipped("a user who may not read everything");
        }
        let heed = |command: &mut Command| kernel::on_fork(command, kernel::heed_permissions);
        let setup = serve(["--envdir=envdir"]).with(heed);
        let server = setup
            .env("FORBIDDEN", "inherited")
            .file("envdir/FORBIDDEN", "value")
            .file("envdir/GOOD", "value")
            .start();
        let allow = |name: &str, mode| {
            let path = server.scratch.path(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let seen = |generation| {
            let report = server.worker(generation);
            ["FORBIDDEN", "GOOD"].map(|name| report.variable(name))
        };
        let [value, inherited] = ["value", "inherited"].map(|value| Some(OsString::from(value)));
        assert_eq!(seen(1), [value.clone(), value.clone()]);
        server.up(&[1]);
        allow("envdir/FORBIDDEN", 0);
        server.restart(2);
        assert_eq!(seen(2), [inherited.clone(), value.clone()]);
        allow("envdir", 0);
        server.restart(3);
        assert_eq!(seen(3), [inherited, None]);
        allow("envdir", 0o755);
        allow("envdir/FORBIDDEN", 0o644);
        server.restart(4);
        assert_eq!(seen(4), [value.clone(), value]);
        let mut server = server;
        server.stop();
        assert_eq!(server.count("ignoring"), 0, "{}", server.log());
    }

    /// The length of a value that is read in several pieces.
    const LONG: usize = 60_000;

    /// Replaces, removes, hides and moves the files of an envdir, until `enough`.
    fn change_all_the_time(scratch: &Scratch, enough: &AtomicBool) {
        let path = |name: &str| scratch.path("envdir").join(name);
        let letters = (b'a'..=b'z').cycle();
        for (turn, letter) in (0..).zip(letters) {
            if enough.load(SeqCst) {
                return;
            }
            for name in ["A", "B", "C"] {
                // As the manual tells administrators to: whole, and then renamed into place.
                scratch.write("new", vec![letter; LONG]);
                fs::rename(scratch.path("new"), path(name)).unwrap();
            }
            match turn % 5 {
                0 => fs::remove_file(path("A")).unwrap(),
                1 => fs::rename(path("A"), path("D")).unwrap(),
                2 => {
                    fs::rename(path("B"), path(".B")).unwrap();
                    kernel::make_fifo(&path("B"));
                    fs::rename(path(".B"), path("B")).unwrap();
                }
                3 => {
                    fs::rename(scratch.path("envdir"), scratch.path("moved")).unwrap();
                    fs::rename(scratch.path("moved"), scratch.path("envdir")).unwrap();
                }
                _ => drop(fs::remove_file(path("D"))),
            }
        }
    }

    #[test]
    fn what_changes_while_it_is_read_is_each_time_a_value_that_was_there() {
        let mut setup = serve(["--envdir=envdir"]);
        for name in ["A", "B", "C", "D"] {
            setup = setup.env(name, "inherited");
            setup = setup.file(&format!("envdir/{name}"), "a".repeat(LONG));
        }
        let mut server = setup.file("envdir/STAYS", "value").up();
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| change_all_the_time(&server.scratch, &enough));
            for generation in 2..=30 {
                server.restart(generation);
            }
            enough.store(true, SeqCst);
        });
        let mut seen = BTreeSet::new();
        for generation in 1..=30 {
            let report = server.worker(generation);
            for name in ["A", "B", "C", "D"] {
                let value = report.variable(name).unwrap().into_vec();
                let is_whole = value.len() == LONG && value.iter().all(|byte| *byte == value[0]);
                assert!(is_whole || value == b"inherited", "{generation} {name}");
                seen.insert(value[0]);
            }
        }
        assert!(seen.len() > 3, "it did change: {seen:?}");
        server.scratch.write("envdir/LAST", "value");
        server.restart(31);
        let last = server.worker(31);
        for name in ["STAYS", "LAST"] {
            assert_eq!(last.variable(name), Some("value".into()), "{name}");
        }
        server.stop();
    }

    #[test]
    fn a_complaint_is_made_again_after_it_was_right_once() {
        let mut server = serve(["--envdir=envdir"]).file("envdir/A", "a\0").start();
        server.worker(1);
        let complaint = "start_server: ignoring envdir/A: a value cannot contain a NUL\n";
        server.says(complaint);
        server.scratch.write("envdir/A", "right");
        server.restart(2);
        assert_eq!(server.worker(2).variable("A"), Some("right".into()));
        server.scratch.write("envdir/A", "wrong\0");
        server.restart(3);
        server.says_times(complaint, 2);
        server.restart(4);
        server.stop();
        assert_eq!(server.log().matches(complaint).count(), 2);
    }

    #[test]
    fn ten_thousand_files_are_ten_thousand_variables() {
        let mut setup = serve(["--envdir=envdir"]);
        for number in 0..10_000 {
            setup = setup.file(&format!("envdir/V{number}"), format!("{number}\n"));
        }
        let mut server = setup.start();
        let found = server.worker(1).all("env");
        for number in 0..10_000 {
            assert!(found.contains(&format!("V{number}={number}")), "{number}");
        }
        server.up(&[1]);
        server.restart(2);
        server.stop();
    }

    #[test]
    fn a_value_of_a_hundred_thousand_bytes_arrives_whole() {
        let value = "x".repeat(100_000);
        let setup = serve(["--envdir=envdir"]).file("envdir/LONG", &value);
        let mut server = setup.start();
        assert_eq!(server.worker(1).variable("LONG"), Some(value.into()));
        server.stop();
    }

    #[test]
    fn it_may_become_something_else_and_be_an_envdir_again() {
        let mut server = serve(["--envdir=envdir"]).file("envdir/A", "a").up();
        let path = server.scratch.path("envdir");
        fs::rename(&path, server.scratch.path("moved")).unwrap();
        for (generation, make) in (2..).zip([
            (|path| fs::write(path, "").unwrap()) as fn(&std::path::Path),
            |path| kernel::make_fifo(path),
            |path| symlink("envdir", path).unwrap(),
        ]) {
            make(&path);
            server.restart(generation);
            assert_eq!(server.worker(generation).variable("A"), None);
            fs::remove_file(&path).unwrap();
        }
        fs::rename(server.scratch.path("moved"), &path).unwrap();
        server.restart(5);
        assert_eq!(server.worker(5).variable("A"), Some("a".into()));
        server.stop();
    }
}

mod together {
    use super::*;

    const COUNT: usize = 8;

    /// Starts many at once with these options, and ends the one that won. What the others said.
    fn start(options: &[&str]) -> Vec<String> {
        let scratch = Scratch::new();
        let start = || {
            let setup = Setup::beside(&scratch, options).role("serve");
            setup.args(["--interval=0"]).start()
        };
        let mut servers: Vec<Server> = (0..COUNT).map(|_| start()).collect();
        let mut refused = Vec::new();
        eventually(
            || {
                servers.retain_mut(|server| {
                    let ended = server.has_ended();
                    if ended {
                        refused.push(server.log());
                    }
                    !ended
                });
                (servers.len() <= 1).then_some(())
            },
            || "the end of all but one".to_string(),
        );
        let winner = servers.pop();
        let mut winner = winner.unwrap_or_else(|| panic!("nobody won: {refused:?}"));
        winner.worker(1);
        if options.contains(&"--pid-file=pid") {
            assert_eq!(scratch.read("pid"), format!("{}\n", winner.pid()));
        }
        if options.contains(&"--path=socket") {
            UnixStream::connect(scratch.path("socket")).unwrap();
        }
        winner.stop();
        assert_eq!(scratch.names(), [""; 0], "nothing is left");
        refused
    }

    #[test]
    fn of_many_with_one_pid_file_one_wins_and_the_others_change_nothing() {
        for _ in 0..5 {
            for said in start(&["--pid-file=pid", "--port=127.0.0.1:0"]) {
                let running = "start_server: --pid-file=pid: start_server is already running as ";
                assert!(said.starts_with(running), "{said}");
                assert_eq!(said.lines().count(), 1, "{said}");
            }
        }
    }

    #[test]
    fn of_many_with_one_path_one_wins_and_the_others_change_nothing() {
        for _ in 0..20 {
            for options in [&["--path=socket"][..], &["--pid-file=pid", "--path=socket"]] {
                for said in start(options) {
                    assert!(said.starts_with("start_server: --p"), "{said}");
                    assert_eq!(said.lines().count(), 1, "{said}");
                }
            }
        }
    }
}

mod killed {
    use super::*;

    /// Names of files that start_server kept, and that are still there.
    fn left(server: &Server) -> Vec<String> {
        let mut names = server.scratch.names();
        names.retain(|name| ["pid", "socket", "status"].contains(&name.as_str()));
        names
    }

    /// Kills start_server when its worker stands, which lives on.
    fn kill(setup: Setup) -> Server {
        let mut server = setup.role("orphan").up();
        kernel::kill(server.pid(), libc::SIGKILL);
        assert_eq!(server.end().signal(), Some(libc::SIGKILL));
        server
    }

    /// The end of a message that something is in use, by this worker; elsewhere than on Linux nobody knows.
    fn held_by(server: &Server) -> String {
        let pid = server.worker(1).pid;
        match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => format!(
                ": process {pid} ({}), a worker of a start_server that is gone",
                name.trim_end()
            ),
            Err(_) => String::new(),
        }
    }

    /// The same start again: refused with this line while the old worker lives; then it takes everything over.
    fn again(first: Server, options: &[&str], refusal: &str) {
        let worker = first.worker(1).pid;
        let before = left(&first);
        let second = || Setup::beside(&first.scratch, options).role("serve");
        let refused = second().args(["--", "true"]).finish();
        assert_eq!(
            refused.said,
            format!("start_server: {refusal}{}\n", held_by(&first))
        );
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(left(&first), before, "nothing was touched");
        assert_eq!(first.status(), [(1, worker)]);
        kernel::kill(worker, libc::SIGTERM);
        first.notes("signal 1 15");
        first.eventually("the end of the worker", || {
            (!kernel::exists(worker)).then_some(())
        });
        let mut server = second().env("WORKER_DIR", first.scratch.path("")).start();
        let expected = format!("{}\n", server.pid());
        first.eventually("the new pid file", || {
            (first.scratch.read("pid") == expected).then_some(())
        });
        first.eventually("the new status file", || {
            let status = first.status();
            (status.len() == 1 && status[0] != (1, worker)).then_some(())
        });
        if before.contains(&"socket".to_string()) {
            server.says("removing existing socket file:");
            UnixStream::connect(first.scratch.path("socket")).unwrap();
        }
        server.stop();
        assert_eq!(left(&first), [""; 0]);
    }

    #[test]
    fn a_start_after_it_names_the_worker_that_holds_the_port() {
        let port = free_port();
        let port = format!("--port=127.0.0.1:{port}");
        let options = [&port, "--pid-file=pid", "--status-file=status"];
        let refusal = format!("cannot bind {port}: Address already in use");
        again(kill(Setup::new(options)), &options, &refusal);
    }

    #[test]
    fn a_start_after_it_names_the_worker_that_listens_on_the_path() {
        let setup = Setup::new(["--pid-file=pid", "--status-file=status"]);
        let path = format!("--path={}", setup.scratch.path("socket").display());
        let refusal = format!("{path}: another process listens there");
        let first = kill(setup.args([&path]));
        let options = [&path, "--pid-file=pid", "--status-file=status"];
        again(first, &options, &refusal);
    }

    #[test]
    fn a_worker_that_no_status_file_tells_of_is_a_process_like_any_other() {
        let port = format!("--port=127.0.0.1:{}", free_port());
        let first = kill(Setup::new([port.as_str(), "--status-file=status"]));
        let second = Setup::beside(&first.scratch, [port.as_str(), "--", "true"]).finish();
        let stranger = held_by(&first).replace(", a worker of a start_server that is gone", "");
        let expected =
            format!("start_server: cannot bind {port}: Address already in use{stranger}\n");
        assert_eq!(second.said, expected);
        kernel::kill(first.worker(1).pid, libc::SIGTERM);
    }

    #[test]
    fn a_second_start_with_the_port_of_one_that_lives_is_refused_and_changes_nothing() {
        let port = format!("--port=127.0.0.1:{}", free_port());
        let options = [port.as_str(), "--status-file=status", "--path=socket"];
        let mut server = Setup::new(options).role("serve").up();
        let before = left(&server);
        let second = Setup::beside(&server.scratch, [port.as_str(), "--", "true"]).finish();
        assert_eq!(second.status.code(), Some(1));
        if cfg!(target_os = "linux") {
            let holder = format!("process {} (", server.pid());
            assert!(second.said.contains(&holder), "{}", second.said);
        }
        assert_eq!(left(&server), before);
        server.restart(2);
        server.stop();
    }
}
