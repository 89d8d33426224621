//! The life of a worker, told as exact lists of actions.

use super::*;
use crate::supervisor::policy::Readiness;
use Action::{Finish, Publish, Signal as Send, Spawn};

/// A supervisor at a clock of seconds, driven as `run` drives it.
struct Life {
    supervisor: Supervisor,
    policy: Policy,
    now: Time,
    actions: Vec<Action>,
}

impl Life {
    fn new() -> Life {
        let (supervisor, actions) = Supervisor::start(Time::ZERO);
        let policy = Policy {
            signal_on_hup: Signal::QUIT,
            ..Policy::default()
        };
        Life {
            supervisor,
            policy,
            now: Time::ZERO,
            actions,
        }
    }

    /// A life whose worker of generation 1 and process 101 stands.
    fn standing() -> Life {
        let mut life = Life::new();
        life.news(Event::Spawned(101));
        life.news(Event::Executed);
        life.pass(1);
        life.actions.clear();
        life
    }

    fn news(&mut self, event: Event) {
        for event in [event, Event::Tick] {
            self.actions
                .extend(self.supervisor.handle(event, self.now, &self.policy));
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.news(Event::Tick);
    }

    /// Forks and executes the worker that was asked for.
    fn spawn(&mut self, pid: Pid) {
        self.news(Event::Spawned(pid));
        self.news(Event::Executed);
    }

    fn dies(&mut self, pid: Pid, status: WaitStatus) {
        self.news(Event::Exited { pid, status });
    }

    fn expect(&mut self, expected: &[Action]) {
        assert_eq!(std::mem::take(&mut self.actions), expected);
    }

    fn seconds_left(&self) -> Option<u64> {
        self.supervisor
            .deadline(&self.policy)
            .map(|at| (at - self.now).as_secs())
    }
}

fn line(text: &str) -> Action {
    Action::LogCompat(text.to_string())
}

fn published(workers: &[(Generation, Pid, Role)]) -> Action {
    Publish(Status {
        workers: workers
            .iter()
            .map(|&(generation, pid, role)| Worker {
                pid,
                generation,
                role,
                stop: StopState::NotSignalled,
            })
            .collect(),
        start_failure: None,
    })
}

/// The status file while, or after, the start of this generation failed.
fn troubled(workers: &[(Generation, Pid, Role)], failed: Generation, given_up: bool) -> Action {
    let Publish(mut status) = published(workers) else {
        unreachable!()
    };
    status.start_failure = Some(StartFailure { failed, given_up });
    Publish(status)
}

fn told(pid: Pid, signal: Signal) -> [Action; 2] {
    [
        Send { pid, signal },
        Send {
            pid,
            signal: Signal::CONT,
        },
    ]
}

#[test]
fn the_first_worker_stands_after_the_interval() {
    let mut life = Life::new();
    life.expect(&[Spawn { generation: 1 }]);
    life.news(Event::Spawned(101));
    life.expect(&[line("starting new worker 101")]);
    assert_eq!(
        life.seconds_left(),
        None,
        "no deadline before the program runs"
    );
    life.news(Event::Executed);
    assert_eq!(life.seconds_left(), Some(1));
    life.pass(1);
    life.expect(&[published(&[(1, 101, Role::Current)])]);
    assert_eq!(life.seconds_left(), None, "idle");
}

#[test]
fn a_worker_whose_exec_takes_long_has_not_started() {
    let mut life = Life::new();
    life.news(Event::Spawned(101));
    life.actions.clear();
    life.pass(5);
    life.expect(&[]);
    life.news(Event::Executed);
    life.expect(&[published(&[(1, 101, Role::Current)])]);
}

#[test]
fn hup_starts_a_new_worker_and_then_ends_the_old_one() {
    let mut life = Life::standing();
    life.news(Event::Hup);
    life.expect(&[
        line("received HUP, spawning a new worker"),
        Spawn { generation: 2 },
    ]);
    life.spawn(102);
    life.expect(&[line("starting new worker 102")]);
    life.pass(1);
    let [quit, cont] = told(101, Signal::QUIT);
    life.expect(&[
        published(&[(1, 101, Role::Old), (2, 102, Role::Current)]),
        line("new worker is now running, sending QUIT to old workers:101"),
        line("killing old workers"),
        quit,
        cont,
    ]);
    life.dies(101, 0);
    life.expect(&[
        line("old worker 101 died, status:0"),
        published(&[(2, 102, Role::Current)]),
    ]);
}

#[test]
fn a_failing_start_leaves_the_old_worker_alone_and_is_tried_again_after_the_interval() {
    let mut life = Life::standing();
    life.news(Event::Hup);
    life.spawn(102);
    life.actions.clear();
    life.dies(102, 256);
    life.expect(&[line(
        "new worker 102 seems to have failed to start, exit status:256",
    )]);
    assert_eq!(life.seconds_left(), Some(1));
    life.pass(1);
    life.expect(&[Spawn { generation: 3 }]);
    life.news(Event::SpawnFailed);
    life.expect(&[]);
    life.pass(1);
    life.expect(&[Spawn { generation: 4 }]);
}

#[test]
fn hups_during_a_restart_become_one_more_after_it() {
    let mut life = Life::standing();
    life.policy.kill_old_delay = Duration::from_secs(5);
    life.news(Event::Hup);
    life.news(Event::Spawned(102));
    life.news(Event::Hup);
    life.news(Event::Executed);
    life.news(Event::Hup);
    life.pass(1);
    life.news(Event::Hup);
    life.actions.clear();
    life.pass(5);
    let [quit, cont] = told(101, Signal::QUIT);
    life.expect(&[
        line("killing old workers"),
        quit,
        cont,
        line("received HUP, spawning a new worker"),
        Spawn { generation: 3 },
    ]);
    life.spawn(103);
    life.pass(1);
    life.actions.clear();
    life.pass(5);
    assert!(
        !life
            .actions
            .iter()
            .any(|action| matches!(action, Spawn { .. })),
        "{:?}",
        life.actions
    );
}

#[test]
fn a_new_worker_that_dies_during_the_delay_leaves_the_old_ones_serving_until_the_next_stands() {
    let mut life = Life::standing();
    life.policy.kill_old_delay = Duration::from_secs(5);
    life.news(Event::Hup);
    life.spawn(102);
    life.pass(1);
    life.actions.clear();
    life.pass(1);
    life.dies(102, 9);
    life.expect(&[
        line("worker 102 died unexpectedly with status:9, restarting"),
        published(&[(1, 101, Role::Old)]),
        Spawn { generation: 3 },
    ]);
    life.spawn(103);
    life.actions.clear();
    life.pass(1);
    life.expect(&[
        published(&[(1, 101, Role::Old), (3, 103, Role::Current)]),
        line("new worker is now running, sending QUIT to old workers:101"),
        line("sleeping 5 secs before killing old workers"),
    ]);
}

#[test]
fn a_dead_current_worker_is_replaced_at_once_but_never_within_the_shortest_pause() {
    let mut life = Life::standing();
    life.policy.interval = Duration::ZERO;
    life.dies(101, 11);
    life.expect(&[
        line("worker 101 died unexpectedly with status:11, restarting"),
        published(&[]),
        Spawn { generation: 2 },
    ]);
    life.spawn(102);
    life.dies(102, 11);
    assert_eq!(
        life.supervisor.deadline(&life.policy),
        Some(life.now + SHORTEST_PAUSE)
    );
}

#[test]
fn term_is_obeyed_in_every_phase() {
    let hup = |life: &mut Life| life.news(Event::Hup);
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Life), &'a [Pid]);
    let table: [Case; 5] = [
        ("standing", &|_| {}, &[101]),
        (
            "executing",
            &|life| {
                hup(life);
                life.news(Event::Spawned(102))
            },
            &[101, 102],
        ),
        (
            "proving",
            &|life| {
                hup(life);
                life.spawn(102)
            },
            &[101, 102],
        ),
        (
            "pausing",
            &|life| {
                hup(life);
                life.spawn(102);
                life.dies(102, 1)
            },
            &[101],
        ),
        (
            "delaying",
            &|life| {
                hup(life);
                life.spawn(102);
                life.pass(1)
            },
            &[101, 102],
        ),
    ];
    for (phase, enter, alive) in table {
        let mut life = Life::standing();
        life.policy.kill_old_delay = Duration::from_secs(5);
        enter(&mut life);
        life.actions.clear();
        life.news(Event::Finish(Signal::TERM));
        let mut expected = vec![line(&format!(
            "received TERM, sending TERM to all workers:{}",
            alive
                .iter()
                .map(Pid::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ))];
        expected.extend(alive.iter().flat_map(|&pid| told(pid, Signal::TERM)));
        assert_eq!(std::mem::take(&mut life.actions), expected, "{phase}");
        assert_eq!(life.seconds_left(), None, "{phase}");
        for &pid in alive {
            life.dies(pid, 15);
        }
        assert_eq!(
            life.actions[life.actions.len() - 2..],
            [line("exiting"), Finish(Outcome::Stopped)],
            "{phase}"
        );
        life.actions.clear();
        life.news(Event::Hup);
        life.news(Event::Finish(Signal::TERM));
        life.expect(&[]);
    }
}

#[test]
fn a_further_term_or_int_is_passed_on_to_those_still_there() {
    let mut life = Life::standing();
    life.policy.signal_on_term = Signal::QUIT;
    for (received, sent) in [
        (Signal::TERM, Signal::QUIT),
        (Signal::QUIT, Signal::QUIT),
        (Signal::INT, Signal::TERM),
    ] {
        life.news(Event::Finish(received));
        let [signal, cont] = told(101, sent);
        life.expect(&[
            line(&format!(
                "received {received}, sending {sent} to all workers:101"
            )),
            signal,
            cont,
        ]);
    }
}

#[test]
fn auto_restart_waits_for_old_workers_but_not_longer_than_twice_the_interval() {
    let mut life = Life::standing();
    life.policy.auto_restart = Some(Duration::from_secs(10));
    life.pass(9);
    life.expect(&[]);
    life.pass(1);
    life.expect(&[
        line("autorestart triggered (interval=10)"),
        Spawn { generation: 2 },
    ]);
    life.spawn(102);
    life.pass(1);
    life.actions.clear();
    life.pass(19);
    life.expect(&[]);
    life.pass(1);
    life.expect(&[
        line("autorestart triggered (forced, interval=10)"),
        Spawn { generation: 3 },
    ]);
}

#[test]
fn strangers_are_reaped_in_silence() {
    let mut life = Life::standing();
    life.dies(4711, 0);
    life.expect(&[]);
}

fn own(text: &str) -> Action {
    Action::LogNote(text.to_string())
}

/// A life whose workers say themselves that they are ready, with one that stands.
fn ready_by_word() -> Life {
    let mut life = Life::standing();
    life.policy.readiness = Readiness::Notify;
    life.policy.start_timeout = Some(Duration::from_secs(60));
    life
}

#[test]
fn who_says_that_it_is_ready_stands_at_once() {
    let mut life = ready_by_word();
    life.news(Event::Hup);
    life.spawn(102);
    life.actions.clear();
    life.pass(5);
    life.news(Event::Ready(101));
    life.expect(&[]);
    assert_eq!(life.seconds_left(), Some(55));
    life.news(Event::Ready(102));
    let [quit, cont] = told(101, Signal::QUIT);
    life.expect(&[
        published(&[(1, 101, Role::Old), (2, 102, Role::Current)]),
        line("new worker is now running, sending QUIT to old workers:101"),
        line("killing old workers"),
        quit,
        cont,
    ]);
    life.news(Event::Ready(102));
    life.expect(&[]);
}

#[test]
fn a_word_may_come_before_the_news_of_the_exec() {
    let mut life = ready_by_word();
    life.news(Event::Hup);
    life.news(Event::Spawned(102));
    life.actions.clear();
    assert_eq!(life.seconds_left(), Some(60), "an exec may hang, too");
    life.news(Event::Ready(102));
    assert!(matches!(life.actions[0], Publish(_)), "{:?}", life.actions);
    life.news(Event::Executed);
    assert_eq!(life.seconds_left(), None);
}

#[test]
fn who_is_not_ready_in_time_is_killed_and_has_failed() {
    let mut life = ready_by_word();
    life.news(Event::Hup);
    life.spawn(102);
    life.actions.clear();
    life.pass(50);
    life.news(Event::Extend(102, Duration::from_secs(20)));
    life.news(Event::Extend(102, Duration::from_secs(1)));
    life.news(Event::Extend(101, Duration::from_secs(90)));
    assert_eq!(life.seconds_left(), Some(20));
    life.pass(20);
    life.expect(&[
        own("new worker 102 is not ready within --start-timeout, killing it"),
        Send {
            pid: 102,
            signal: Signal::KILL,
        },
    ]);
    life.news(Event::Ready(102));
    life.expect(&[]);
    assert_eq!(life.seconds_left(), None);
    life.dies(102, 9);
    life.expect(&[
        line("new worker 102 seems to have failed to start, exit status:9"),
        troubled(&[(1, 101, Role::Old)], 2, false),
        Spawn { generation: 3 },
    ]);
}

#[test]
fn after_so_many_failed_starts_the_restart_is_given_up_until_the_next_hup() {
    let mut life = Life::standing();
    life.policy.max_start_failures = 2;
    life.news(Event::Hup);
    life.spawn(102);
    life.dies(102, 256);
    life.pass(1);
    life.actions.clear();
    life.news(Event::SpawnFailed);
    life.expect(&[
        own("giving up the restart after 2 failed starts, generation 1 is still serving"),
        troubled(&[(1, 101, Role::Current)], 3, true),
    ]);
    assert_eq!(life.seconds_left(), None);
    life.pass(100);
    life.news(Event::Hup);
    life.expect(&[
        line("received HUP, spawning a new worker"),
        troubled(&[(1, 101, Role::Old)], 3, false),
        Spawn { generation: 4 },
    ]);
    life.spawn(104);
    life.actions.clear();
    life.pass(1);
    assert_eq!(
        life.actions[0],
        published(&[(1, 101, Role::Old), (4, 104, Role::Current)])
    );
}

#[test]
fn a_hup_during_the_last_attempt_begins_anew_and_nothing_is_given_up_yet() {
    let mut life = Life::standing();
    life.policy.max_start_failures = 1;
    life.news(Event::Hup);
    life.spawn(102);
    life.news(Event::Hup);
    life.pass(0);
    life.actions.clear();
    life.dies(102, 256);
    life.expect(&[
        line("new worker 102 seems to have failed to start, exit status:256"),
        own("giving up the restart after 1 failed starts, generation 1 is still serving"),
        troubled(&[(1, 101, Role::Current)], 2, false),
        line("received HUP, spawning a new worker"),
    ]);
    life.pass(1);
    life.expect(&[Spawn { generation: 3 }]);
}

#[test]
fn without_a_worker_to_serve_on_giving_up_is_the_end() {
    let mut life = Life::new();
    life.policy.max_start_failures = 1;
    life.spawn(101);
    life.actions.clear();
    life.dies(101, 256);
    life.expect(&[
        line("new worker 101 seems to have failed to start, exit status:256"),
        own("giving up after 1 failed starts, no worker is left to serve"),
        line("exiting"),
        Finish(Outcome::GivenUp),
    ]);
}

#[test]
fn the_end_after_giving_up_waits_for_workers_that_were_told_to_finish() {
    let mut life = Life::standing();
    life.policy.max_start_failures = 1;
    life.news(Event::Hup);
    life.spawn(102);
    life.pass(1);
    life.dies(102, 9);
    life.pass(1);
    life.spawn(103);
    life.dies(103, 256);
    assert!(!life.actions.contains(&Finish(Outcome::GivenUp)));
    // It remains the reason.
    life.news(Event::Finish(Signal::TERM));
    life.actions.clear();
    life.dies(101, 0);
    life.expect(&[
        line("worker 101 died, status:0"),
        troubled(&[], 3, false),
        line("exiting"),
        Finish(Outcome::GivenUp),
    ]);
}

#[test]
fn who_does_not_finish_in_time_is_killed() {
    let mut life = Life::standing();
    life.policy.kill_timeout = Some(Duration::from_secs(10));
    life.news(Event::Hup);
    life.spawn(102);
    life.pass(1);
    life.actions.clear();
    assert_eq!(life.seconds_left(), Some(10));
    life.pass(9);
    life.news(Event::Finish(Signal::TERM));
    life.actions.clear();
    let kill = |pid| Send {
        pid,
        signal: Signal::KILL,
    };
    life.pass(1);
    life.expect(&[
        own("worker 101 has not ended within --kill-timeout, killing it"),
        kill(101),
    ]);
    assert_eq!(life.seconds_left(), Some(9));
    life.pass(9);
    life.expect(&[
        own("worker 102 has not ended within --kill-timeout, killing it"),
        kill(102),
    ]);
    assert_eq!(life.seconds_left(), None);
}
