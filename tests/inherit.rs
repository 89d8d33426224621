//! A worker receives more than its sockets: environment, arguments, descriptors, folder, signals.

use crate::support::fixtures::without_port;
use crate::support::worker::LIVE;
use crate::support::{kernel, Report, Server, Setup};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

/// Makes an executable file that writes down its arguments into the file `seen`, and its name before them.
fn executable(setup: &Setup, name: &str, first_line: &str) {
    let text = format!(
        "{first_line}printf '%s\\n' {name} \"$@\" > \"$WORKER_DIR\"/seen.new
mv \"$WORKER_DIR\"/seen.new \"$WORKER_DIR\"/seen
{LIVE}
"
    );
    setup.scratch.program(name, text);
}

/// Waits for the file `seen`, whole, and ends start_server.
fn seen(mut server: Server) -> Vec<u8> {
    let path = server.scratch.path("seen");
    let seen = server.eventually("what the worker saw", || fs::read(&path).ok());
    server.stop();
    seen
}

fn variables<const N: usize>(report: &Report, names: [&str; N]) -> [Option<String>; N] {
    names.map(|name| {
        report
            .variable(name)
            .map(|value| value.into_string().unwrap())
    })
}

#[test]
fn a_worker_inherits_every_variable_byte_for_byte() {
    let table: [(&str, &[u8]); 4] = [
        ("EMPTY", b""),
        ("BYTES", b"\x01\xff\xfe = \t\x80"),
        ("LINES", b"one\ntwo\r\n"),
        ("lower.case-1", b"odd name"),
    ];
    let mut setup = without_port([]);
    for (name, value) in table {
        setup = setup.env(name, OsStr::from_bytes(value));
    }
    let report = setup.start().worker(1);
    for (name, value) in table {
        let found = report.variable(name);
        assert_eq!(found.as_deref(), Some(OsStr::from_bytes(value)), "{name}");
    }
}

const STEERING: [&str; 4] = [
    "ENVDIR",
    "ENABLE_AUTO_RESTART",
    "KILL_OLD_DELAY",
    "AUTO_RESTART_INTERVAL",
];

#[test]
fn steering_options_are_variables_to_the_worker() {
    let options = [
        "--envdir=no/such/folder",
        "--enable-auto-restart",
        "--kill-old-delay=0",
        "--auto-restart-interval=1000",
    ];
    // The option goes before what was inherited.
    let setup = without_port(options)
        .env("ENVDIR", "other")
        .env("KILL_OLD_DELAY", "3");
    let report = setup.start().worker(1);
    let expected = ["no/such/folder", "1", "0", "1000"].map(|value| Some(value.to_string()));
    assert_eq!(variables(&report, STEERING), expected);
}

#[test]
fn steering_variables_not_given_are_not_made_up() {
    let report = without_port([]).start().worker(1);
    assert_eq!(variables(&report, STEERING), [const { None }; 4]);
}

#[test]
fn inherited_steering_variables_reach_the_worker() {
    let values = ["some/folder", "0", "0", "77"];
    let mut setup = without_port([]);
    for (name, value) in STEERING.into_iter().zip(values) {
        setup = setup.env(name, value);
    }
    let report = setup.start().worker(1);
    let expected = values.map(|value| Some(value.to_string()));
    assert_eq!(variables(&report, STEERING), expected);
}

#[test]
fn generations_count_from_one_whatever_was_inherited() {
    let setup = without_port([])
        .env("SERVER_STARTER_GENERATION", "41")
        .env("SERVER_STARTER_PORT", "80=3");
    let server = setup.start();
    for generation in 1..=3 {
        server.up(&[generation]);
        let report = server.worker(generation);
        let found = variables(
            &report,
            ["SERVER_STARTER_GENERATION", "SERVER_STARTER_PORT"],
        );
        assert_eq!(found, [Some(generation.to_string()), Some(String::new())]);
        assert_eq!(server.status(), [(generation, report.pid)]);
        server.hup();
    }
}

#[test]
fn envdir_covers_the_environment_and_is_read_for_each_worker() {
    let names = ["KEPT", "CHANGED", "ADDED"];
    let setup = without_port(["--envdir=env"])
        .file("env/CHANGED", "one\n")
        .env("KEPT", "inherited")
        .env("CHANGED", "inherited")
        .env("ADDED", "inherited");
    let server = setup.start();
    let expect = |generation, expected: [&str; 3]| {
        server.up(&[generation]);
        let found = variables(&server.worker(generation), names);
        assert_eq!(found, expected.map(|value| Some(value.to_string())));
    };
    expect(1, ["inherited", "one", "inherited"]);
    server.scratch.write("env/CHANGED", "two\n");
    server.scratch.write("env/ADDED", "two\n");
    server.hup();
    expect(2, ["inherited", "two", "two"]);
    // The inherited value comes back.
    fs::remove_file(server.scratch.path("env/ADDED")).unwrap();
    server.hup();
    expect(3, ["inherited", "two", "inherited"]);
}

