//! What bad input gets: one line that names it, exit status 1, and nothing touched.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use support::{free_port, kernel, run_beside, Scratch};

#[test]
fn bad_input_gets_one_line_and_touches_nothing() {
    let folder = Scratch::new();
    folder.write("file", "kept");
    folder.write("not-executable/file", "");
    symlink("nowhere", folder.path("link")).unwrap();
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
    let run: [&[&str]; 48] = [
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
        &["--path=made", "--log-file=missing/log"],
        &["--log-file=|"],
    ];
    let files = |folder: &Scratch| {
        let kinds = folder.names().into_iter().map(|name| {
            let metadata = fs::symlink_metadata(folder.path(&name)).unwrap();
            (
                name,
                metadata.ino(),
                metadata.len(),
                metadata.file_type().is_socket(),
            )
        });
        kinds.collect::<Vec<_>>()
    };
    let before = files(&folder);
    let refused = |arguments: &[&str]| {
        let (code, said) = run_beside(&folder, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("start_server: ") && said.ends_with('\n'),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert_eq!(files(&folder), before, "{arguments:?}: {said}");
        said
    };
    for options in run {
        let said = refused(&[options, &["--", "true"]].concat());
        let blamed = options
            .iter()
            .any(|option| said.contains(option.trim_end_matches('=')));
        assert!(blamed || said.contains("descriptor"), "{options:?}: {said}");
    }
    refused(&[]);
    refused(&["--port=127.0.0.1:0"]);
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
