//! A worker that dies or is silent has failed to start.

use super::{another_waits_in_vain, first_up, is_still_starting, start, talk, WAYS};
use crate::support::ask;
use crate::support::fixtures::by_envdir;

#[test]
fn a_worker_that_exits_before_it_is_ready_has_failed_and_the_old_one_still_serves() {
    for (option, word) in WAYS {
        let setup = talk([option]);
        let mut server = start(setup, word);
        let port = server.worker(1).port();
        server.next_role("exit:7");
        server.hup();
        server.says_times("seems to have failed to start, exit status:1792", 3);
        assert_eq!(ask(port).unwrap().0, 1, "{option}");
        assert!(!server.is_told(1), "{option}");
        server.next_role("ready:linger");
        server.notes("signal 1 15");
        let newest = server.started().last().unwrap().0;
        server.up(&[1, newest]);
        server.scratch.write("leave", "");
        server.up(&[newest]);
        assert_eq!(ask(port).unwrap().0, newest, "{option}");
        server.stop();
    }
}

#[test]
fn the_interval_paces_attempts() {
    for (option, word) in WAYS {
        let server = start(talk([option, "--interval=100000"]), word);
        server.next_role("exit:7");
        server.hup();
        server.says("seems to have failed to start");
        // Meanwhile there are three attempts without an interval.
        let other = by_envdir("exit:7", [option, "--interval=0"]).start();
        other.says_times("seems to have failed to start", 3);
        assert_eq!(server.started().len(), 2, "{option}");
    }
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_the_old_one_still_serves() {
    for (option, _) in WAYS {
        let mut server = by_envdir("ready:linger", [option, "--start-timeout=1"]).start();
        let first = first_up(&server);
        server.next_role("talk:linger");
        server.hup();
        server.says_times("seems to have failed to start", first as usize + 1);
        for generation in [first + 1, first + 2] {
            let pid = server.worker(generation).pid;
            server.says(&format!(
                "
starting new worker {pid}
start_server: new worker {pid} is not ready within --start-timeout, killing it
new worker {pid} seems to have failed to start, exit status:9
"
            ));
        }
        assert!(server.outline().starts_with(&format!("{first} failed:")));
        assert!(!server.is_told(first), "{option}");
        server.scratch.write("leave", "");
        server.stop();
    }
}

#[test]
fn a_start_timeout_of_0_waits_for_ever() {
    let server = by_envdir("talk:serve", ["--ready=notify", "--start-timeout=0"]).start();
    server.worker(1);
    another_waits_in_vain("--start-timeout=1");
    is_still_starting(&server, 1);
    server.has_said(1, "READY=1");
    server.up(&[1]);
}

#[test]
fn one_that_is_ready_may_live_longer_than_the_start_timeout() {
    let mut server = by_envdir("ready:serve", ["--ready=notify", "--start-timeout=1"]).start();
    let generation = first_up(&server);
    another_waits_in_vain("--start-timeout=1");
    assert_eq!(server.outline(), generation.to_string());
    server.stop();
}
