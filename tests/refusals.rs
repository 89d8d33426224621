//! Bad input gets one line that names it and exit status 1, and nothing is touched.

use crate::support::{free_port, kernel, permissions_count, run_beside, skipped, Scratch, Setup};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{chown, symlink, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// These options would leave something behind, if the rest of the command line were right.
const MAKING: [&str; 5] = [
    "--port=127.0.0.1:0",
    "--path=new-socket",
    "--pid-file=new-pid",
    "--status-file=new-status",
    "--log-file=new-log",
];

/// Everything of each file that start_server could have changed.
fn files(folder: &Scratch) -> Vec<(String, [u64; 6], Option<PathBuf>)> {
    let each = folder.names().into_iter().map(|name| {
        let path = folder.path(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let numbers = [
            metadata.dev(),
            metadata.ino(),
            metadata.mode().into(),
            metadata.len(),
            metadata.mtime() as u64,
            metadata.mtime_nsec() as u64,
        ];
        (name, numbers, fs::read_link(path).ok())
    });
    each.collect()
}

#[test]
fn bad_input_gets_one_line_and_touches_nothing() {
    let folder = Scratch::new();
    folder.write("file", "kept");
    folder.write("not-executable/file", "");
    symlink("nowhere", folder.path("link")).unwrap();
    symlink("file", folder.path("to-file")).unwrap();
    kernel::make_fifo(&folder.path("fifo"));
    let _live = UnixListener::bind(folder.path("live")).unwrap();
    let _datagram = UnixDatagram::bind(folder.path("datagram")).unwrap();
    for (name, pid) in [
        ("zero", "0\n"),
        ("negative", "-1\n"),
        ("word", "init\n"),
        ("lines", "1\n2\n"),
        ("empty", ""),
    ] {
        folder.write(name, pid);
    }
    let long = format!("--path={}", "x".repeat(200));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--port=127.0.0.1:{}", taken.local_addr().unwrap().port());
    let free = format!("--port=127.0.0.1:{}", free_port());
    let run: [&[&str]; 60] = [
        &["--port=http"],
        &["--port=70000"],
        &["--port=host.invalid:80"],
        &["--port=[::1]x:80"],
        &["--port=[::1"],
        &["--port=::1"],
        &["--port=:80"],
        &["--port=80=1"],
        &["--port=80=2"],
        &["--port=80=99999999"],
        &["--port=80="],
        &["--port=127.0.0.1:0=5", "--port=127.0.0.1:0=5"],
        &[&taken],
        &[&free, &free],
        &[&free, &taken],
        &["--path=made", &taken],
        &["--path=file"],
        &["--path=link"],
        &["--path=fifo"],
        &["--path=."],
        &["--path=live"],
        &["--path=datagram"],
        &["--path=missing/socket"],
        &["--path=made", "--path=made"],
        &["--path=made", "--path=./made"],
        &["--path=made", "--path=file"],
        &[&long],
        &["--path="],
        &["--interval=-1"],
        &["--interval=1.5"],
        &["--interval="],
        &["--interval=99999999999"],
        &["--kill-old-delay=-1"],
        &["--auto-restart-interval=x"],
        &["--backlog=-1"],
        &["--backlog=99999999999"],
        &["--signal-on-hup=NONE"],
        &["--signal-on-term=65"],
        &["--dir=missing"],
        &["--dir=file"],
        &["--path=made", "--dir=missing"],
        &["--status-file=missing/status"],
        &["--status-file=."],
        &["--status-file=fifo"],
        &["--pid-file=missing/pid"],
        &["--pid-file=fifo"],
        &["--pid-file=file"],
        &["--pid-file=to-file"],
        &["--pid-file=link"],
        &["--pid-file=word"],
        &["--pid-file=lines"],
        &["--pid-file=negative"],
        &["--path=made", "--log-file=missing/log"],
        &["--log-file=|"],
        &["--pid-file=same", "--status-file=same"],
        &["--pid-file=same.details", "--status-file=same"],
        &["--log-file=same", "--status-file=./same"],
        &["--log-file=file", "--status-file=to-file"],
        &["--path=same", "--status-file=same"],
        &["--log-file=link", "--status-file=nowhere"],
    ];
    // Found out only after one of them was bound, which is then gone again.
    let late = |options: &[&str]| options == ["--path=made", "--path=./made"];
    let before = files(&folder);
    let changed = || fs::metadata(folder.path("")).unwrap().mtime_nsec();
    let refused = |arguments: &[&str], is_late| {
        let begun = changed();
        let (code, said) = run_beside(&folder, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("start_server: ") && said.ends_with('\n'),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert_eq!(files(&folder), before, "{arguments:?}: {said}");
        // No file was there even for a moment.
        assert!(changed() == begun || is_late, "{arguments:?}: {said}");
        said
    };
    for options in run {
        // Alone, and among others that would make something.
        // The log is opened before the pid file, of which only then is found out what it is.
        let making = match options {
            ["--pid-file=fifo"] => &MAKING[..4],
            _ => &MAKING,
        };
        for (others, is_late) in [(&[][..], late(options)), (making, true)] {
            let said = refused(&[others, options, &["--", "true"]].concat(), is_late);
            let blamed = options
                .iter()
                .any(|option| said.contains(option.trim_end_matches('=')));
            assert!(blamed || said.contains("descriptor"), "{options:?}: {said}");
        }
    }
    let refused = |arguments: &[&str]| refused(arguments, false);
    refused(&[]);
    refused(&MAKING);
    refused(&["--daemonize", "true"]);
    refused(&["--stop"]);
    refused(&["--restart", "--pid-file=zero"]);
    for pid_file in [
        "zero", "negative", "word", "lines", "empty", "missing", "fifo", ".",
    ] {
        let pid_file = format!("--pid-file={pid_file}");
        assert!(refused(&["--stop", &pid_file]).contains(&pid_file));
        assert!(refused(&["--restart", &pid_file, "--status-file=file"]).contains(&pid_file));
    }
    assert_eq!(folder.read("file"), "kept");
    // The ports that were given are free as before.
    TcpListener::bind(free.strip_prefix("--port=").unwrap()).unwrap();
}

#[test]
fn a_file_that_permissions_forbid_is_refused_and_nothing_is_touched() {
    if !permissions_count() {
        return skipped("a user who may not write everywhere");
    }
    let folder = Scratch::new();
    for name in ["file", "closed/file", "unread/file"] {
        folder.write(name, "1\n");
    }
    let allow = |name: &str, mode| {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    allow("file", 0o400);
    allow("closed/file", 0o400);
    allow("closed", 0o500);
    allow("unread/file", 0);
    allow("unread", 0o600);
    let run: [(&str, &str); 9] = [
        ("--pid-file=file", "Permission denied"),
        ("--pid-file=closed/pid", "Permission denied"),
        ("--status-file=closed/status", "Permission denied"),
        ("--status-file=closed/file", "Permission denied"),
        ("--log-file=file", "Permission denied"),
        ("--log-file=closed/log", "Permission denied"),
        ("--path=closed/socket", "cannot bind: Permission denied"),
        ("--path=unread/socket", "cannot bind: Permission denied"),
        ("--dir=unread", "Permission denied"),
    ];
    let inside =
        || ["closed", "unread"].map(|name| fs::metadata(folder.path(name)).unwrap().mtime_nsec());
    let before = (files(&folder), inside());
    let heed = |command: &mut Command| kernel::on_fork(command, kernel::heed_permissions);
    for (option, reason) in run {
        for others in [&[][..], &MAKING] {
            let setup = Setup::beside(&folder, others).args([option, "--", "true"]);
            let ended = setup.with(heed).finish();
            assert_eq!(ended.said, format!("start_server: {option}: {reason}\n"));
            assert_eq!(ended.status.code(), Some(1));
            assert_eq!((files(&folder), inside()), before, "{option}");
        }
    }
    for name in ["closed", "unread"] {
        allow(name, 0o700);
    }
}

/// Makes what is neither a pid file nor a status file. `unreadable` is so for who heeds permissions.
fn odd_files(folder: &Scratch) -> UnixListener {
    symlink("nowhere", folder.path("dangling")).unwrap();
    symlink("loop", folder.path("loop")).unwrap();
    for (name, target) in [
        ("null", "/dev/null"),
        ("zero", "/dev/zero"),
        ("full", "/dev/full"),
    ] {
        symlink(target, folder.path(name)).unwrap();
    }
    fs::create_dir(folder.path("folder")).unwrap();
    kernel::make_fifo(&folder.path("fifo"));
    let texts: [(&str, &[u8]); 14] = [
        ("empty", b""),
        ("newline", b"\n"),
        ("number-0", b"0\n"),
        ("number-minus-1", b"-1\n"),
        ("numbers", b"1 2\n"),
        ("lines", b"1\n2\n"),
        ("plus", b"+1\n"),
        ("huge", b"99999999999999999999999999999999999999\n"),
        ("wrapped", b"4294967297\n"),
        ("huge-lines", b"99999999999999999999:99999999999999999999\n"),
        ("half-lines", b":\n1:\n:1\n-1:-1\n 1:1 \n"),
        ("binary", b"\x7fELF\xff\xfe\x80\x01"),
        ("nuls", b"\0\0\0\0"),
        ("nul-after", b"1\0\n"),
    ];
    for (name, text) in texts {
        folder.write(name, text);
    }
    folder.write("ten-megabytes", vec![b'1'; 10_000_000]);
    folder.write("ten-megabytes-of-lines", "1\n".repeat(5_000_000));
    folder.write("unreadable", "1\n");
    fs::set_permissions(folder.path("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    UnixListener::bind(folder.path("socket")).unwrap()
}

#[test]
fn stop_and_restart_refuse_at_once_whatever_is_no_pid_file_and_no_status_file() {
    // The true ones, to have only one wrong at a time.
    let mut server = Setup::new(["--interval=0", "--pid-file=pid", "--status-file=status"])
        .role("serve")
        .up();
    let folder = Scratch::new();
    let _listener = odd_files(&folder);
    let mut names = folder.names();
    names.extend(["missing", "null/pid", ".", ""].map(str::to_string));
    if !permissions_count() {
        skipped("a user who may not read everything");
        names.retain(|name| name != "unreadable");
    }
    let before = files(&folder);
    let heed = |command: &mut Command| kernel::on_fork(command, kernel::heed_permissions);
    let refused = |arguments: &[&str], blamed: &str| {
        let ended = Setup::beside(&folder, arguments).with(heed).finish();
        let said = ended.said;
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("start_server: ") && said.contains(blamed),
            "{arguments:?}: {said}"
        );
        assert!(
            said.ends_with('\n') && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
        assert!(said.len() < 300, "{arguments:?}: {said}");
        assert_eq!(ended.printed, "");
        assert_eq!(files(&folder), before, "{arguments:?}");
    };
    let true_one = |name: &str| server.scratch.path(name).display().to_string();
    let pid = format!("--pid-file={}", true_one("pid"));
    let status = format!("--status-file={}", true_one("status"));
    for name in names {
        let odd = format!("--pid-file={name}");
        let blamed = odd.trim_end_matches('=');
        refused(&["--stop", &odd], blamed);
        refused(&["--restart", &odd, &status], blamed);
        let odd = format!("--status-file={name}");
        refused(&["--restart", &pid, &odd], odd.trim_end_matches('='));
    }
    server.stop();
    // Signalled by this test's TERM and by nothing before.
    assert_eq!(server.count("received"), 1, "{}", server.log());
}

/// Even for `--status`: such a file does not show that nothing runs.
#[test]
fn a_pid_file_that_cannot_be_read_is_1_for_every_command() {
    if !permissions_count() {
        return skipped("permissions that count");
    }
    let folder = Scratch::new();
    let file = folder.write("pid", "1\n");
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    for command in ["--status", "--stop", "--restart", "--upgrade"] {
        let options = [command, "--pid-file=pid", "--status-file=status"];
        let options = &options[..if command == "--stop" { 2 } else { 3 }];
        let setup = Setup::beside(&folder, options)
            .with(|command| kernel::on_fork(command, kernel::heed_permissions));
        let ended = setup.finish();
        let expected = "start_server: --pid-file=pid: Permission denied\n";
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", ended.said);
        assert_eq!(ended.said, expected, "{command}");
    }
}

#[test]
fn stop_and_restart_signal_nobody_whose_number_is_in_a_file_that_he_does_not_hold() {
    let mut server = Setup::new(["--interval=0", "--pid-file=pid", "--status-file=status"])
        .role("serve")
        .up();
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    for pid in [stranger.id() as i32, server.pid(), server.worker(1).pid] {
        server.scratch.write("other", format!("{pid}\n"));
        for arguments in [
            &["--stop", "--pid-file=other"][..],
            &["--restart", "--pid-file=other", "--status-file=status"],
        ] {
            let (code, said) = run_beside(&server.scratch, arguments);
            let expected = format!(
                "start_server: --pid-file=other: start_server is not running: process {pid} does not hold the lock\n"
            );
            assert_eq!((code, said), (Some(1), expected));
        }
    }
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
    server.stop();
    assert_eq!(server.count("received"), 1, "{}", server.log());
    assert_eq!(server.count("died unexpectedly"), 0, "{}", server.log());
}

/// In a folder where everybody may make files, somebody else could choose whom `--stop` signals.
#[test]
fn a_pid_file_of_somebody_else_in_a_shared_folder_is_refused() {
    if !kernel::is_root() {
        return skipped("root");
    }
    let options = [
        "--interval=0",
        "--status-file=status",
        "--pid-file=shared/pid",
    ];
    let setup = Setup::new(options).role("serve").file("shared/pid", "1\n");
    let (shared, pid_file) = (
        setup.scratch.path("shared"),
        setup.scratch.path("shared/pid"),
    );
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    chown(&pid_file, Some(65_534), None).unwrap();
    let start = || run_beside(&setup.scratch, &["--pid-file=shared/pid", "--", "true"]);
    let reason = "it belongs to user 65534, who could change it";
    let line = format!("start_server: --pid-file=shared/pid: {reason}\n");
    assert_eq!(start(), (Some(1), line));
    assert_eq!(fs::read(&pid_file).unwrap(), b"1\n");
    chown(&pid_file, Some(0), None).unwrap();
    setup.up().stop();
}

#[test]
fn a_pid_file_is_written_by_nobody_else_whatever_the_umask_is() {
    let setup = Setup::new(["--interval=0", "--pid-file=pid", "--status-file=status"]);
    let mut server = setup
        .role("serve")
        .with(|command| kernel::on_fork(command, || kernel::set_umask(0)))
        .up();
    for name in ["pid", "status", "status.details"] {
        let mode = fs::metadata(server.scratch.path(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    server.stop();
}
