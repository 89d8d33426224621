//! Odd files in envdir, files that change, and ten thousand of them.

use crate::support::clients::Ends;
use crate::support::fixtures::serve;
use crate::support::{kernel, permissions_count, skipped, Scratch};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn files_that_are_no_variables_are_ignored_with_one_message_or_in_silence() {
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
fn a_file_that_may_not_be_read_is_ignored_in_silence() {
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
            // The manual tells administrators to write a file whole and then to rename it into place.
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
fn a_value_that_changes_while_it_is_read_is_one_that_was_there() {
    let mut setup = serve(["--envdir=envdir"]);
    for name in ["A", "B", "C", "D"] {
        setup = setup.env(name, "inherited");
        setup = setup.file(&format!("envdir/{name}"), "a".repeat(LONG));
    }
    let mut server = setup.file("envdir/STAYS", "value").up();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| change_all_the_time(&server.scratch, &enough));
        let _ends = Ends(&enough);
        for generation in 2..=30 {
            server.restart(generation);
        }
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

/// It could take all the memory and all the time.
#[test]
fn an_envdir_of_too_many_files_or_bytes_is_not_read() {
    let mut server = serve(["--envdir=envdir"]).file("envdir/A", "a").up();
    let path = server.scratch.path("envdir");
    let is_kept = |generation, reason: &str| {
        server.scratch.write("envdir/A", "b");
        server.restart(generation);
        assert_eq!(server.worker(generation).variable("A"), Some("a".into()));
        let line =
            format!("start_server: ignoring envdir: {reason}; keeping the values read before\n");
        assert_eq!(server.count(&line), 1, "{}", server.log());
    };
    for number in 0..150 {
        server
            .scratch
            .write(format!("envdir/V{number}"), "x".repeat(120_000));
    }
    is_kept(2, "its variables have more than 16 MiB");
    for number in 0..20_000 {
        fs::write(path.join(format!("V{number}")), "").unwrap();
    }
    is_kept(3, "it has more than 20000 files");
    fs::remove_dir_all(&path).unwrap();
    server.scratch.write("envdir/A", "c");
    server.restart(4);
    assert_eq!(server.worker(4).variable("A"), Some("c".into()));
    server.stop();
}

#[test]
fn warnings_have_an_end() {
    let mut setup = serve(["--envdir=envdir"]);
    for number in 0..600 {
        setup = setup.file(&format!("envdir/{number}="), "value");
    }
    let mut server = setup.up();
    server.stop();
    let warning = "a variable name cannot contain =\n";
    assert_eq!(server.count(warning), 500, "{}", server.log());
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
