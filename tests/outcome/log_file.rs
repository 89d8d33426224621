//! USR1 and HUP open the log file again.

use super::notifying;
use crate::support::fixtures::serve;
use crate::support::{kernel, skipped, Server};
use std::fs;
#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{chown, symlink};
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};

/// A shell that says its generation, on both streams, when the file `speak.GENERATION` is there.
const SPEAKER: &str = "cd \"$WORKER_DIR\"
G=$SERVER_STARTER_GENERATION
echo \"began $G $$\" >>notes
while test -f notes; do
    if test -f speak.$G; then
        echo \"output of $G\"
        echo \"error of $G\" >&2
        rm speak.$G
    fi
    sleep 0.05
done";

fn speakers(log_file: &str) -> Server {
    let setup = notifying("", ["--ready=interval", log_file]).args(["--", "sh", "-c", SPEAKER]);
    let server = setup.file("notes", "").launch();
    begun(&server, 1);
    server
}

/// Their log is the file `out`, which has its first lines.
fn speakers_into_file() -> Server {
    let server = speakers("--log-file=out");
    server.file_has("out", "starting new worker");
    server
}

fn begun(server: &Server, generation: u64) {
    server.eventually(&format!("worker {generation}"), || {
        let mut begun = server.started().into_iter();
        begun.find(|(found, _)| *found == generation).map(drop)
    });
}

/// Has a worker say something, and tells whether it is in that file.
fn speaks_into(server: &Server, generation: u64, file: &str) -> bool {
    let name = format!("speak.{generation}");
    let before = server.scratch.read(file).len();
    server.scratch.write(&name, "");
    server.eventually(&name, || {
        (!server.scratch.path(&name).exists()).then_some(())
    });
    let said = format!("output of {generation}\nerror of {generation}\n");
    server.scratch.read(file)[before..].contains(&said)
}

fn rename(server: &Server, from: &str, to: &str) {
    fs::rename(server.scratch.path(from), server.scratch.path(to)).unwrap();
}

#[test]
fn after_a_rename_usr1_opens_it_again_and_running_workers_keep_theirs() {
    let mut server = speakers_into_file();
    assert!(speaks_into(&server, 1, "out"));
    rename(&server, "out", "out.1");
    // Until then it is the renamed one.
    assert!(speaks_into(&server, 1, "out.1"));
    assert!(!server.scratch.path("out").exists());
    server.signal(libc::SIGUSR1);
    server.eventually("the new file", || {
        server.scratch.path("out").exists().then_some(())
    });
    let old = server.scratch.read("out.1");
    kernel::kill(server.started()[0].1, libc::SIGKILL);
    begun(&server, 2);
    server.file_has("out", "died unexpectedly with status:9");
    server.file_has("out", "starting new worker");
    assert!(speaks_into(&server, 2, "out"));
    assert_eq!(server.scratch.read("out.1"), old);
    server.stop();
    assert!(server.scratch.read("out").ends_with("exiting\n"));
}

#[test]
fn a_running_worker_keeps_the_old_file_after_usr1() {
    let server = speakers_into_file();
    rename(&server, "out", "out.1");
    server.signal(libc::SIGUSR1);
    server.eventually("the new file", || {
        server.scratch.path("out").exists().then_some(())
    });
    assert!(speaks_into(&server, 1, "out.1"));
    assert_eq!(server.scratch.read("out"), "");
}

#[test]
fn hup_opens_it_again_before_the_next_generation() {
    let mut server = speakers_into_file();
    rename(&server, "out", "out.1");
    let old = server.scratch.read("out.1");
    server.hup();
    begun(&server, 2);
    server.file_has("out", "old worker");
    let text = server.scratch.read("out");
    assert!(text.starts_with("received HUP, spawning"), "{text}");
    assert!(speaks_into(&server, 2, "out"));
    assert_eq!(server.scratch.read("out.1"), old);
    server.stop();
}

