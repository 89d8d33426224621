//! What the system, the disk, readers and workers can do to start_server: each fault happens for real, and
//! supervision goes on.

use crate::support::fixtures::{serve, with_role};
#[cfg(target_os = "linux")]
use crate::support::program;
use crate::support::worker::LIVE;
use crate::support::{ask, free_port, kernel, now, skipped, Scratch, Server, Setup};
#[cfg(target_os = "linux")]
use std::ffi::OsString;
#[cfg(target_os = "linux")]
use std::fs::OpenOptions;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
#[cfg(target_os = "linux")]
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{symlink, PermissionsExt};
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
#[cfg(target_os = "linux")]
use std::process::{Child, Stdio};
use std::time::Duration;

/// The lowest number that no descriptor of the process has.
#[cfg(target_os = "linux")]
fn first_free(pid: i32) -> u64 {
    let is_free = |number: &u64| {
        fs::symlink_metadata(format!("/proc/{pid}/fd/{number}"))
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    (0..).find(is_free).unwrap()
}

mod exec {
    use super::*;

    const FAILED: &str = "seems to have failed to start, exit status:";

    /// A worker that stands, of a program that the test can spoil: `program` in the scratch folder.
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
        // So little of it is no program for the system: the shell gets it, as execvp(3) has it.
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
        let mut writer = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&program)
            .unwrap();
        writer.write_all(&good).unwrap();
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
        let big = server.scratch.write("envdir/BIG", vec![b'x'; 10_000_000]);
        let reason = &format!("{EXECUTE}Argument list too long\n");
        fails(&server, reason);
        fs::remove_file(big).unwrap();
        recovers(server, reason);
    }

    #[test]
    fn a_folder_that_is_gone_is_said_and_the_restart_completes_when_it_is_made_again() {
        let mut server = serve(["--dir=dir"]).file("dir/file", "").up();
        let dir = server.scratch.path("dir");
        fs::remove_dir_all(&dir).unwrap();
        let reason = "start_server: cannot enter --dir=dir: No such file or directory\n";
        fails(&server, reason);
        // Neither a file helps.
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
            without_program().with(kernel::refuse_fork),
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

    /// That a user has too many processes concerns everybody but root.
    #[cfg(target_os = "linux")]
    const USER: u32 = 54321;

    #[cfg(target_os = "linux")]
    #[test]
    fn with_too_many_processes_the_old_worker_serves_on_and_the_restart_completes_with_fewer() {
        let setup = serve(["--path=socket"]);
        let folder = setup.scratch.path("");
        let user = match fs::metadata(&folder).unwrap().uid() {
            0 => USER,
            ours => ours,
        };
        let by_user = |program: OsString, arguments: &[&str]| {
            let mut command = Command::new(program);
            let output = command.args(arguments).uid(user).output();
            output.is_ok_and(|output| output.status.success())
        };
        let programs = [program(), std::env::current_exe().unwrap().into()];
        if user == USER
            && !programs
                .into_iter()
                .all(|program| by_user(program, &["--help"]))
        {
            return skipped("programs that another user may run");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let mut server = setup
            .with(|command| {
                command.uid(user);
            })
            .start();
        let old = server.worker(1);
        server.up(&[1]);
        // Only the user himself may always do so.
        let limit = |processes| {
            let pid = format!("--pid={}", server.pid());
            let limit = format!("--nproc={processes}:");
            assert!(by_user("prlimit".into(), &[&pid, &limit]));
        };
        limit("0");
        server.hup();
        let reason = "start_server: cannot fork a new worker: Resource temporarily unavailable\n";
        server.says_times(reason, 3);
        server.up(&[1]);
        assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
        limit("4000");
        server.succeeded(1);
        server.stop();
        assert_eq!(server.count("received HUP"), 1);
    }

    /// A process whose children are to live in a container cannot fork any more once the first of them, process 1
    /// of the container, has died: for the system that is a want of memory.
    #[cfg(target_os = "linux")]
    #[test]
    fn without_memory_for_a_fork_it_tries_again_and_obeys() {
        let container = ["--map-root-user", "--pid"];
        let mut probe = Command::new("unshare");
        probe.args(container).arg("true");
        if !probe.status().is_ok_and(|status| status.success()) {
            return skipped("unshare that may make a container");
        }
        let mut unshare = Command::new("unshare");
        unshare.args(container).arg(program());
        let options = ["--port=127.0.0.1:0", "--interval=0", "--pid-file=pid"];
        let setup = Setup::by(unshare, options).args(["--status-file=status", "--path=socket"]);
        let mut server = setup
            .args(["--", "sh", "-c", &format!("trap : TERM; {LIVE}")])
            .launch();
        server.up(&[1]);
        kernel::kill(server.status()[0].1, libc::SIGKILL);
        server.up(&[]);
        server.says_times(
            "start_server: cannot fork a new worker: Cannot allocate memory\n",
            3,
        );
        server.stop();
        for name in ["pid", "status", "socket"] {
            assert!(!server.scratch.path(name).exists(), "{name}");
        }
    }

    /// As with a program or a folder on a server of NFS that is gone.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_that_hangs_on_its_way_to_the_program_holds_nobody_up() {
        let mut server = serve(["--path=socket"]).up();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &server.pid().to_string(), "-o"]);
        strace.arg(server.scratch.path("trace"));
        strace.args(["-e", "inject=execve:delay_enter=1000000000"]);
        let strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(strace) = strace else {
            return skipped("strace");
        };
        let mut strace = Ended(strace);
        let is_traced = || kernel::tracer(server.pid()).or(strace.0.try_wait().unwrap().map(|_| 0));
        if server.eventually("strace", is_traced) == 0 {
            return skipped("strace that may trace");
        }
        server.hup();
        server.says_times("starting new worker", 2);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.says("\nold worker ");
        server.term();
        server.says("received TERM, sending TERM to all workers:");
        drop(strace);
        assert!(server.end().success());
    }

    /// A child that does not outlive the test.
    #[cfg(target_os = "linux")]
    struct Ended(Child);

    #[cfg(target_os = "linux")]
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Not even those that are open count any more: poll(2) refuses to look at them.
    #[cfg(target_os = "linux")]
    #[test]
    fn without_any_descriptor_signals_are_obeyed_all_the_same() {
        let nofile = libc::RLIMIT_NOFILE;
        let cannot_poll = "start_server: cannot poll: Invalid argument\n";
        let cannot_fork = "start_server: cannot fork a new worker: Too many open files\n";
        let start = || serve(["--path=socket"]).up();
        let mut server = start();
        for times in 1..=2 {
            let generation = server.status()[0].0;
            let old = server.worker(generation);
            let before = kernel::limit_process(server.pid(), nofile, 0);
            // What poll waits in already goes on; a signal wakes it.
            server.signal(libc::SIGALRM);
            server.says_times(cannot_poll, times);
            let attempts = server.count(cannot_fork);
            server.hup();
            server.says_times("received HUP", times);
            server.says_times(cannot_fork, attempts + 3);
            assert_eq!(ask(old.port()).unwrap(), (generation, old.pid));
            assert_eq!(server.count(cannot_poll), times, "it is said once");
            kernel::limit_process(server.pid(), nofile, before);
            server.succeeded(generation);
            server.idle();
        }
        server.stop();
        assert_eq!(server.count(cannot_poll), 2);

        let mut server = start();
        kernel::limit_process(server.pid(), nofile, 0);
        server.stop();
        for name in ["pid", "status", "socket"] {
            assert!(!server.scratch.path(name).exists(), "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_a_free_descriptor_everything_but_the_start_goes_on() {
        let setup = serve(["--envdir=envdir", "--path=socket"])
            .file("envdir/WORKER_ROLE", "linger")
            .file("envdir/VALUE", "before");
        let mut server = setup.start();
        let old = server.worker(1);
        server.up(&[1]);
        server.idle();
        let nofile = libc::RLIMIT_NOFILE;
        let before = kernel::limit_process(server.pid(), nofile, first_free(server.pid()));
        server.scratch.write("envdir/VALUE", "after");
        server.hup();
        server.says_times(
            "start_server: cannot fork a new worker: Too many open files\n",
            3,
        );
        assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
        // The status file has a descriptor in reserve.
        kernel::kill(old.pid, libc::SIGKILL);
        server.up(&[]);
        kernel::limit_process(server.pid(), nofile, before);
        server.succeeded(1);
        let (generation, _) = server.status()[0];
        let value = |generation| server.worker(generation).variable("VALUE");
        // Between reading envdir and starting it the limit may have gone.
        assert!([Some("before".into()), Some("after".into())].contains(&value(generation)));
        server.scratch.write("leave", "");
        server.hup();
        server.succeeded(generation);
        assert_eq!(value(server.status()[0].0), Some("after".into()));
        server.stop();
        let passed_over =
            "start_server: ignoring envdir: Too many open files; keeping the values read before\n";
        assert_eq!(server.count(passed_over), 1, "{}", server.log());
        assert_eq!(server.count("cannot write the status file"), 0);
        assert!(!server.scratch.path("socket").exists());
    }
}

mod readers {
    use super::*;
    use std::os::fd::OwnedFd;

    /// Makes `error` the standard error of start_server.
    fn with_error(setup: Setup, error: &OwnedFd) -> Setup {
        let number = error.as_raw_fd();
        setup.with(|command| kernel::on_fork(command, move || kernel::duplicate(number, 2)))
    }

    /// What the worker runs before it serves: more than a pipe has room for.
    const FLOOD: &str = "{ yes flood | head -c 1000000 >&2 & }";

    /// Everything until all writers are gone.
    fn rest(reader: OwnedFd) -> String {
        let mut text = Vec::new();
        File::from(reader).read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn a_flooded_pipe_that_nobody_reads_delays_no_restart_and_no_end() {
        let (reader, writer) = kernel::pipe();
        let mut server = with_error(serve([]), &writer).start_silent(FLOOD);
        server.worker(1);
        for generation in 2..=4 {
            server.restart(generation);
        }
        server.stop();
        drop(reader);
    }

    /// More complaints than pipe and queue together have room for.
    const ODD_FILES: usize = 1000;

    #[test]
    fn lines_that_found_no_room_are_counted_and_told_when_it_flows_again() {
        let mut setup = serve(["--envdir=envdir"]);
        for number in 0..ODD_FILES {
            setup = setup.file(&format!("envdir/={number}{}", "x".repeat(200)), "value");
        }
        let (reader, writer) = kernel::pipe();
        let mut server = with_error(setup, &writer).start_silent(":");
        drop(writer);
        server.worker(1);
        server.up(&[1]);
        server.restart(2);
        let text = std::thread::scope(|scope| {
            let text = scope.spawn(|| rest(reader));
            // Its last lines come when there is room: when the others have been read.
            server.idle();
            server.stop();
            text.join().unwrap()
        });
        let lost: usize = text
            .lines()
            .filter_map(|line| line.strip_suffix(" lines could not be written"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        let told = text.matches("ignoring envdir/=").count();
        assert!(
            told < ODD_FILES && told + lost >= ODD_FILES,
            "{told} {lost}"
        );
        assert!(text.ends_with("exiting\n"), "{text}");
        assert!(
            text.lines().all(|line| line.len() < 300),
            "no line is broken"
        );
    }

    #[test]
    fn a_reader_that_is_gone_ends_nobody() {
        let (reader, writer) = kernel::pipe();
        let mut server = with_error(serve([]), &writer).start_silent(":");
        server.worker(1);
        drop(reader);
        for generation in 2..=3 {
            server.restart(generation);
        }
        kernel::kill(server.worker(3).pid, libc::SIGKILL);
        server.up(&[4]);
        server.stop();
    }

    #[test]
    fn a_terminal_held_by_ctrl_s_delays_nothing_and_gets_its_lines_later() {
        let (user, program) = kernel::terminal();
        kernel::let_flow(&program, false);
        let mut server = with_error(serve([]), &program).start_silent(":");
        server.worker(1);
        server.up(&[1]);
        server.restart(2);
        kernel::let_flow(&program, true);
        // Of the test's side, since at the end of the last program's a terminal forgets what was not read.
        let mut shown = String::new();
        let mut user = File::from(user);
        while !shown.contains("starting new worker") || !shown.contains("received HUP") {
            let mut bytes = [0; 4096];
            let count = user.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        kernel::let_flow(&program, false);
        server.restart(3);
        server.stop();
    }

    #[test]
    fn a_stopped_log_command_delays_nothing_and_gets_its_lines_later() {
        let log = "--log-file=| echo $$ > log-pid; exec cat > log-file";
        let mut server = serve([log]).start_silent(FLOOD);
        server.worker(1);
        let pid: i32 = server.eventually("the log command", || {
            let text = server.scratch.read("log-pid");
            text.strip_suffix('\n').map(|pid| pid.parse().unwrap())
        });
        kernel::kill(pid, libc::SIGSTOP);
        for generation in 2..=4 {
            server.restart(generation);
        }
        kernel::kill(pid, libc::SIGCONT);
        server.eventually("the lines of the restarts", || {
            let told = server
                .scratch
                .read("log-file")
                .matches("received HUP")
                .count();
            (told == 3).then_some(())
        });
        kernel::kill(pid, libc::SIGSTOP);
        server.stop();
        kernel::kill(pid, libc::SIGKILL);
    }

    #[test]
    fn a_log_command_that_cannot_run_is_started_again_and_again_and_ends_nobody() {
        let begun = now();
        let log = "--log-file=| echo >> tries; exec /no/such/program";
        let mut server = serve([log]).start_silent(":");
        server.worker(1);
        server.restart(2);
        server.eventually("a third try", || {
            (server.scratch.read("tries").lines().count() >= 3).then_some(())
        });
        // A slow machine makes it longer, never shorter.
        assert!(begun.elapsed() >= Duration::from_secs(2));
        server.restart(3);
        server.stop();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_command_that_dies_without_a_free_descriptor_is_there_again_when_there_is_one() {
        let log = "--log-file=| echo $$ >> log-pids; exec cat >> log-file";
        let mut server = serve([log]).start_silent(":");
        let old = server.worker(1);
        server.up(&[1]);
        let pids = || server.scratch.read("log-pids");
        let first = server.eventually("the log command", || {
            pids().strip_suffix('\n').map(|pid| pid.parse().unwrap())
        });
        server.idle();
        let free = first_free(server.pid());
        let before = kernel::limit_process(server.pid(), libc::RLIMIT_NOFILE, free);
        kernel::kill(first, libc::SIGKILL);
        kernel::kill(old.pid, libc::SIGKILL);
        server.up(&[]);
        kernel::limit_process(server.pid(), libc::RLIMIT_NOFILE, before);
        server.succeeded(1);
        server.eventually("its successor", || {
            (pids().lines().count() == 2).then_some(())
        });
        server.stop();
        server.eventually("the end of the log", || {
            let log = server.scratch.read("log-file");
            log.contains("exiting\n").then_some(())
        });
    }

    /// With a worker that writes more than anybody could read, and would die of SIGPIPE.
    fn flooding(log: &str) -> Server {
        with_role("flood", [log]).up()
    }

    #[test]
    fn a_log_command_that_dies_again_and_again_under_a_flood_takes_nobody_with_it() {
        let mut server =
            flooding("--log-file=| echo >> tries; head -c 1000000 | tail -c 1 >> tail");
        for (generation, tries) in (1..).zip(1..=3) {
            server.eventually("another log command", || {
                (server.scratch.read("tries").lines().count() > tries).then_some(())
            });
            let worker = server.worker(generation);
            assert_eq!(ask(worker.port()).unwrap(), (generation, worker.pid));
            server.restart(generation + 1);
        }
        server.stop();
        assert_eq!(server.started().len(), 4, "none but those asked for");
    }

    #[test]
    fn a_flood_delays_no_restart_and_drowns_no_line() {
        let mut server = flooding("--log-file=| grep --line-buffered -v '^flood$' > log-file");
        for generation in 2..=6 {
            server.restart(generation);
        }
        server.stop();
        let log = || server.scratch.read("log-file");
        server.eventually("the end of the log", || {
            log().ends_with("exiting\n").then_some(())
        });
        let log = log();
        for line in ["received HUP", "killing old workers"] {
            let told = log.lines().filter(|found| found.starts_with(line)).count();
            assert_eq!(told, 5, "{log}");
        }
    }

    #[test]
    fn a_log_that_is_a_fifo_without_a_reader_holds_nobody_up_and_its_lost_lines_are_told() {
        // The same life, with a file: how many lines there are to lose.
        let mut server = serve(["--log-file=log-file"]).start_silent(":");
        server.worker(1);
        server.up(&[1]);
        (2..=3).for_each(|generation| server.restart(generation));
        server.stop();
        let expected = server.scratch.read("log-file").lines().count();

        let setup = serve(["--log-file=fifo"]);
        let fifo = setup.scratch.path("fifo");
        kernel::make_fifo(&fifo);
        // The worker is not killed by SIGPIPE, but told by an error.
        let mut server = setup.start_silent("echo nobody reads this >&2 || : >refused");
        server.worker(1);
        server.up(&[1]);
        assert!(server.scratch.path("refused").exists());
        server.restart(2);
        server.idle();
        let reader = File::open(&fifo).unwrap();
        server.restart(3);
        server.stop();
        let text = rest(reader.into());
        let (lost, told): (Vec<_>, Vec<_>) = text
            .lines()
            .filter(|line| *line != "nobody reads this")
            .partition(|line| line.ends_with(" lines could not be written"));
        let [lost] = lost[..] else {
            panic!("{text}");
        };
        let count = lost.strip_prefix("start_server: ").unwrap();
        let count = count.split(' ').next().unwrap();
        assert_eq!(
            count.parse::<usize>().unwrap() + told.len(),
            expected,
            "{text}"
        );
        assert!(told[0].starts_with("received HUP"), "{text}");
        assert_eq!(told.last(), Some(&"exiting"), "{text}");
        assert!(fifo.exists());
    }

    #[test]
    fn a_reader_of_a_fifo_may_come_and_go() {
        let setup = serve(["--log-file=fifo"]);
        let fifo = setup.scratch.path("fifo");
        kernel::make_fifo(&fifo);
        let mut server = setup.start_silent(":");
        server.worker(1);
        server.up(&[1]);
        for generation in [2, 4, 6] {
            let mut reader = BufReader::new(File::open(&fifo).unwrap());
            server.restart(generation);
            let mut line = String::new();
            while !line.contains("received HUP") {
                line.clear();
                assert_ne!(reader.read_line(&mut line).unwrap(), 0);
            }
            drop(reader);
            server.restart(generation + 1);
        }
        server.stop();
    }
}

mod workers {
    use super::*;

    #[test]
    fn every_exit_status_and_signal_is_told_as_the_system_has_it() {
        let scripts = [
            "exit 0",
            "exit 1",
            "exit 127",
            "exit 255",
            "kill -TERM $$",
            "kill -KILL $$",
            "kill -USR1 $$",
            "kill -SEGV $$",
            "ulimit -c unlimited; kill -SEGV $$",
            "ulimit -c unlimited; kill -ABRT $$",
            "ulimit -c 0; kill -ABRT $$",
        ];
        for script in scripts {
            let setup = Setup::new(["--interval=1", "--", "sh", "-c", script]);
            // The same, without start_server: whether there is a core depends on the machine.
            let mut alone = Command::new("sh");
            alone
                .args(["-c", script])
                .current_dir(setup.scratch.path(""));
            let expected = alone.status().unwrap().into_raw();
            let mut server = setup.launch();
            server.says(&format!(
                "seems to have failed to start, exit status:{expected}\n"
            ));
            server.stop();
        }
    }

    #[test]
    fn the_status_of_a_worker_that_stood_is_told_too() {
        let mut server = serve([]).start();
        server.worker(1);
        for (generation, signal) in (1..).zip([libc::SIGKILL, libc::SIGILL, libc::SIGUSR2]) {
            server.up(&[generation]);
            let pid = server.worker(generation).pid;
            kernel::kill(pid, signal);
            server.eventually("its death", || {
                let log = server.log();
                let death = format!("worker {pid} died unexpectedly with status:");
                let status = log.lines().find_map(|line| line.strip_prefix(&death))?;
                let status: i32 = status.strip_suffix(", restarting")?.parse().ok()?;
                // The core flag is the machine's.
                (status & !0x80 == signal).then_some(())
            });
        }
        server.up(&[4]);
        server.stop();
    }

    #[test]
    fn an_old_worker_that_dies_while_its_successor_is_being_proved_is_survived() {
        let mut server = serve(["--interval=3"]).up();
        server.hup();
        server.worker(2);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.up(&[]);
        server.up(&[2]);
        server.stop();
        assert_eq!(server.started().len(), 2);
    }

    #[test]
    fn old_and_new_worker_that_die_together_are_both_replaced_by_one() {
        let mut server = serve(["--interval=3"]).up();
        server.hup();
        server.worker(2);
        for generation in [1, 2] {
            kernel::kill(server.worker(generation).pid, libc::SIGKILL);
        }
        server.up(&[3]);
        server.stop();
        assert_eq!(server.started().len(), 3);
    }

    #[test]
    fn workers_that_die_while_they_are_being_ended_let_it_end() {
        let mut server = with_role("linger", []).up();
        server.hup();
        server.worker(2);
        server.up(&[1, 2]);
        server.term();
        server.notes("signal 2 15");
        for generation in [2, 1] {
            kernel::kill(server.worker(generation).pid, libc::SIGKILL);
        }
        assert!(server.end().success());
        assert_eq!(server.started().len(), 2);
    }

    #[test]
    fn grandchildren_that_outlive_a_worker_are_neither_waited_for_nor_told_of() {
        let line = format!("({LIVE}) >silence 2>&1 & echo $! >>grandchildren");
        let mut server = serve([]).start_silent(&line);
        server.worker(1);
        server.restart(2);
        server.stop();
        let grandchildren = server.scratch.read("grandchildren");
        for pid in grandchildren.lines() {
            assert!(kernel::exists(pid.parse().unwrap()));
            assert!(!server.log().contains(&format!("worker {pid} ")));
        }
        assert_eq!(grandchildren.lines().count(), 2);
        assert_eq!(server.count(" died, status:0\n"), 2);
    }

    #[test]
    fn a_worker_that_closes_its_listener_closes_it_for_nobody_else() {
        let setup = Setup::new([
            "--port=127.0.0.1:0=7",
            "--interval=0",
            "--status-file=status",
        ])
        .role("serve")
        .file("closes", "");
        let line = format!("test -e closes && {{ exec 7<&-; rm closes; {LIVE}; }}");
        let mut server = setup.start_silent(&line);
        server.eventually("the first one's deed", || {
            (!server.scratch.path("closes").exists()).then_some(())
        });
        server.restart(2);
        let second = server.worker(2);
        assert_eq!(ask(second.tcp_port(7)).unwrap(), (2, second.pid));
        server.stop();
    }

    /// A service on a port of its own, whose worker can shut it down; what is said when it listens again.
    struct Shut {
        server: Server,
        port: u16,
        again: String,
    }

    /// `role` is what its first worker is.
    fn to_shut(role: &str, options: &[&str]) -> Shut {
        // A port that the system has chosen is lost by shutdown(2).
        let port = free_port();
        let setup = Setup::new([format!("--port=127.0.0.1:{port}")]).args(options);
        let setup = setup.args(["--status-file=status", "--envdir=envdir"]);
        let server = setup.file("envdir/WORKER_ROLE", role).up();
        let again = format!(
            "start_server: listening again on 127.0.0.1:{port}, which a worker had shut down\n"
        );
        Shut {
            server,
            port,
            again,
        }
    }

    #[test]
    fn a_listener_that_a_worker_shut_down_before_it_died_listens_again() {
        let others = ["--interval=0", "--port=127.0.0.1:u0", "--path=socket"];
        let mut shut = to_shut("shuts", &others);
        for generation in 1..=2 {
            let worker = shut.server.worker(generation).pid;
            kernel::kill(worker, libc::SIGUSR1);
            shut.server.notes(&format!("shut {generation}"));
            assert!(ask(shut.port).is_err());
            kernel::kill(worker, libc::SIGKILL);
            shut.server.says_times(&shut.again, generation as usize);
            shut.server.up(&[generation + 1]);
        }
        assert_eq!(ask(shut.port).unwrap().0, 3);
        shut.server.stop();
        let log = shut.server.log();
        assert!(!log.contains("cannot listen again"), "{log}");
    }

    #[test]
    fn a_listener_that_an_old_worker_shut_down_in_the_end_listens_again_for_its_successor() {
        let mut shut = to_shut("shuts", &["--interval=0"]);
        shut.server.scratch.write("envdir/WORKER_ROLE", "serve");
        shut.server.restart(2);
        shut.server.says(&shut.again);
        let worker = shut.server.worker(2).pid;
        assert_eq!(ask(shut.port).unwrap(), (2, worker));
        shut.server.restart(3);
        shut.server.stop();
        assert_eq!(shut.server.count(&shut.again), 1);
    }

    #[test]
    fn a_failed_start_that_shut_the_listener_down_does_not_take_it_from_the_old_worker() {
        let mut shut = to_shut("serve", &["--interval=3"]);
        let old = shut.server.worker(1);
        shut.server.scratch.write("envdir/WORKER_ROLE", "shuts");
        shut.server.hup();
        kernel::kill(shut.server.worker(2).pid, libc::SIGTERM);
        shut.server.says(&shut.again);
        assert_eq!(ask(shut.port).unwrap(), (1, old.pid));
        shut.server.scratch.write("envdir/WORKER_ROLE", "serve");
        shut.server.succeeded(1);
        shut.server.stop();
    }

    /// Nothing mends it, but nothing else suffers.
    #[test]
    fn a_unix_socket_that_a_worker_shut_down_stops_nothing() {
        let mut server = Setup::new(["--path=socket", "--interval=0", "--status-file=status"])
            .role("shuts")
            .up();
        kernel::kill(server.worker(1).pid, libc::SIGUSR1);
        server.notes("shut 1");
        server.restart(2);
        server.stop();
        assert!(!server.scratch.path("socket").exists());
    }

    #[test]
    fn a_worker_that_dumps_core_is_told_so() {
        const DUMP: &str = "ulimit -c unlimited; kill -ABRT $$";
        let folder = crate::support::Scratch::new();
        let mut alone = Command::new("sh");
        alone.args(["-c", DUMP]).current_dir(folder.path(""));
        let status = alone.status().unwrap();
        if !status.core_dumped() {
            return skipped("a system that dumps cores");
        }
        let status = status.into_raw();
        assert_eq!(status, libc::SIGABRT | 0x80);
        // In the interval, as the current worker, as an old one, and at the end.
        let mut server = serve(["--interval=1", "--", "sh", "-c", DUMP]).launch();
        server.says(&format!(
            "seems to have failed to start, exit status:{status}\n"
        ));
        server.stop();
        let dumping = format!("trap '{DUMP}' USR1 TERM; echo >>ready; {LIVE}");
        let setup = serve(["--signal-on-hup=USR1"]);
        let mut server = setup.args(["--", "sh", "-c", &dumping]).launch();
        let stands = |generation| {
            server.up(&[generation]);
            server.eventually("its trap", || {
                let ready = server.scratch.read("ready").lines().count();
                (ready as u64 == generation).then_some(())
            });
            server.status()[0].1
        };
        let first = stands(1);
        kernel::kill(first, libc::SIGUSR1);
        server.says(&format!(
            "worker {first} died unexpectedly with status:{status}, restarting\n"
        ));
        let second = stands(2);
        server.hup();
        server.says(&format!("old worker {second} died, status:{status}\n"));
        let third = stands(3);
        server.stop();
        server.says(&format!("worker {third} died, status:{status}\n"));
    }

    #[test]
    fn a_worker_that_stops_itself_is_ended_all_the_same() {
        let setup = serve([]);
        let mut server = setup.args(["--", "sh", "-c", "kill -STOP $$"]).launch();
        server.up(&[1]);
        server.stop();
    }
}