/// The descriptors above 2 that this process would leave to any child.
fn strays() -> Vec<i32> {
    (3..256)
        .filter(|&fd| kernel::flags(fd).is_some_and(|(close_on_exec, _)| !close_on_exec))
        .collect()
}

#[test]
fn a_worker_has_standard_descriptors_and_listeners_and_nothing_else() {
    let files = ["--pid-file=pid", "--envdir=env"];
    for log in ["--interval=0", "--log-file=out", "--log-file=| cat > out"] {
        let server = without_port(files)
            .args([log, "--port=127.0.0.1:0", "--port=[::1]:u0", "--path=sock"])
            .file("env/A", "a\n")
            .start();
        for generation in 1..=2 {
            server.up(&[generation]);
            let report = server.worker(generation);
            let mut expected = [&[0, 1, 2], &strays()[..]].concat();
            expected.extend(report.ports().into_iter().map(|(_, fd)| fd));
            expected.sort_unstable();
            let found = report.all("fd");
            let number = |line: &String| line.split(' ').next().unwrap().parse().unwrap();
            let numbers: Vec<i32> = found.iter().map(number).collect();
            assert_eq!(numbers, expected, "{log}: {found:?}");
            // The first worker sets O_NONBLOCK, and the second one shares the sockets with it.
            let kept = [" blocking kept", " kept"][usize::from(generation > 1)];
            for (_, fd) in report.ports() {
                let line = report.descriptor(fd).unwrap();
                assert!(line.ends_with(kept), "{log}: {line}");
            }
            server.hup();
        }
    }
}

#[test]
fn a_descriptor_that_the_caller_left_open_stays_open() {
    let report = without_port(["--port=127.0.0.1:0"])
        .with(|command| kernel::on_fork(command, || kernel::duplicate(0, 50)))
        .start()
        .worker(1);
    assert_eq!(report.descriptor(50).unwrap(), "file - blocking kept");
}

#[test]
fn the_log_is_the_workers_output_too() {
    let mut server = Setup::new(["--interval=0", "--log-file=out"])
        .args(["--", "sh", "-c"])
        .args([&format!("echo to output; echo to error >&2; {LIVE}")])
        .launch();
    server.eventually("both lines in the log file", || {
        let text = server.scratch.read("out");
        (text.contains("to output\n") && text.contains("to error\n")).then_some(())
    });
    server.stop();
    assert_eq!(server.scratch.read("output"), "");
}

#[test]
fn dir_is_the_workers_folder_and_start_servers_files_are_not_in_it() {
    let setup = without_port(["--dir=sub", "--pid-file=pid", "--path=sock"]).file("sub/file", "");
    let server = setup.start();
    let report = server.worker(1);
    let scratch = server.scratch.path("").canonicalize().unwrap();
    assert_eq!(report.one("cwd"), scratch.join("sub").to_str().unwrap());
    server.up(&[1]);
    let names = server.scratch.names();
    for name in ["pid", "status", "sock"] {
        assert!(names.contains(&name.to_string()), "{name} in {names:?}");
    }
}

#[test]
fn without_dir_the_folder_is_start_servers_own() {
    let server = without_port([]).start();
    let scratch = server.scratch.path("").canonicalize().unwrap();
    assert_eq!(server.worker(1).one("cwd"), scratch.to_str().unwrap());
}

#[test]
fn a_programs_relative_path_begins_in_dir() {
    let setup = Setup::new(["--interval=0", "--dir=sub", "--", "./tool", "x"]);
    executable(&setup, "sub/tool", "#!/bin/sh\n");
    assert_eq!(seen(setup.launch()), b"sub/tool\nx\n");
}

/// A deploy by symbolic link: the names are followed again for each worker.
#[test]
fn dir_program_and_envdir_follow_a_link_that_changes() {
    let options = [
        "--dir=current",
        "--envdir=current/env",
        "--status-file=status",
    ];
    let mut setup = without_port(options);
    let scratch = fs::canonicalize(setup.scratch.path("")).unwrap();
    let place = |release: &str| {
        symlink(format!("releases/{release}"), scratch.join("new")).unwrap();
        fs::rename(scratch.join("new"), scratch.join("current")).unwrap();
    };
    for release in ["1", "2"] {
        setup = setup.file(&format!("releases/{release}/env/RELEASE"), release);
        let app = scratch.join("releases").join(release).join("app");
        symlink(std::env::current_exe().unwrap(), app).unwrap();
    }
    place("1");
    let mut server = setup.worker_at("./app").launch();
    server.worker(1);
    server.up(&[1]);
    place("2");
    // The program has this name in the second release only.
    fs::remove_file(scratch.join("releases/1/app")).unwrap();
    server.hup();
    for (generation, release) in [(1, "1"), (2, "2")] {
        let report = server.worker(generation);
        let folder = scratch.join("releases").join(release);
        assert_eq!(report.one("cwd"), folder.to_str().unwrap());
        assert_eq!(report.variable("RELEASE").unwrap(), release);
    }
    server.stop();
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let setup = Setup::new(["--interval=0", "--", "./tool"]);
    executable(&setup, "tool", "#!/bin/sh\n");
    let arguments: [&[u8]; 8] = [
        b"",
        b" a  b ",
        b"\xff\x80\x01",
        b"$HOME `id` *",
        b"'\"\\",
        b"--port=80",
        b"--",
        b"-x",
    ];
    let server = setup.args(arguments.map(OsStr::from_bytes)).launch();
    let mut expected = b"tool\n".to_vec();
    for argument in arguments {
        expected.extend([argument, b"\n"].concat());
    }
    assert_eq!(seen(server), expected);
}