#[test]
fn without_a_rename_it_is_the_same_file() {
    let mut server = speakers_into_file();
    server.signal(libc::SIGUSR1);
    server.idle();
    server.hup();
    begun(&server, 2);
    assert!(speaks_into(&server, 2, "out"));
    server.stop();
    let text = server.scratch.read("out");
    assert!(text.starts_with("starting new worker"), "{text}");
    assert!(text.ends_with("exiting\n"), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_is_said_and_the_old_one_is_kept() {
    let setup = notifying("", ["--ready=interval", "--log-file=logs/out"])
        .args(["--", "sh", "-c", SPEAKER]);
    let mut server = setup.file("notes", "").file("logs/out", "").launch();
    begun(&server, 1);
    rename(&server, "logs", "away");
    let complaint = "start_server: cannot reopen --log-file=logs/out: No such file or directory\n";
    server.signal(libc::SIGUSR1);
    server.file_has("away/out", complaint);
    server.hup();
    begun(&server, 2);
    assert!(speaks_into(&server, 2, "away/out"));
    fs::create_dir(server.scratch.path("logs")).unwrap();
    server.signal(libc::SIGUSR1);
    server.eventually("the new file", || {
        server.scratch.path("logs/out").exists().then_some(())
    });
    server.stop();
    let text = server.scratch.read("logs/out");
    assert!(text.starts_with("received TERM"), "{text}");
}

/// It is opened without waiting, but a worker's write must wait as it does elsewhere.
#[test]
fn workers_get_it_blocking() {
    let mut server = serve(["--log-file=out"]).up();
    server.restart(2);
    for generation in 1..=2 {
        let report = server.worker(generation);
        for stream in [1, 2] {
            let expected = Some("file - blocking kept".to_string());
            assert_eq!(report.descriptor(stream), expected, "{generation} {stream}");
        }
    }
    server.stop();
}

/// Takes a lease on a file, which lets nobody else open it for up to 45 seconds.
#[cfg(target_os = "linux")]
const LEASE: &str = "
import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], 'w')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('leased', flush=True)
sys.stdin.read()
";

#[test]
#[cfg(target_os = "linux")]
fn a_lease_on_the_file_holds_nobody_up() {
    let mut server = speakers_into_file();
    rename(&server, "out", "out.1");
    let mut python = Command::new("python3");
    python.args(["-c", LEASE]).arg(server.scratch.path("out"));
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut python) = python.spawn() else {
        return skipped("python3");
    };
    let mut line = String::new();
    let output = BufReader::new(python.stdout.take().unwrap()).read_line(&mut line);
    assert!(output.is_ok() && line == "leased\n", "{line}");
    server.signal(libc::SIGUSR1);
    let reason = "Resource temporarily unavailable";
    let complaint = format!("start_server: cannot reopen --log-file=out: {reason}\n");
    server.file_has("out.1", &complaint);
    server.stop();
    assert!(server.scratch.read("out.1").ends_with("exiting\n"));
    drop(python.stdin.take());
    python.wait().unwrap();
}

/// He would choose the file to which root appends.
#[test]
fn a_link_of_another_user_is_not_followed() {
    if !kernel::is_root() {
        return skipped("root");
    }
    let setup = notifying("", ["--ready=interval", "--log-file=logs/out"])
        .args(["--", "sh", "-c", SPEAKER]);
    let setup = setup.file("notes", "").file("logs/other", "");
    let logs = setup.scratch.path("logs");
    fs::write(logs.join("mine"), "").unwrap();
    symlink("mine", logs.join("out")).unwrap();
    for path in [&logs, &logs.join("other")] {
        chown(path, Some(65_534), None).unwrap();
    }
    let mut server = setup.launch();
    begun(&server, 1);
    // Our own link may be followed.
    server.file_has("logs/mine", "starting new worker");
    fs::remove_file(logs.join("out")).unwrap();
    symlink("../victim", logs.join("out")).unwrap();
    std::os::unix::fs::lchown(logs.join("out"), Some(65_534), None).unwrap();
    server.signal(libc::SIGUSR1);
    let reason = "it is a link that belongs to user 65534";
    let complaint = format!("start_server: cannot reopen --log-file=logs/out: {reason}\n");
    server.file_has("logs/mine", &complaint);
    server.stop();
    assert!(!server.scratch.path("victim").exists());
}

#[test]
fn usr1_does_nothing_to_a_log_command_and_without_a_log() {
    for (option, file) in [("--log-file=| cat >> out", "out"), ("--dir=.", "log")] {
        let mut server = speakers(option);
        server.file_has(file, "starting new worker");
        server.signal(libc::SIGUSR1);
        server.idle();
        server.stop();
        server.file_has(file, "exiting\n");
        let text = server.scratch.read(file);
        assert!(!text.contains("start_server: "), "{option} {text}");
    }
}

/// As under Perl.
#[test]
fn a_link_to_a_missing_file_is_followed() {
    let setup = serve(["--log-file=link"]);
    symlink("log-file", setup.scratch.path("link")).unwrap();
    let mut server = setup.up();
    server.stop();
    assert!(server.scratch.read("log-file").ends_with("exiting\n"));
}
