//! The newline on a pipe.

use super::talk;
use crate::support::ask;
use crate::support::fixtures::by_envdir;

#[test]
fn only_a_newline_on_it_means_ready() {
    let mut server = talk(["--ready=fd=9"]).start();
    server.worker(1);
    for words in ["ready", "READY=1", "\r", "\0"] {
        server.has_said(1, words);
        server.idle();
        assert_eq!(server.status(), [], "{words:?}");
    }
    server.has_said(1, "and more\nand after it");
    server.up(&[1]);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn its_end_without_a_newline_does_not_mean_ready() {
    let setup = by_envdir("talk:serve", ["--ready=fd=9", "--start-timeout=1"]);
    // Nothing to say is to close it.
    let server = setup.file("say.1", "").start();
    server.says("is not ready within --start-timeout, killing it");
    assert!(!server.scratch.path("say.1").exists(), "{}", server.log());
    assert!(!server.outline().starts_with('1'), "{}", server.outline());
}

#[test]
fn it_is_at_the_number_that_was_asked_for_and_no_listener_is() {
    // 3 is where the listener would be, and where our own ends are among the first to be.
    for number in 3..12 {
        let ready = format!("--ready=fd={number}");
        let setup = by_envdir("ready:serve", [&ready]);
        let mut server = setup.up();
        let report = server.worker(1);
        let variable = report.variable("SERVER_STARTER_READY_FD").unwrap();
        assert_eq!(variable, number.to_string().as_str());
        let expected = Some("file - blocking kept".to_string());
        assert_eq!(report.descriptor(number), expected, "{number}");
        assert_eq!(ask(report.port()).unwrap(), (1, report.pid), "{number}");
        server.stop();
    }
}

#[test]
fn a_grandchild_may_write_the_newline() {
    let mut server = by_envdir("talk:serve", ["--ready=fd=9"])
        .env("MESSENGER", "grandchild")
        .start();
    server.worker(1);
    server.has_said(1, "\n");
    server.up(&[1]);
    server.stop();
}
