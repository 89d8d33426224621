//! An upgrade in the middle of a restart, which goes on.

use super::{upgrade, Place};
use crate::support::Server;

/// A first worker that is up, and a restart whose new worker has not said yet that it is ready.
fn begin<const N: usize>(place: &Place, options: [&str; N]) -> Server {
    let setup = place.serve("ready:linger", []);
    let server = setup.args(options).up();
    server.next_role("talk:linger");
    server.hup();
    server.worker(2);
    server
}

#[test]
fn a_worker_says_that_it_is_ready_to_the_next_program() {
    let place = Place::new();
    for (option, word) in [("--ready=notify", "READY=1"), ("--ready=fd=9", "\n")] {
        let mut server = begin(&place, [option]);
        upgrade(&server);
        assert_eq!(server.outline().split(' ').next(), Some("1"), "{option}");
        assert!(!server.is_told(1));
        server.has_said(2, word);
        server.eventually("the old one to be told", || server.is_told(1).then_some(()));
        server.scratch.write("leave", "");
        server.up(&[2]);
        // Also to one after that.
        upgrade(&server);
        upgrade(&server);
        server.hup();
        server.worker(3);
        server.has_said(3, word);
        server.up(&[3]);
        server.stop();
        assert_eq!(server.count("seems to have failed"), 0);
    }
}

#[test]
fn a_worker_that_does_not_become_ready_is_killed_by_the_next_program() {
    let place = Place::new();
    let mut server = begin(
        &place,
        [
            "--ready=notify",
            "--start-timeout=1",
            "--max-start-failures=1",
        ],
    );
    upgrade(&server);
    server.says("is not ready within --start-timeout, killing it\n");
    server.says("giving up the restart after 1 failed starts, generation 1 is still serving\n");
    upgrade(&server);
    assert!(
        server
            .outline()
            .starts_with("1 failed:2 given-up:2 upgraded:2:"),
        "{}",
        server.outline()
    );
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn a_worker_that_does_not_finish_is_killed_by_the_next_program() {
    let place = Place::new();
    let mut server = begin(&place, ["--ready=notify", "--kill-timeout=1"]);
    server.has_said(2, "READY=1");
    server.eventually("the old one to be told", || server.is_told(1).then_some(()));
    upgrade(&server);
    server.says("has not ended within --kill-timeout, killing it\n");
    server.up(&[2]);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn the_delay_before_old_workers_are_told_goes_on() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--kill-old-delay=1"]).up();
    server.hup();
    server.says("sleeping 1 secs");
    upgrade(&server);
    server.says("killing old workers");
    server.up(&[2]);
    server.stop();
}

#[test]
fn a_failed_start_is_tried_again_by_the_next_program() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--interval=1"]).up();
    server.next_role("exit:1");
    server.hup();
    server.says("seems to have failed");
    upgrade(&server);
    server.next_role("serve");
    server.succeeded(1);
    server.stop();
}

/// A HUP that waits for its turn, too.
#[test]
fn the_restart_that_is_to_follow_follows() {
    let place = Place::new();
    let mut server = begin(&place, ["--ready=notify"]);
    server.hup();
    server.idle();
    upgrade(&server);
    server.next_role("ready:linger");
    server.scratch.write("leave", "");
    server.has_said(2, "READY=1");
    server.up(&[3]);
    server.stop();
}
