//! The command line, as Getopt::Long reads it.

use crate::support::worker::LIVE;
use crate::support::Setup;

/// The program of these tests: writes down which options have reached it, and its arguments.
const TOOL: &str = r#"#!/bin/sh
{
    printf %s "${ENVDIR+envdir=$ENVDIR }"
    printf %s "${ENABLE_AUTO_RESTART+auto=$ENABLE_AUTO_RESTART }"
    printf %s "${AUTO_RESTART_INTERVAL+every=$AUTO_RESTART_INTERVAL }"
    printf %s "${KILL_OLD_DELAY+delay=$KILL_OLD_DELAY }"
    printf %s "${SERVER_STARTER_PORT:+port=${SERVER_STARTER_PORT%%=*} }"
    printf %s "${PWD##*/}:"
    printf ' %s' "$@"
} > "$WORKER_DIR"/new
mv "$WORKER_DIR"/new "$WORKER_DIR"/seen
"#;

/// A command line, its words told apart by blanks, in a folder with the program `tool` and the folder `sub`.
fn setup(line: &str) -> Setup {
    let setup = Setup::new(line.split(' ')).file("sub/file", "");
    setup.scratch.program("tool", format!("{TOOL}{LIVE}\n"));
    setup
}

/// The command line as the program sees it.
fn seen(line: &str) -> String {
    let mut server = setup(&format!("--interval=0 {line}")).launch();
    let scratch = server.scratch.path("");
    let folder = scratch.file_name().unwrap().to_str().unwrap().to_string();
    server.eventually(&format!("the program of {line:?}"), || {
        server.scratch.path("seen").exists().then_some(())
    });
    let seen = server.scratch.read("seen");
    server.stop();
    seen.replace(&folder, ".")
}

/// Runs the rows of a table: a command line and what the program sees of it.
fn check<const N: usize>(table: [(&str, &str); N]) {
    for (line, expected) in table {
        assert_eq!(seen(line).trim_end(), expected, "{line:?}");
    }
}

#[test]
fn a_value_is_attached_or_the_next_word_whatever_it_looks_like() {
    check([
        ("--envdir=a ./tool", "envdir=a .:"),
        ("--envdir a ./tool", "envdir=a .:"),
        ("--envdir=a=b ./tool", "envdir=a=b .:"),
        ("--envdir --stop ./tool", "envdir=--stop .:"),
        ("--envdir -- ./tool", "envdir=-- .:"),
        ("--kill-old-delay 4 ./tool", "delay=4 .:"),
        ("--path --x ./tool", "port=--x .:"),
        ("--port 127.0.0.1:0 ./tool", "port=127.0.0.1:0 .:"),
    ]);
}

#[test]
fn a_name_has_one_dash_or_two_any_case_and_any_unique_beginning() {
    check([
        ("-kill-old-delay=4 ./tool", "delay=4 .:"),
        ("-kill-old-delay 4 ./tool", "delay=4 .:"),
        ("--KILL-Old-delay=4 ./tool", "delay=4 .:"),
        ("--k=4 -B=9 ./tool", "delay=4 .:"),
        ("-k 4 ./tool", "delay=4 .:"),
        ("--env a --ena ./tool", "envdir=a auto=1 .:"),
        ("--a=500 ./tool", "every=500 .:"),
        ("--po=127.0.0.1:0 ./tool", "port=127.0.0.1:0 .:"),
        ("--pa=sock ./tool", "port=sock .:"),
        ("--di=sub ../tool", "sub:"),
        ("--l=log2 --pi=pid --sta=status ./tool", ".:"),
    ]);
}

#[test]
fn the_last_of_a_repeated_option_wins() {
    check([
        ("--kill-old-delay=4 --k=5 ./tool", "delay=5 .:"),
        (
            "--envdir=a --kill-old-delay=4 --envdir=b ./tool",
            "envdir=b delay=4 .:",
        ),
        ("--dir=nowhere --dir=sub ../tool", "sub:"),
    ]);
}

#[test]
fn options_may_follow_the_program_up_to_a_double_dash() {
    check([
        ("./tool --kill-old-delay=4 x y", "delay=4 .: x y"),
        ("./tool x --kill-old-delay 4 y", "delay=4 .: x y"),
        (
            "./tool x -- --kill-old-delay=4 y",
            ".: x --kill-old-delay=4 y",
        ),
        (
            "--k=3 -- ./tool --kill-old-delay=4 --no",
            "delay=3 .: --kill-old-delay=4 --no",
        ),
        ("-- ./tool x -- y", ".: x -- y"),
        ("./tool - x", ".: - x"),
    ]);
}

