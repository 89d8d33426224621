//! The life of a worker, as the log tells it, the status file shows it and the workers note it.

use crate::support::fixtures::{serve, with_role, RESTART_STORY};
use crate::support::{ask, kernel};

#[test]
fn a_restart_and_an_end_are_told_line_by_line() {
    let mut server = serve([]).up();
    server.restart(2);
    server.says("old worker ");
    server.stop();
    assert_eq!(server.story(), RESTART_STORY);
}

#[test]
fn a_new_worker_that_fails_leaves_the_old_one_serving_and_is_tried_again() {
    let mut server = with_role("picky", ["--interval=1"]).up();
    let port = server.worker(1).port();
    server.scratch.write("bad", "");
    server.hup();
    server.says_times("seems to have failed to start, exit status:768", 2);
    assert_eq!(ask(port).unwrap().0, 1);
    assert_eq!(server.signals(1), [""; 0]);
    std::fs::remove_file(server.scratch.path("bad")).unwrap();
    server.says("killing old workers");
    let attempts = server.log().matches("starting new worker").count() as u64;
    server.up(&[attempts]);
    assert!(attempts >= 4, "every attempt is a generation");
    assert_eq!(ask(port).unwrap().0, attempts);
    server.stop();
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let mut server = serve([]).up();
    kernel::kill(server.worker(1).pid, libc::SIGKILL);
    server.worker(2);
    server.up(&[2]);
    server.stop();
    let story = server.story();
    assert!(
        story.contains(
            "\nworker A died unexpectedly with status:9, restarting\nstarting new worker B\n"
        ),
        "{story}"
    );
    assert!(!story.contains("killing old workers"), "{story}");
}

#[test]
fn an_old_worker_may_take_its_time_while_the_next_restarts_happen() {
    let mut server = with_role("linger", []).up();
    server.hup();
    server.worker(2);
    server.up(&[1, 2]);
    server.notes("signal 1 15");
    server.hup();
    server.up(&[1, 2, 3]);
    server.notes("signal 2 15");
    server.scratch.write("leave", "");
    server.up(&[3]);
    server.stop();
    let story = server.story();
    for line in [
        "old worker A died, status:0\n",
        "old worker B died, status:0\n",
    ] {
        assert!(story.contains(line), "{line}: {story}");
    }
}

#[test]
fn term_waits_for_every_worker() {
    let mut server = with_role("linger", []).up();
    server.hup();
    server.worker(2);
    server.up(&[1, 2]);
    server.notes("signal 1 15");
    server.term();
    server.notes("signal 2 15");
    server.scratch.write("leave", "");
    assert!(server.end().success());
    let story = server.story();
    for line in [
        "received TERM, sending TERM to all workers:",
        "worker A died, status:0\n",
        "worker B died, status:0\n",
    ] {
        assert!(story.contains(line), "{line}: {story}");
    }
    assert!(story.ends_with("exiting\n"), "{story}");
}

#[test]
fn term_is_obeyed_during_the_interval() {
    let mut server = serve(["--interval=1000"]).start();
    server.worker(1);
    server.stop();
    assert!(server
        .story()
        .contains("received TERM, sending TERM to all workers:A\n"));
}

#[test]
fn term_is_obeyed_while_starts_keep_failing() {
    let mut server = with_role("exit:1", ["--interval=1"]).start();
    server.says_times("seems to have failed", 2);
    server.stop();
    assert!(server.story().ends_with("exiting\n"));
}

#[test]
fn int_ends_it_too_but_always_by_term() {
    let mut server = serve(["--signal-on-term=USR1"]).up();
    server.signal(libc::SIGINT);
    assert!(server.end().success());
    assert!(server
        .story()
        .contains("received INT, sending TERM to all workers:A\n"));
    assert_eq!(server.signals(1), ["15"]);
}

#[test]
fn signals_to_workers_can_be_chosen_by_any_name() {
    for name in ["USR1", "usr1", "SIGUSR1", "sigusr1"] {
        let hup = format!("--signal-on-hup={name}");
        let term = format!("--signal-on-term={name}");
        let mut server = serve([&hup, &term]).up();
        server.restart(2);
        server.stop();
        let story = server.story();
        assert!(story.contains("sending USR1 to old workers:A\n"), "{story}");
        assert!(
            story.contains("received TERM, sending USR1 to all workers:B\n"),
            "{story}"
        );
        let usr1 = libc::SIGUSR1.to_string();
        assert_eq!(
            (server.signals(1), server.signals(2)),
            (vec![usr1.clone()], vec![usr1])
        );
    }
}

#[test]
fn a_signal_to_workers_can_be_a_number() {
    let mut server = serve(["--signal-on-hup=12"]).up();
    server.hup();
    server.worker(2);
    server.says("killing old workers");
    // 12 is no signal that this worker catches.
    server.says("old worker ");
    server.stop();
    assert!(
        server.story().contains("old worker A died, status:12\n"),
        "{}",
        server.story()
    );
}

#[test]
fn new_and_old_serve_side_by_side_for_the_kill_old_delay() {
    let mut server = serve(["--kill-old-delay=1"]).up();
    server.restart(2);
    server.says("old worker ");
    server.stop();
    let expected = "\
new worker is now running, sending TERM to old workers:A
sleeping 1 secs before killing old workers
killing old workers
old worker A died, status:0
";
    assert!(server.story().contains(expected), "{}", server.story());
}

#[test]
fn auto_restart_replaces_a_worker_by_time() {
    let mut server = serve([
        "--enable-auto-restart",
        "--auto-restart-interval=1",
        "--kill-old-delay=0",
    ])
    .start();
    server.says_times("autorestart triggered (interval=1)", 2);
    server.worker(3);
    server.says("killing old workers");
    server.notes("signal 1 15");
    server.stop();
}

#[test]
fn auto_restart_waits_twice_as_long_for_an_old_worker() {
    let options = [
        "--enable-auto-restart",
        "--auto-restart-interval=1",
        "--kill-old-delay=0",
    ];
    let mut server = with_role("linger", options).start();
    server.says("autorestart triggered (forced, interval=1)");
    server.worker(3);
    server.scratch.write("leave", "");
    server.stop();
}

#[test]
fn alrm_means_nothing() {
    let mut server = serve([]).up();
    server.signal(libc::SIGALRM);
    server.restart(2);
    server.says("old worker ");
    server.stop();
    assert!(!server.log().contains("ALRM"));
    assert_eq!(server.signals(1), ["15"]);
}
