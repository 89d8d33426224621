//! What the system, the disk, readers and workers can do to start_server: each fault happens for real, and
//! supervision goes on.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{ask, kernel, passed_over, Server, Setup};

#[test]
fn worker() {
    support::worker::run();
}

fn serve<const N: usize>(options: [&str; N]) -> Setup {
    after_interval(0, options)
}

fn after_interval<const N: usize>(seconds: u32, options: [&str; N]) -> Setup {
    Setup::new(["--port=127.0.0.1:0", &format!("--interval={seconds}")])
        .args(["--pid-file=pid", "--status-file=status"])
        .args(options)
        .role("serve")
}

/// Starts it with the test binary as a worker that writes nothing into the log; `line` is shell to run before.
fn start_silent(setup: Setup, line: &str) -> Server {
    let line = format!("{line}; exec \"$0\" \"$@\" >silence 2>&1");
    let worker = std::env::current_exe().unwrap();
    let setup = setup.args(["--", "sh", "-c", &line]).args([worker]);
    setup.args(support::worker::ARGUMENTS).launch()
}

/// Restarts, and waits until the worker of this generation stands alone.
fn restart(server: &Server, generation: u64) {
    server.hup();
    server.worker(generation);
    server.standing(&[generation]);
}

fn count(server: &Server, text: &str) -> usize {
    server.log().matches(text).count()
}

/// Waits until a worker newer than this stands alone, though nobody asks for it.
fn succeeded(server: &Server, generation: u64) {
    server.eventually("a successor", || {
        let status = server.status();
        (status.len() == 1 && status[0].0 > generation).then_some(())
    });
}

mod exec {
    use super::*;

    const FAILED: &str = "seems to have failed to start, exit status:";

    /// A worker that stands, of a program that the test can spoil: `program` in the scratch folder.
    fn spoilable(setup: Setup) -> (Server, PathBuf) {
        let program = setup.scratch.path("program");
        symlink(std::env::current_exe().unwrap(), &program).unwrap();
        let setup = setup.args(["--", "./program"]);
        let server = setup.args(support::worker::ARGUMENTS).launch();
        server.worker(1);
        server.standing(&[1]);
        (server, program)
    }

    /// Several attempts at a restart fail, each with this `reason`; the old worker serves on.
    fn fails(server: &Server, reason: &str) {
        let old = server.worker(1);
        server.hup();
        server.says_times(reason, 3);
        server.standing(&[1]);
        assert_eq!(ask(old.port()).unwrap(), (1, old.pid));
    }

    /// The cause is gone: the restart completes without another HUP.
    fn recovers(mut server: Server, reason: &str) {
        succeeded(&server, 1);
        server.stop();
        assert_eq!(count(&server, reason), count(&server, FAILED));
        assert_eq!(count(&server, "received HUP"), 1);
    }

    /// `spoiled` takes the program's place for a while.
    fn with_program(spoiled: impl FnOnce(&Path), reason: &str) {
        with_program_of(serve([]), spoiled, reason);
    }

    fn with_program_of(setup: Setup, spoiled: impl FnOnce(&Path), reason: &str) {
        let (server, program) = spoilable(setup);
        let good = server.scratch.path("good");
        fs::rename(&program, &good).unwrap();
        spoiled(&program);
        fails(&server, reason);
        fs::rename(&good, &program).unwrap();
        recovers(server, reason);
    }