#[test]
fn a_single_word_is_a_programs_name_and_no_shell_command() {
    let setup = Setup::new(["--interval=0", "--", "./a tool;"]);
    executable(&setup, "tool", "#!/bin/sh\n");
    fs::rename(setup.scratch.path("tool"), setup.scratch.path("a tool;")).unwrap();
    assert_eq!(seen(setup.launch()), b"tool\n");
}

/// `PATH` with the folder `bin` in front.
fn path_with_bin(setup: &Setup) -> OsString {
    let mut path = setup.scratch.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

#[test]
fn a_programs_bare_name_is_sought_in_path() {
    let setup = Setup::new(["--interval=0", "--", "tool", "x"]);
    executable(&setup, "bin/tool", "#!/bin/sh\n");
    let path = path_with_bin(&setup);
    assert_eq!(seen(setup.env("PATH", path).launch()), b"bin/tool\nx\n");
}

#[test]
fn a_programs_bare_name_is_sought_in_envdirs_path() {
    let setup = Setup::new(["--interval=0", "--envdir=env", "--", "tool", "x"]);
    executable(&setup, "bin/tool", "#!/bin/sh\n");
    let path = path_with_bin(&setup);
    let setup = setup.file("env/PATH", path.as_bytes());
    assert_eq!(seen(setup.launch()), b"bin/tool\nx\n");
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell() {
    let setup = Setup::new(["--interval=0", "--", "./tool", "x", "y z"]);
    executable(&setup, "tool", "");
    assert_eq!(seen(setup.launch()), b"tool\nx\ny z\n");
    let setup = Setup::new(["--interval=0", "--", "tool"]);
    executable(&setup, "bin/tool", "");
    let path = path_with_bin(&setup);
    assert_eq!(seen(setup.env("PATH", path).launch()), b"bin/tool\n");
}

/// A worker that says what the kernel knows of its signals, before any runtime has changed them.
#[cfg(target_os = "linux")]
fn signals(change: impl Fn() + Send + Sync + 'static) -> [u64; 3] {
    let setup = Setup::new(["--interval=0", "--", "sh", "-c"])
        .args([format!("cat /proc/self/status > new; mv new seen; {LIVE}")])
        .with(|command| kernel::on_fork(command, change));
    let status = String::from_utf8(seen(setup.launch())).unwrap();
    ["SigBlk:", "SigIgn:", "SigCgt:"].map(|key| {
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let set = u64::from_str_radix(value.unwrap().trim(), 16).unwrap();
        // Of 32 and 33, which belong to the C library, nobody can change the disposition.
        set & !(0b11 << 31)
    })
}

#[cfg(target_os = "linux")]
fn set_dispositions(signals: impl IntoIterator<Item = i32>, disposition: libc::sighandler_t) {
    for signal in signals {
        kernel::set_disposition(signal, disposition);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_ignores_sigpipe_and_no_other_and_blocks_none() {
    let found = signals(|| set_dispositions((1..32).chain(34..=64), libc::SIG_DFL));
    assert_eq!(found, [0, 1 << (libc::SIGPIPE - 1), 0]);
}

/// As under nohup(1).
#[cfg(target_os = "linux")]
#[test]
fn a_hup_restarts_even_if_the_caller_ignored_it() {
    let ignore = || set_dispositions([libc::SIGHUP], libc::SIG_IGN);
    let setup = without_port([]);
    let server = setup.with(|command| kernel::on_fork(command, ignore));
    let mut server = server.up();
    server.hup();
    server.up(&[2]);
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn the_signals_that_steer_start_server_are_default_in_a_worker_even_if_its_caller_ignored_them() {
    let steering = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGALRM];
    let [_, ignored, _] = signals(move || set_dispositions(steering, libc::SIG_IGN));
    for signal in steering {
        assert_eq!(ignored & 1 << (signal - 1), 0, "signal {signal}");
    }
}
