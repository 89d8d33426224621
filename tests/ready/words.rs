//! The other words of sd_notify(3).

use super::{another_waits_in_vain, is_still_starting, socket, start, talk, WAYS};
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Setup};
use std::process::Command;

#[test]
fn ready_counts_from_a_grandchild_and_from_a_user_without_privileges() {
    for who in ["grandchild", "nobody"] {
        if who == "nobody" && !kernel::is_root() {
            return crate::support::skipped("root's right to become another user");
        }
        let setup = by_envdir("talk:serve", ["--ready=notify"]).env("MESSENGER", who);
        let mut server = setup.file("say.1", "READY=1").start();
        server.up(&[1]);
        server.scratch.write("heard", "");
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
        // A status that comes together with the word that ends the start still belongs to the start.
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
fn any_other_word_is_ignored() {
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
    // Such a datagram may be too long to come to us at all.
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
