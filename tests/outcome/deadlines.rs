//! `--kill-timeout`: a worker that does not finish is killed.

use super::notifying;
use crate::support::fixtures::RESTART_STORY;
use crate::support::{kernel, Server};

/// The line that tells of a kill.
fn killing(server: &Server, generation: u64) -> String {
    let pid = server.worker(generation).pid;
    format!("start_server: worker {pid} has not ended within --kill-timeout, killing it\n")
}

#[test]
fn a_worker_that_does_not_finish_in_time_is_killed_after_a_restart_and_at_the_end() {
    let mut server = notifying("ready:stubborn", ["--kill-timeout=1"]).up();
    server.hup();
    server.worker(2);
    server.shows("2");
    server.notes("signal 1 15");
    server.term();
    assert!(server.end().success());
    server.notes("signal 2 15");
    let killed = |worker| {
        format!("start_server: worker {worker} has not ended within --kill-timeout, killing it\n")
    };
    let expected = RESTART_STORY
        .replace(
            "old worker A died, status:0",
            &(killed('A') + "old worker A died, status:9"),
        )
        .replace(
            "\nworker B died, status:0",
            &format!("\n{}worker B died, status:9", killed('B')),
        );
    assert_eq!(server.story(), expected);
}

#[test]
fn old_and_new_ones_are_killed_at_the_end() {
    let mut server = notifying("ready:stubborn", []).up();
    server.hup();
    server.worker(2);
    server.notes("signal 1 15");
    server.change("KILL_TIMEOUT", "1");
    server.term();
    assert!(server.end().success());
    for generation in [1, 2] {
        assert!(server.log().contains(&killing(&server, generation)));
    }
}

#[test]
fn the_variable_is_as_good_as_the_option_and_envdir_wins_over_both() {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
    const HOURS: &str = "10000";
    let table: [Case; 4] = [
        (&[], &[("KILL_TIMEOUT", "1")], None),
        (&["--kill-timeout=1"], &[("KILL_TIMEOUT", HOURS)], None),
        (&[], &[], Some("1")),
        (
            &["--kill-timeout=10000"],
            &[("KILL_TIMEOUT", HOURS)],
            Some("1"),
        ),
    ];
    for (options, variables, envdir) in table {
        let mut setup = notifying("ready:stubborn", []).args(options);
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        if let Some(value) = envdir {
            setup = setup.file("envdir/KILL_TIMEOUT", value);
        }
        let mut server = setup.up();
        server.term();
        assert!(server.end().success(), "{options:?}");
        assert!(server.log().contains(&killing(&server, 1)), "{options:?}");
    }
}

#[test]
fn a_change_in_envdir_holds_for_workers_that_were_told_before() {
    for (option, before) in [
        ("--kill-timeout=0", None),
        ("--kill-timeout=1", Some("10000")),
    ] {
        let mut setup = notifying("ready:stubborn", [option]);
        if let Some(value) = before {
            setup = setup.file("envdir/KILL_TIMEOUT", value);
        }
        let server = setup.up();
        server.hup();
        server.notes("signal 1 15");
        server.up(&[1, 2]);
        server.change("KILL_TIMEOUT", "1");
        // Any news has it looked at.
        server.signal(libc::SIGALRM);
        server.says(&killing(&server, 1));
        server.shows("2");
    }
}

#[test]
fn with_0_nobody_is_killed() {
    let server = notifying("ready:stubborn", ["--kill-timeout=0"])
        .env("KILL_TIMEOUT", "1")
        .up();
    server.hup();
    server.notes("signal 1 15");
    server.up(&[1, 2]);
    // Its first worker is told later than that, and killed.
    let other = notifying("ready:stubborn", ["--kill-timeout=1"]).up();
    other.hup();
    other.says(&killing(&other, 1));
    other.shows("2");
    assert!(kernel::exists(server.worker(1).pid));
    assert_eq!(server.outline(), "1 2");
    assert!(!server.log().contains("killing it"), "{}", server.log());
}

#[test]
fn a_worker_that_finishes_in_time_is_not_killed() {
    let mut server = notifying("ready:linger", ["--kill-timeout=10000"]).up();
    server.hup();
    server.notes("signal 1 15");
    server.worker(2);
    server.scratch.write("leave", "");
    server.shows("2");
    server.stop();
    assert!(!server.log().contains("killing it"), "{}", server.log());
    assert!(server.log().contains("died, status:0"), "{}", server.log());
}

/// Servers with a one-shot handler, as node's `once`, die of a second signal in the middle of a request.
#[test]
fn an_old_worker_is_told_once_whatever_comes() {
    let mut server = notifying("ready:linger", []).up();
    for generation in 2..=4 {
        server.hup();
        server.worker(generation);
        server.notes(&format!("signal {} 15", generation - 1));
    }
    server.term();
    server.notes("signal 4 15");
    let told = |generation: u64| {
        let notes = server.scratch.read("notes");
        let line = format!("signal {generation} 15");
        notes.lines().filter(|found| *found == line).count()
    };
    for generation in 1..=4 {
        assert_eq!(told(generation), 1, "{generation}");
    }
    server.term();
    server.eventually("the second signal", || {
        (1..=4)
            .all(|generation| told(generation) == 2)
            .then_some(())
    });
    server.scratch.write("leave", "");
    assert!(server.end().success());
    // Each line names those that get the signal.
    let story = server.story();
    for line in [
        "sending TERM to old workers:A\n",
        "sending TERM to old workers:B\n",
        "sending TERM to old workers:C\n",
        "sending TERM to all workers:D\n",
        "sending TERM to all workers:A,B,C,D\n",
    ] {
        assert_eq!(story.matches(line).count(), 1, "{line}{story}");
    }
}