#[test]
fn a_whole_number_may_have_a_sign_zeroes_and_underscores() {
    check([
        ("--kill-old-delay=+4 ./tool", "delay=4 .:"),
        ("--kill-old-delay=007 ./tool", "delay=7 .:"),
        ("--kill-old-delay=-0 ./tool", "delay=0 .:"),
        ("--kill-old-delay 1_000 ./tool", "delay=1000 .:"),
        ("--auto-restart-interval=1__0_ ./tool", "every=10 .:"),
    ]);
}

#[test]
fn options_that_getopt_refuses_are_refused_and_leave_nothing_behind() {
    let table = [
        "--nonsense ./tool",
        "--ports=80 ./tool",
        "./tool --nonsense",
        "./tool -x",
        "--help --nonsense",
        // Ambiguous.
        "--p=80 ./tool",
        "--d=sub ./tool",
        "--e ./tool",
        "--en ./tool",
        "--s=TERM ./tool",
        "--st ./tool",
        "--signal-on=TERM ./tool",
        // The value is missing, or there is one too many.
        "--port",
        "./tool --envdir",
        "--envdir= ./tool",
        "--interval= ./tool",
        "--daemonize=1 --log-file=log2 ./tool",
        "--enable-auto-restart= ./tool",
        // No whole numbers.
        "--interval=0.5 ./tool",
        "--interval=1e3 ./tool",
        "--interval=x ./tool",
        "--interval=3x ./tool",
        "--interval=+ ./tool",
        "--interval=_ ./tool",
        "--interval -- ./tool",
        "--interval --port=80 ./tool",
        "--kill-old-delay=1.0 ./tool",
        "--auto-restart-interval=0x10 ./tool",
        "--backlog=many ./tool",
    ];
    table.into_iter().for_each(refused);
}

#[test]
fn an_option_without_its_counterpart_is_refused_and_leaves_nothing_behind() {
    let table = [
        "--port=127.0.0.1:0",
        "--path=sock --pid-file=pid --status-file=status --log-file=log2",
        "--path=sock --pid-file=pid --",
        "--daemonize --path=sock --pid-file=pid ./tool",
        "--restart",
        "--restart --pid-file=pid",
        "--restart --status-file=status",
        "--restart --path=sock ./tool",
        "--stop",
        "--stop --status-file=status",
        "--stop --path=sock ./tool",
    ];
    table.into_iter().for_each(refused);
}

/// It ends with an error and a reason, has not run the program, and has made no file.
fn refused(line: &str) {
    let finished = setup(line).finish();
    assert_ne!(finished.status.code(), Some(0), "{line:?}");
    assert_ne!(finished.said, "", "{line:?}");
    assert_eq!(finished.printed, "", "{line:?}");
    let names = finished.server.scratch.names();
    assert_eq!(names, ["log", "output", "sub", "tool"], "{line:?}");
}

#[test]
fn help_and_version_are_printed_and_nothing_is_done() {
    let table = [
        ("--help", true),
        ("-h", true),
        ("--HELP --path=sock ./tool", true),
        ("--stop --version --help", true),
        ("--version", false),
        ("-v", false),
        ("./tool --path=sock --ver", false),
        ("--restart --version", false),
    ];
    for (line, help) in table {
        let finished = setup(line).finish();
        assert_eq!(finished.status.code(), Some(0), "{line:?}");
        assert_eq!(finished.said, "", "{line:?}");
        let printed = finished.printed;
        assert_eq!(printed.contains("--port="), help, "{line:?}: {printed}");
        assert_eq!(printed.lines().count() == 1, !help, "{line:?}: {printed}");
        let names = finished.server.scratch.names();
        assert_eq!(names, ["log", "output", "sub", "tool"], "{line:?}");
    }
}

#[test]
fn a_signal_has_a_name_in_any_case_or_a_number() {
    let number = libc::SIGUSR1.to_string();
    for name in ["USR1", "usr1", "SIGUSR1", "sigUsr1", &number] {
        let options = [
            "--interval=0".to_string(),
            format!("--signal-on-term={name}"),
        ];
        let mut server = Setup::new(options).role("serve").start();
        server.worker(1);
        server.stop();
        server.notes(&format!("signal 1 {number}"));
    }
}