    fn make_program(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    const EXECUTE: &str = "start_server: cannot execute ./program: ";

    #[test]
    fn a_program_that_is_gone_is_said_and_the_restart_completes_when_it_is_back() {
        with_program(|_| {}, &format!("{EXECUTE}No such file or directory\n"));
    }

    #[test]
    fn a_program_that_may_not_be_executed_is_said_and_the_restart_completes_when_it_may() {
        with_program(
            |path| make_program(path, b"#!/bin/sh\n", 0o644),
            &format!("{EXECUTE}Permission denied\n"),
        );
    }

    #[test]
    fn a_program_without_its_interpreter_is_said() {
        with_program(
            |path| make_program(path, b"#!/no/such/interpreter\n", 0o755),
            &format!("{EXECUTE}No such file or directory\n"),
        );
    }

    #[test]
    fn a_program_that_links_to_itself_is_said() {
        with_program(
            |path| symlink("program", path).unwrap(),
            &format!("{EXECUTE}Too many levels of symbolic links\n"),
        );
    }

    #[test]
    fn a_truncated_program_fails_and_the_restart_completes_when_it_is_whole() {
        let text = fs::read(std::env::current_exe().unwrap()).unwrap();
        // So little of it is no program for the system: the shell gets it, as execvp(3) has it.
        for length in [32, 4096] {
            let truncated = |path: &Path| make_program(path, &text[..length], 0o755);
            with_program_of(after_interval(1, []), truncated, FAILED);
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
        let mut server = serve(["--dir=dir"]).file("dir/file", "").start();
        server.worker(1);
        server.standing(&[1]);
        let dir = server.scratch.path("dir");
        fs::remove_dir_all(&dir).unwrap();
        let reason = "start_server: cannot enter --dir=dir: No such file or directory\n";
        fails(&server, reason);
        // Neither a file helps.
        fs::write(&dir, "").unwrap();
        server.says("start_server: cannot enter --dir=dir: Not a directory\n");
        fs::remove_file(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        succeeded(&server, 1);
        server.stop();
        assert_eq!(
            count(&server, "cannot enter --dir=dir: "),
            count(&server, FAILED)
        );
    }

    /// The lowest number that no descriptor of the process has.
    #[cfg(target_os = "linux")]
    fn first_free(pid: i32) -> u64 {
        let is_free = |number: &u64| {
            fs::symlink_metadata(format!("/proc/{pid}/fd/{number}"))
                .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        (0..).find(is_free).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_a_free_descriptor_everything_but_the_start_goes_on() {
        let setup = serve(["--envdir=envdir", "--path=socket"])
            .file("envdir/WORKER_ROLE", "linger")
            .file("envdir/VALUE", "before");
        let mut server = setup.start();
        let old = server.worker(1);
        server.standing(&[1]);
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
        server.standing(&[]);
        kernel::limit_process(server.pid(), nofile, before);
        succeeded(&server, 1);
        let (generation, _) = server.status()[0];
        let value = |generation| server.worker(generation).variable("VALUE");
        // Between reading envdir and starting it the limit may have gone.
        assert!([Some("before".into()), Some("after".into())].contains(&value(generation)));
        server.scratch.write("leave", "");
        server.hup();
        succeeded(&server, generation);
        assert_eq!(value(server.status()[0].0), Some("after".into()));
        server.stop();
        let passed_over =
            "start_server: passing over envdir: Too many open files; what it said before holds\n";
        assert_eq!(count(&server, passed_over), 1, "{}", server.log());
        assert_eq!(count(&server, "cannot write the status file"), 0);
        assert!(!server.scratch.path("socket").exists());
    }
}

mod disk {
    use super::*;

    const FAILURE: &str = "start_server: cannot write the status file: ";
    const RECOVERY: &str = "start_server: the status file is written again\n";

    /// Whether the last good file is whole: it tells of the first worker.
    fn is_as_before(server: &Server, first: i32) -> bool {
        server.scratch.read("status") == format!("1:{first}\n")
    }

    /// What is planted where start_server would make its next status file.
    fn planted(plant: impl FnOnce(&Path), reason: &str, is_untouched: impl Fn(&Path) -> bool) {
        let mut server = serve([]).file("victim", "precious").start();
        let first = server.worker(1).pid;
        server.standing(&[1]);
        let temporary = server.scratch.path(format!("status.{}", server.pid()));
        plant(&temporary);
        for generation in 2..=4 {
            server.hup();
            server.worker(generation);
            server.says_times("killing old workers", generation as usize - 1);
        }
        server.says_times("old worker ", 3);
        assert!(
            is_as_before(&server, first),
            "{}",
            server.scratch.read("status")
        );
        assert!(is_untouched(&temporary));
        assert_eq!(server.scratch.read("victim"), "precious");
        fs::rename(&temporary, server.scratch.path("moved")).unwrap();
        server.standing(&[4]);
        server.stop();
        assert_eq!(count(&server, &format!("{FAILURE}{reason}\n")), 1);
        assert_eq!(count(&server, FAILURE), 1, "{}", server.log());
        assert_eq!(count(&server, RECOVERY), 1);
        assert!(!server.scratch.path("status").exists());
    }

    #[test]
    fn a_file_at_the_temporary_name_is_not_overwritten() {
        planted(
            |path| fs::write(path, "planted").unwrap(),
            "File exists",
            |path| fs::read(path).unwrap() == b"planted",
        );
    }

    #[test]
    fn a_symbolic_link_at_the_temporary_name_is_not_followed() {
        for target in ["victim", "no-such-file", "/dev/null"] {
            planted(
                |path| symlink(target, path).unwrap(),
                "File exists",
                |path| fs::read_link(path).unwrap() == Path::new(target),
            );
        }
    }

    #[test]
    fn a_fifo_and_a_folder_at_the_temporary_name_stop_nothing() {
        planted(kernel::make_fifo, "File exists", |path| path.exists());
        planted(
            |path| fs::create_dir(path).unwrap(),
            "File exists",
            Path::is_dir,
        );
    }

    #[test]
    fn a_removed_folder_is_said_once_and_the_status_file_is_there_as_soon_as_it_is_back() {
        let mut server = Setup::new(["--interval=0", "--status-file=dir/status"])
            .file("dir/file", "")
            .role("serve")
            .start();
        server.worker(1);
        let dir = server.scratch.path("dir");
        let status = || server.scratch.read("dir/status");
        server.eventually("the first worker", || {
            status().starts_with("1:").then_some(())
        });
        fs::remove_dir_all(&dir).unwrap();
        for generation in 2..=4 {
            server.hup();
            server.worker(generation);
            server.says_times("old worker ", generation as usize - 1);
        }
        fs::create_dir(&dir).unwrap();
        // Nothing happens but that it can be written.
        let expected = format!("4:{}\n", server.worker(4).pid);
        server.eventually("the last worker", || (status() == expected).then_some(()));
        server.stop();
        assert_eq!(count(&server, FAILURE), 1, "{}", server.log());
        assert_eq!(count(&server, RECOVERY), 1);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn an_unwritable_folder_is_said_once_and_the_last_good_file_stays_whole() {
        let mut server = Setup::new(["--interval=0", "--status-file=dir/status"])
            .file("dir/file", "")
            .role("serve")
            .start();
        let first = server.worker(1).pid;
        let dir = server.scratch.path("dir");
        let status = || server.scratch.read("dir/status");
        server.eventually("the first worker", || {
            status().starts_with("1:").then_some(())
        });
        let allow = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        allow(0o555);
        if fs::write(dir.join("probe"), "").is_ok() {
            return passed_over("a user who may not write everywhere");
        }
        for generation in 2..=4 {
            server.hup();
            server.worker(generation);
            server.says_times("old worker ", generation as usize - 1);
        }
        assert_eq!(status(), format!("1:{first}\n"));
        allow(0o755);
        let expected = format!("4:{}\n", server.worker(4).pid);
        server.eventually("the last worker", || (status() == expected).then_some(()));
        server.stop();
        assert_eq!(count(&server, &format!("{FAILURE}Permission denied\n")), 1);
        assert_eq!(count(&server, FAILURE), 1, "{}", server.log());
        assert_eq!(count(&server, RECOVERY), 1);
    }

    /// A setup whose folder `disk` is a disk of its own, with room for very little; `None` where nobody lets us.
    #[cfg(target_os = "linux")]
    fn on_small_disk(options: &[&str]) -> Option<Setup> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount"]);
        let mut probe = Command::new("unshare");
        probe.args([
            "--map-root-user",
            "--mount",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
        ]);
        if !probe.output().is_ok_and(|probe| probe.status.success()) {
            passed_over("unshare that may mount");
            return None;
        }
        unshare
            .args([
                "sh",
                "-c",
                "mount -t tmpfs -o size=64k none disk && exec \"$0\" \"$@\"",
            ])
            .arg(support::program());
        Some(
            Setup::by(unshare, ["--port=127.0.0.1:0", "--interval=0"])
                .args(options)
                .file("disk/file", "")
                .role("serve"),
        )
    }

    /// Fills the disk that only start_server sees, to the last byte. Removing the file makes room again.
    #[cfg(target_os = "linux")]
    fn fill(disk: &Path) -> PathBuf {
        let path = disk.join("filling");
        let mut file = File::create(&path).unwrap();
        let mut size = 4096;
        while size > 0 {
            match file.write(&vec![b'x'; size]) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => size /= 2,
            }
        }
        path
    }

    /// The folder `disk` as start_server sees it.
    #[cfg(target_os = "linux")]
    fn disk(server: &Server) -> PathBuf {
        let path = server.scratch.path("disk");
        Path::new(&format!("/proc/{}/root", server.pid())).join(path.strip_prefix("/").unwrap())
    }

    #[cfg(target_os = "linux")]
    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said_once_and_the_last_good_status_file_stays_whole() {
        let Some(setup) = on_small_disk(&["--status-file=disk/status"]) else {
            return;
        };
        let mut server = setup.start();
        let first = server.worker(1).pid;
        let status = disk(&server).join("status");
        let before = format!("1:{first}\n");
        server.eventually("the first worker", || {
            (text(&status) == before).then_some(())
        });
        let filling = fill(&disk(&server));
        for generation in 2..=4 {
            server.hup();
            server.worker(generation);
            server.says_times("old worker ", generation as usize - 1);
        }
        assert_eq!(text(&status), before);
        assert_eq!(
            fs::read_dir(disk(&server)).unwrap().count(),
            2,
            "nothing half written"
        );
        fs::remove_file(filling).unwrap();
        let after = format!("4:{}\n", server.worker(4).pid);
        server.eventually("the last worker", || (text(&status) == after).then_some(()));
        server.stop();
        assert_eq!(
            count(&server, &format!("{FAILURE}No space left on device\n")),
            1
        );
        assert_eq!(count(&server, FAILURE), 1, "{}", server.log());
        assert_eq!(count(&server, RECOVERY), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_full_disk_had_no_room_for_is_in_the_log_when_there_is_room() {
        let options = ["--log-file=disk/log", "--status-file=status"];
        let Some(setup) = on_small_disk(&options) else {
            return;
        };
        let mut server = start_silent(setup, ":");
        server.worker(1);
        server.standing(&[1]);
        let log = disk(&server).join("log");
        let filling = fill(&disk(&server));
        let begun = text(&log).len();
        // More lines than the file's last block has room for.
        for generation in 2..=40 {
            restart(&server, generation);
        }
        assert!(!text(&log)[begun..].contains("starting new worker 40"));
        fs::remove_file(filling).unwrap();
        server.eventually("every line", || {
            let told = text(&log).matches("received HUP").count();
            (told == 39).then_some(())
        });
        server.stop();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_log_that_is_always_full_stops_nothing() {
        let mut server = start_silent(serve(["--log-file=/dev/full"]), ":");
        server.worker(1);
        for generation in 2..=4 {
            restart(&server, generation);
        }
        server.stop();
        assert_eq!(server.scratch.read("pid"), "");
    }

    /// As a quota does: some bytes may still be written, more not.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_status_file_that_would_be_cut_short_does_not_replace_the_good_one() {
        let log = "--log-file=| cat > log-file";
        let setup = Setup::new(["--interval=0", "--status-file=status", log]);
        let live = "while test -d \"$WORKER_DIR\"; do sleep 1; done";
        let mut server = setup.args(["--", "sh", "-c", live]).launch();
        server.standing(&[1]);
        let first = server.status()[0].1;
        let says = |text: &str| {
            server.eventually(text, || {
                server.scratch.read("log-file").contains(text).then_some(())
            });
        };
        let before = kernel::limit_process(server.pid(), libc::RLIMIT_FSIZE, 2);
        server.hup();
        says(&format!("{FAILURE}File too large\n"));
        says("old worker ");
        assert!(is_as_before(&server, first));
        kernel::limit_process(server.pid(), libc::RLIMIT_FSIZE, before);
        server.standing(&[2]);
        server.stop();
    }

    #[test]
    fn a_log_file_whose_folder_is_gone_stops_nothing() {
        let mut server = serve(["--log-file=dir/log"]).file("dir/file", "").start();
        server.worker(1);
        fs::remove_dir_all(server.scratch.path("dir")).unwrap();
        for generation in 2..=3 {
            restart(&server, generation);
        }
        server.stop();
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
        let mut server = start_silent(with_error(serve([]), &writer), FLOOD);
        server.worker(1);
        for generation in 2..=4 {
            restart(&server, generation);
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
        let mut server = start_silent(with_error(setup, &writer), ":");
        drop(writer);
        server.worker(1);
        server.standing(&[1]);
        restart(&server, 2);
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
        let told = text.matches("passing over envdir/=").count();
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
        let mut server = start_silent(with_error(serve([]), &writer), ":");
        server.worker(1);
        drop(reader);
        for generation in 2..=3 {
            restart(&server, generation);
        }
        kernel::kill(server.worker(3).pid, libc::SIGKILL);
        server.standing(&[4]);
        server.stop();
    }

    #[test]
    fn a_terminal_held_by_ctrl_s_delays_nothing_and_gets_its_lines_later() {
        let (user, program) = kernel::terminal();
        kernel::let_flow(&program, false);
        let mut server = start_silent(with_error(serve([]), &program), ":");
        server.worker(1);
        server.standing(&[1]);
        restart(&server, 2);
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
        restart(&server, 3);
        server.stop();
    }

    #[test]
    fn a_stopped_log_command_delays_nothing_and_gets_its_lines_later() {
        let log = "--log-file=| echo $$ > log-pid; exec cat > log-file";
        let (_reader, writer) = kernel::pipe();
        let mut server = start_silent(with_error(serve([log]), &writer), FLOOD);
        server.worker(1);
        let pid: i32 = server.eventually("the log command", || {
            let text = server.scratch.read("log-pid");
            text.strip_suffix('\n').map(|pid| pid.parse().unwrap())
        });
        kernel::kill(pid, libc::SIGSTOP);
        for generation in 2..=4 {
            restart(&server, generation);
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
        let mut server = start_silent(
            serve(["--log-file=| echo >> tries; exec /no/such/program"]),
            ":",
        );
        server.worker(1);
        restart(&server, 2);
        server.eventually("a second try", || {
            (server.scratch.read("tries").lines().count() >= 2).then_some(())
        });
        restart(&server, 3);
        server.stop();
    }
}

mod workers {
    use super::*;

    /// What shell workers end with: they live until TERM, or until the scratch folder of a failed test is gone.
    const LIVE: &str = "while test -d \"$WORKER_DIR\"; do sleep 1; done";

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
            server.standing(&[generation]);
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
        server.standing(&[4]);
        server.stop();
    }

    #[test]
    fn an_old_worker_that_dies_while_its_successor_is_being_proved_is_survived() {
        let mut server = after_interval(3, []).start();
        server.worker(1);
        server.standing(&[1]);
        server.hup();
        server.worker(2);
        kernel::kill(server.worker(1).pid, libc::SIGKILL);
        server.standing(&[]);
        server.standing(&[2]);
        server.stop();
        assert_eq!(server.started().len(), 2);
    }

    #[test]
    fn old_and_new_worker_that_die_together_are_both_replaced_by_one() {
        let mut server = after_interval(3, []).start();
        server.worker(1);
        server.standing(&[1]);
        server.hup();
        server.worker(2);
        for generation in [1, 2] {
            kernel::kill(server.worker(generation).pid, libc::SIGKILL);
        }
        server.standing(&[3]);
        server.stop();
        assert_eq!(server.started().len(), 3);
    }

    #[test]
    fn workers_that_die_while_they_are_being_ended_let_it_end() {
        let mut server = serve([]).role("linger").start();
        server.worker(1);
        server.standing(&[1]);
        server.hup();
        server.worker(2);
        server.standing(&[1, 2]);
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
        let mut server = start_silent(serve([]), &line);
        server.worker(1);
        restart(&server, 2);
        server.stop();
        let grandchildren = server.scratch.read("grandchildren");
        for pid in grandchildren.lines() {
            assert!(kernel::exists(pid.parse().unwrap()));
            assert!(!server.log().contains(&format!("worker {pid} ")));
        }
        assert_eq!(grandchildren.lines().count(), 2);
        assert_eq!(count(&server, " died, status:0\n"), 2);
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
        let mut server = start_silent(setup, &line);
        server.eventually("the first one's deed", || {
            (!server.scratch.path("closes").exists()).then_some(())
        });
        restart(&server, 2);
        let second = server.worker(2);
        assert_eq!(ask(second.tcp_port(7)).unwrap(), (2, second.pid));
        server.stop();
    }

    #[test]
    fn a_worker_that_stops_itself_is_ended_all_the_same() {
        let setup = serve([]);
        let mut server = setup.args(["--", "sh", "-c", "kill -STOP $$"]).launch();
        server.standing(&[1]);
        server.stop();
    }
}
