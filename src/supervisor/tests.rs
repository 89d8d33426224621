//! Scenarios, with the exact list of actions that each event causes.

use super::*;
use crate::supervisor::policy::Readiness;
use Action::{Finish, Publish, Signal as Send, Spawn};

/// A supervisor with a clock, driven as the daemon drives it.
struct Scenario {
    supervisor: Supervisor,
    policy: Policy,
    now: Time,
    actions: Vec<Action>,
}

impl Scenario {
    fn new() -> Scenario {
        let (supervisor, actions) = Supervisor::start(Time::ZERO);
        let policy = Policy {
            signal_on_hup: Signal::QUIT,
            ..Policy::default()
        };
        Scenario {
            supervisor,
            policy,
            now: Time::ZERO,
            actions,
        }
    }

    /// A scenario in which worker 101, of generation 1, is up.
    fn up() -> Scenario {
        let mut scenario = Scenario::new();
        scenario.dispatch(Event::Spawned(101));
        scenario.dispatch(Event::Executed);
        scenario.pass(1);
        scenario.actions.clear();
        scenario
    }

    fn dispatch(&mut self, event: Event) {
        for event in [event, Event::Tick] {
            self.actions
                .extend(self.supervisor.handle(event, self.now, &self.policy));
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.dispatch(Event::Tick);
    }

    /// Lets the fork of a worker succeed, and its program run.
    fn spawn(&mut self, pid: Pid) {
        self.dispatch(Event::Spawned(pid));
        self.dispatch(Event::Executed);
    }

    fn exit(&mut self, pid: Pid, status: WaitStatus) {
        self.dispatch(Event::Exited { pid, status });
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

fn compat(text: &str) -> Action {
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

/// Like [`published`], with the failed start of generation `failed`.
fn published_failure(
    workers: &[(Generation, Pid, Role)],
    failed: Generation,
    given_up: bool,
    cause: FailureCause,
) -> Action {
    let Publish(mut status) = published(workers) else {
        unreachable!()
    };
    status.start_failure = Some(StartFailure {
        failed,
        given_up,
        cause,
    });
    Publish(status)
}

fn stopped(pid: Pid, signal: Signal) -> [Action; 2] {
    [
        Send { pid, signal },
        Send {
            pid,
            signal: Signal::CONT,
        },
    ]
}

#[test]
fn the_first_worker_is_up_after_the_interval() {
    let mut scenario = Scenario::new();
    scenario.expect(&[Spawn { generation: 1 }]);
    scenario.dispatch(Event::Spawned(101));
    scenario.expect(&[compat("starting new worker 101")]);
    assert_eq!(
        scenario.seconds_left(),
        None,
        "no deadline before the program runs"
    );
    scenario.dispatch(Event::Executed);
    assert_eq!(scenario.seconds_left(), Some(1));
    scenario.pass(1);
    scenario.expect(&[published(&[(1, 101, Role::Current)])]);
    assert_eq!(scenario.seconds_left(), None, "idle");
}

#[test]
fn the_interval_does_not_end_before_the_program_runs() {
    let mut scenario = Scenario::new();
    scenario.dispatch(Event::Spawned(101));
    scenario.actions.clear();
    scenario.pass(5);
    scenario.expect(&[]);
    scenario.dispatch(Event::Executed);
    scenario.expect(&[published(&[(1, 101, Role::Current)])]);
}

#[test]
fn hup_starts_a_new_worker_and_then_signals_the_old_one() {
    let mut scenario = Scenario::up();
    scenario.dispatch(Event::Hup);
    scenario.expect(&[
        compat("received HUP, spawning a new worker"),
        Spawn { generation: 2 },
    ]);
    scenario.spawn(102);
    scenario.expect(&[compat("starting new worker 102")]);
    scenario.pass(1);
    let [quit, cont] = stopped(101, Signal::QUIT);
    scenario.expect(&[
        published(&[(1, 101, Role::Old), (2, 102, Role::Current)]),
        compat("new worker is now running, sending QUIT to old workers:101"),
        compat("killing old workers"),
        quit,
        cont,
    ]);
    scenario.exit(101, 0);
    scenario.expect(&[
        compat("old worker 101 died, status:0"),
        published(&[(2, 102, Role::Current)]),
    ]);
}

#[test]
fn after_a_failed_start_the_old_worker_stays_and_the_next_start_waits_for_the_interval() {
    let mut scenario = Scenario::up();
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.actions.clear();
    scenario.exit(102, 256);
    let old = [(1, 101, Role::Old)];
    scenario.expect(&[
        compat("new worker 102 seems to have failed to start, exit status:256"),
        published_failure(&old, 2, false, FailureCause::Exited(256)),
    ]);
    assert_eq!(scenario.seconds_left(), Some(1));
    scenario.pass(1);
    scenario.expect(&[Spawn { generation: 3 }]);
    scenario.dispatch(Event::SpawnFailed);
    scenario.expect(&[published_failure(&old, 3, false, FailureCause::Unknown)]);
    scenario.pass(1);
    scenario.expect(&[Spawn { generation: 4 }]);
}

#[test]
fn hups_during_a_restart_cause_one_more_after_it() {
    let mut scenario = Scenario::up();
    scenario.policy.kill_old_delay = Duration::from_secs(5);
    scenario.dispatch(Event::Hup);
    scenario.dispatch(Event::Spawned(102));
    scenario.dispatch(Event::Hup);
    scenario.dispatch(Event::Executed);
    scenario.dispatch(Event::Hup);
    scenario.pass(1);
    scenario.dispatch(Event::Hup);
    scenario.actions.clear();
    scenario.pass(5);
    let [quit, cont] = stopped(101, Signal::QUIT);
    scenario.expect(&[
        compat("killing old workers"),
        quit,
        cont,
        compat("received HUP, spawning a new worker"),
        Spawn { generation: 3 },
    ]);
    scenario.spawn(103);
    scenario.pass(1);
    scenario.actions.clear();
    scenario.pass(5);
    assert!(
        !scenario
            .actions
            .iter()
            .any(|action| matches!(action, Spawn { .. })),
        "{:?}",
        scenario.actions
    );
}

#[test]
fn when_a_new_worker_exits_during_the_delay_the_old_ones_stay_until_the_next_is_up() {
    let mut scenario = Scenario::up();
    scenario.policy.kill_old_delay = Duration::from_secs(5);
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.pass(1);
    scenario.actions.clear();
    scenario.pass(1);
    scenario.exit(102, 9);
    scenario.expect(&[
        compat("worker 102 died unexpectedly with status:9, restarting"),
        published(&[(1, 101, Role::Old)]),
        Spawn { generation: 3 },
    ]);
    scenario.spawn(103);
    scenario.actions.clear();
    scenario.pass(1);
    scenario.expect(&[
        published(&[(1, 101, Role::Old), (3, 103, Role::Current)]),
        compat("new worker is now running, sending QUIT to old workers:101"),
        compat("sleeping 5 secs before killing old workers"),
    ]);
}

#[test]
fn a_current_worker_that_exits_is_replaced_at_once_but_never_within_the_shortest_pause() {
    let mut scenario = Scenario::up();
    scenario.policy.interval = Duration::ZERO;
    scenario.exit(101, 11);
    scenario.expect(&[
        compat("worker 101 died unexpectedly with status:11, restarting"),
        published(&[]),
        Spawn { generation: 2 },
    ]);
    scenario.spawn(102);
    scenario.exit(102, 11);
    assert_eq!(
        scenario.supervisor.deadline(&scenario.policy),
        Some(scenario.now + SHORTEST_START_INTERVAL)
    );
}

#[test]
fn term_signals_all_workers_in_every_phase() {
    let hup = |scenario: &mut Scenario| scenario.dispatch(Event::Hup);
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Scenario), &'a [Pid]);
    let table: [Case; 5] = [
        ("up", &|_| {}, &[101]),
        (
            "executing",
            &|scenario| {
                hup(scenario);
                scenario.dispatch(Event::Spawned(102))
            },
            &[101, 102],
        ),
        (
            "checking",
            &|scenario| {
                hup(scenario);
                scenario.spawn(102)
            },
            &[101, 102],
        ),
        (
            "pausing",
            &|scenario| {
                hup(scenario);
                scenario.spawn(102);
                scenario.exit(102, 1)
            },
            &[101],
        ),
        (
            "delaying",
            &|scenario| {
                hup(scenario);
                scenario.spawn(102);
                scenario.pass(1)
            },
            &[101, 102],
        ),
    ];
    for (phase, enter, alive) in table {
        let mut scenario = Scenario::up();
        scenario.policy.kill_old_delay = Duration::from_secs(5);
        enter(&mut scenario);
        scenario.actions.clear();
        scenario.dispatch(Event::Terminate(Signal::TERM));
        let mut expected = vec![compat(&format!(
            "received TERM, sending TERM to all workers:{}",
            alive
                .iter()
                .map(Pid::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ))];
        expected.extend(alive.iter().flat_map(|&pid| stopped(pid, Signal::TERM)));
        assert_eq!(std::mem::take(&mut scenario.actions), expected, "{phase}");
        assert_eq!(scenario.seconds_left(), None, "{phase}");
        for &pid in alive {
            scenario.exit(pid, 15);
        }
        assert_eq!(
            scenario.actions[scenario.actions.len() - 2..],
            [compat("exiting"), Finish(Outcome::Stopped)],
            "{phase}"
        );
        scenario.actions.clear();
        scenario.dispatch(Event::Hup);
        scenario.dispatch(Event::Terminate(Signal::TERM));
        scenario.expect(&[]);
    }
}

#[test]
fn the_exit_of_a_candidate_after_term_is_not_published() {
    let mut scenario = Scenario::up();
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.dispatch(Event::Terminate(Signal::TERM));
    scenario.actions.clear();
    scenario.exit(102, 15);
    scenario.expect(&[compat("worker 102 died, status:15")]);
}

#[test]
fn a_further_term_or_int_signals_the_remaining_workers_again() {
    let mut scenario = Scenario::up();
    scenario.policy.signal_on_term = Signal::QUIT;
    for (received, sent) in [
        (Signal::TERM, Signal::QUIT),
        (Signal::QUIT, Signal::QUIT),
        (Signal::INT, Signal::TERM),
    ] {
        scenario.dispatch(Event::Terminate(received));
        let [signal, cont] = stopped(101, sent);
        scenario.expect(&[
            compat(&format!(
                "received {received}, sending {sent} to all workers:101"
            )),
            signal,
            cont,
        ]);
    }
}

#[test]
fn auto_restart_waits_for_old_workers_but_no_longer_than_two_intervals() {
    let mut scenario = Scenario::up();
    scenario.policy.auto_restart = Some(Duration::from_secs(10));
    scenario.pass(9);
    scenario.expect(&[]);
    scenario.pass(1);
    scenario.expect(&[
        compat("autorestart triggered (interval=10)"),
        Spawn { generation: 2 },
    ]);
    scenario.spawn(102);
    scenario.pass(1);
    scenario.actions.clear();
    scenario.pass(19);
    scenario.expect(&[]);
    scenario.pass(1);
    scenario.expect(&[
        compat("autorestart triggered (forced, interval=10)"),
        Spawn { generation: 3 },
    ]);
}

#[test]
fn the_exit_of_a_stranger_is_not_logged() {
    let mut scenario = Scenario::up();
    scenario.exit(4711, 0);
    scenario.expect(&[]);
}

fn note(text: &str) -> Action {
    Action::LogNote(text.to_string())
}

/// Like [`Scenario::up`], but the next workers must say that they are ready.
fn announcing() -> Scenario {
    let mut scenario = Scenario::up();
    scenario.policy.readiness = Readiness::Notify;
    scenario.policy.start_timeout = Some(Duration::from_secs(60));
    scenario
}

#[test]
fn a_worker_that_says_that_it_is_ready_is_up_at_once() {
    let mut scenario = announcing();
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.actions.clear();
    scenario.pass(5);
    scenario.dispatch(Event::Ready(101));
    scenario.expect(&[]);
    assert_eq!(scenario.seconds_left(), Some(55));
    scenario.dispatch(Event::Ready(102));
    let [quit, cont] = stopped(101, Signal::QUIT);
    scenario.expect(&[
        published(&[(1, 101, Role::Old), (2, 102, Role::Current)]),
        compat("new worker is now running, sending QUIT to old workers:101"),
        compat("killing old workers"),
        quit,
        cont,
    ]);
    scenario.dispatch(Event::Ready(102));
    scenario.expect(&[]);
}

#[test]
fn ready_may_come_before_executed() {
    let mut scenario = announcing();
    scenario.dispatch(Event::Hup);
    scenario.dispatch(Event::Spawned(102));
    scenario.actions.clear();
    assert_eq!(scenario.seconds_left(), Some(60), "an exec can hang, too");
    scenario.dispatch(Event::Ready(102));
    assert!(
        matches!(scenario.actions[0], Publish(_)),
        "{:?}",
        scenario.actions
    );
    scenario.dispatch(Event::Executed);
    assert_eq!(scenario.seconds_left(), None);
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_its_start_has_failed() {
    let mut scenario = announcing();
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.actions.clear();
    scenario.pass(50);
    scenario.dispatch(Event::Extend(102, Duration::from_secs(20)));
    scenario.dispatch(Event::Extend(102, Duration::from_secs(1)));
    scenario.dispatch(Event::Extend(101, Duration::from_secs(90)));
    assert_eq!(scenario.seconds_left(), Some(20));
    scenario.pass(20);
    scenario.expect(&[
        note("new worker 102 is not ready within --start-timeout, killing it"),
        Send {
            pid: 102,
            signal: Signal::KILL,
        },
    ]);
    scenario.dispatch(Event::Ready(102));
    scenario.expect(&[]);
    assert_eq!(scenario.seconds_left(), Some(5));
    scenario.pass(5);
    scenario.expect(&[note("worker 102 was killed, but has not ended yet")]);
    assert_eq!(scenario.seconds_left(), None);
    scenario.exit(102, 9);
    scenario.expect(&[
        compat("new worker 102 seems to have failed to start, exit status:9"),
        published_failure(&[(1, 101, Role::Old)], 2, false, FailureCause::NotReady),
        Spawn { generation: 3 },
    ]);
}

#[test]
fn each_worker_is_told_once_until_a_second_term_insists() {
    let mut scenario = Scenario::up();
    for pid in [102, 103] {
        scenario.dispatch(Event::Hup);
        scenario.spawn(pid);
        scenario.pass(1);
    }
    let is_sent =
        |action: &&Action| matches!(action, Send { signal, .. } if *signal != Signal::CONT);
    let sent = |scenario: &mut Scenario| -> Vec<Action> {
        let actions = std::mem::take(&mut scenario.actions);
        actions.iter().filter(is_sent).cloned().collect()
    };
    let send = |pid, signal| Send { pid, signal };
    let (quit, term) = (Signal::QUIT, Signal::TERM);
    assert_eq!(sent(&mut scenario), [send(101, quit), send(102, quit)]);
    scenario.policy.signal_on_term = Signal::QUIT;
    scenario.dispatch(Event::Terminate(Signal::TERM));
    let line = compat("received TERM, sending QUIT to all workers:103");
    assert!(scenario.actions.contains(&line), "{:?}", scenario.actions);
    assert_eq!(sent(&mut scenario), [send(103, quit)]);
    scenario.dispatch(Event::Terminate(Signal::TERM));
    assert_eq!(
        sent(&mut scenario),
        [101, 102, 103].map(|pid| send(pid, quit))
    );
    scenario.dispatch(Event::Terminate(Signal::INT));
    assert_eq!(
        sent(&mut scenario),
        [101, 102, 103].map(|pid| send(pid, term))
    );
}

#[test]
fn a_worker_that_could_not_be_signalled_is_told_again() {
    let mut scenario = Scenario::up();
    for pid in [102, 103] {
        scenario.dispatch(Event::Hup);
        scenario.spawn(pid);
        scenario.actions.clear();
        scenario.pass(1);
        scenario.dispatch(Event::SignalFailed(101));
        let told = &stopped(101, Signal::QUIT)[0];
        assert!(scenario.actions.contains(told), "{:?}", scenario.actions);
    }
}

#[test]
fn a_worker_that_dies_right_after_it_was_ready_has_failed_to_start() {
    let mut scenario = Scenario::new();
    scenario.policy.readiness = Readiness::Notify;
    scenario.policy.max_start_failures = 2;
    scenario.policy.interval = Duration::from_secs(5);
    let crash = |scenario: &mut Scenario, pid, seconds| {
        scenario.spawn(pid);
        scenario.dispatch(Event::Ready(pid));
        scenario.pass(seconds);
        scenario.actions.clear();
        scenario.exit(pid, 256);
    };
    crash(&mut scenario, 101, 2);
    scenario.expect(&[
        compat("worker 101 died unexpectedly with status:256, restarting"),
        published_failure(&[], 1, false, FailureCause::Exited(256)),
    ]);
    assert_eq!(scenario.seconds_left(), Some(3));
    scenario.pass(3);
    scenario.expect(&[Spawn { generation: 2 }]);
    // One that has lived for the interval is replaced at once, and the count begins again.
    crash(&mut scenario, 102, 5);
    assert_eq!(scenario.actions.last(), Some(&Spawn { generation: 3 }));
    crash(&mut scenario, 103, 2);
    scenario.pass(3);
    crash(&mut scenario, 104, 0);
    assert_eq!(scenario.actions.last(), Some(&Finish(Outcome::GivenUp)));
}

#[test]
fn a_signal_is_forwarded_to_the_worker_that_serves() {
    let mut scenario = Scenario::new();
    scenario.spawn(101);
    scenario.actions.clear();
    scenario.dispatch(Event::Forward(Signal::USR1));
    scenario.expect(&[note("received USR1, no worker is up to get it")]);
    scenario.pass(1);
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    for pid in [101, 102] {
        scenario.actions.clear();
        scenario.dispatch(Event::Forward(Signal::USR1));
        scenario.expect(&[
            note(&format!("received USR1, forwarding it to worker {pid}")),
            Send {
                pid,
                signal: Signal::USR1,
            },
        ]);
        scenario.pass(1);
    }
    scenario.dispatch(Event::Terminate(Signal::TERM));
    scenario.actions.clear();
    scenario.dispatch(Event::Forward(Signal::USR1));
    scenario.expect(&[note("received USR1, no worker is up to get it")]);
}

#[test]
fn hints_are_given_once() {
    let mut scenario = Scenario::new();
    let fail = |scenario: &mut Scenario, pid, status| {
        scenario.spawn(pid);
        scenario.actions.clear();
        scenario.exit(pid, status);
        scenario.pass(1);
        let is_hint = |action: &&Action| matches!(action, Action::LogNote(_));
        scenario
            .actions
            .iter()
            .filter(is_hint)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(fail(&mut scenario, 101, 256), []);
    assert_eq!(fail(&mut scenario, 102, 0), [note(hints::BACKGROUND)]);
    assert_eq!(fail(&mut scenario, 103, 0), [note(hints::NEVER_UP)]);
    assert_eq!(fail(&mut scenario, 104, 0), []);
    // The line of a program that cannot be executed says enough.
    let mut scenario = Scenario::new();
    for pid in 101..105 {
        scenario.dispatch(Event::Spawned(pid));
        scenario.actions.clear();
        scenario.exit(pid, 65_280);
        assert!(!scenario.actions.contains(&note(hints::NEVER_UP)));
        scenario.pass(1);
    }
    // One that is never ready gets another hint than one that exits.
    let mut scenario = Scenario::new();
    scenario.policy.readiness = Readiness::Notify;
    scenario.policy.start_timeout = Some(Duration::from_secs(60));
    let mut hints = Vec::new();
    for pid in 101..105 {
        scenario.spawn(pid);
        scenario.pass(60);
        scenario.exit(pid, 9);
        scenario.pass(1);
        hints.append(&mut scenario.actions);
    }
    let hint = note(hints::never_ready(Readiness::Notify));
    assert_eq!(hints.iter().filter(|action| **action == hint).count(), 1);
    assert!(!hints.contains(&note(hints::NEVER_UP)));
    // A program that has been up once is no wrong one.
    let mut scenario = Scenario::up();
    scenario.dispatch(Event::Hup);
    for pid in 102..110 {
        assert_eq!(fail(&mut scenario, pid, 256), []);
    }
}

#[test]
fn the_report_tells_what_is_going_on() {
    let mut scenario = Scenario::new();
    let activity = |scenario: &Scenario| scenario.supervisor.report().activity;
    assert_eq!(activity(&scenario), Activity::Starting);
    scenario.spawn(101);
    assert_eq!(
        scenario.supervisor.report().workers[0].role,
        Role::Candidate
    );
    scenario.pass(1);
    assert_eq!(activity(&scenario), Activity::Up);
    scenario.policy.kill_old_delay = Duration::from_secs(5);
    scenario.dispatch(Event::Hup);
    assert_eq!(activity(&scenario), Activity::Restarting);
    scenario.spawn(102);
    scenario.pass(1);
    assert_eq!(activity(&scenario), Activity::Restarting);
    scenario.pass(5);
    assert_eq!(activity(&scenario), Activity::Up);
    scenario.exit(101, 0);
    assert_eq!(scenario.supervisor.report().deaths, 0);
    scenario.exit(102, 0);
    assert_eq!(activity(&scenario), Activity::Starting);
    assert_eq!(scenario.supervisor.report().deaths, 1);
    scenario.spawn(103);
    scenario.dispatch(Event::Terminate(Signal::TERM));
    assert_eq!(activity(&scenario), Activity::Ending);
}

#[test]
fn a_restart_is_given_up_after_too_many_failed_starts_until_the_next_hup() {
    let mut scenario = Scenario::up();
    scenario.policy.max_start_failures = 2;
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.exit(102, 256);
    // A fork that fails does not count.
    scenario.pass(1);
    scenario.dispatch(Event::SpawnFailed);
    scenario.pass(1);
    scenario.spawn(104);
    scenario.actions.clear();
    scenario.exit(104, 256);
    let cause = FailureCause::Exited(256);
    scenario.expect(&[
        compat("new worker 104 seems to have failed to start, exit status:256"),
        note("giving up the restart after 2 failed starts, generation 1 is still serving"),
        published_failure(&[(1, 101, Role::Current)], 4, true, cause),
    ]);
    assert_eq!(scenario.seconds_left(), None);
    scenario.pass(100);
    scenario.dispatch(Event::Hup);
    scenario.expect(&[
        compat("received HUP, spawning a new worker"),
        published_failure(&[(1, 101, Role::Old)], 4, false, cause),
        Spawn { generation: 5 },
    ]);
    scenario.spawn(105);
    scenario.exit(105, 256);
    scenario.pass(1);
    scenario.spawn(106);
    scenario.actions.clear();
    scenario.exit(106, 256);
    scenario.expect(&[
        compat("new worker 106 seems to have failed to start, exit status:256"),
        note("giving up the restart after 2 failed starts, generation 1 is still serving"),
        published_failure(
            &[(1, 101, Role::Current)],
            6,
            true,
            FailureCause::Exited(256),
        ),
    ]);
    scenario.pass(1);
    scenario.dispatch(Event::Hup);
    scenario.spawn(107);
    scenario.actions.clear();
    scenario.pass(1);
    assert_eq!(
        scenario.actions[0],
        published(&[(1, 101, Role::Old), (7, 107, Role::Current)])
    );
}

#[test]
fn a_hup_during_the_last_start_causes_a_restart_that_is_not_given_up_yet() {
    let mut scenario = Scenario::up();
    scenario.policy.max_start_failures = 1;
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.dispatch(Event::Hup);
    scenario.pass(0);
    scenario.actions.clear();
    scenario.exit(102, 256);
    scenario.expect(&[
        compat("new worker 102 seems to have failed to start, exit status:256"),
        note("giving up the restart after 1 failed starts, generation 1 is still serving"),
        published_failure(
            &[(1, 101, Role::Current)],
            2,
            false,
            FailureCause::Exited(256),
        ),
        compat("received HUP, spawning a new worker"),
    ]);
    scenario.pass(1);
    scenario.expect(&[Spawn { generation: 3 }]);
}

#[test]
fn giving_up_without_a_worker_is_the_end() {
    let mut scenario = Scenario::new();
    scenario.policy.max_start_failures = 1;
    scenario.spawn(101);
    scenario.actions.clear();
    scenario.exit(101, 256);
    scenario.expect(&[
        compat("new worker 101 seems to have failed to start, exit status:256"),
        note("giving up after 1 failed starts, no worker is left to serve"),
        published_failure(&[], 1, false, FailureCause::Exited(256)),
        compat("exiting"),
        Finish(Outcome::GivenUp),
    ]);
}

#[test]
fn the_end_after_giving_up_waits_for_signalled_workers() {
    let mut scenario = Scenario::up();
    scenario.policy.max_start_failures = 1;
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.pass(1);
    scenario.exit(102, 9);
    scenario.pass(1);
    scenario.spawn(103);
    scenario.exit(103, 256);
    assert!(!scenario.actions.contains(&Finish(Outcome::GivenUp)));
    // A signal does not change the outcome.
    scenario.dispatch(Event::Terminate(Signal::TERM));
    scenario.actions.clear();
    scenario.exit(101, 0);
    scenario.expect(&[
        compat("worker 101 died, status:0"),
        published_failure(&[], 3, false, FailureCause::Exited(256)),
        compat("exiting"),
        Finish(Outcome::GivenUp),
    ]);
}

#[test]
fn a_worker_that_does_not_finish_in_time_is_killed() {
    let mut scenario = Scenario::up();
    scenario.policy.kill_timeout = Some(Duration::from_secs(10));
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.pass(1);
    scenario.actions.clear();
    assert_eq!(scenario.seconds_left(), Some(10));
    scenario.pass(9);
    scenario.dispatch(Event::Terminate(Signal::TERM));
    scenario.actions.clear();
    let kill = |pid| Send {
        pid,
        signal: Signal::KILL,
    };
    scenario.pass(1);
    scenario.expect(&[
        note("worker 101 has not ended within --kill-timeout, killing it"),
        kill(101),
    ]);
    assert_eq!(scenario.seconds_left(), Some(5));
    scenario.pass(5);
    scenario.expect(&[note("worker 101 was killed, but has not ended yet")]);
    assert_eq!(scenario.seconds_left(), Some(4));
    scenario.pass(4);
    scenario.expect(&[
        note("worker 102 has not ended within --kill-timeout, killing it"),
        kill(102),
    ]);
    assert_eq!(scenario.seconds_left(), Some(5));
}

#[test]
fn a_hup_waits_for_a_candidate_that_was_killed_and_says_so() {
    let mut scenario = announcing();
    scenario.dispatch(Event::Hup);
    scenario.spawn(102);
    scenario.dispatch(Event::Hup);
    scenario.pass(60);
    scenario.actions.clear();
    scenario.dispatch(Event::Hup);
    let line = "received HUP, waiting for the end of worker 102, which was killed";
    scenario.expect(&[note(line)]);
    scenario.exit(102, 9);
    scenario.spawn(103);
    scenario.dispatch(Event::Ready(103));
    scenario.pass(1);
    assert!(scenario.actions.contains(&Spawn { generation: 4 }));
}

/// The publication of [`published`] while this worker, of generation 1, is told by TERM.
fn published_with_remnant(pid: Pid, told: Time, workers: &[(Generation, Pid, Role)]) -> Action {
    let Publish(mut status) = published(&[&[(1, pid, Role::Remnant)], workers].concat()) else {
        unreachable!()
    };
    status.workers[0].stop = StopState::Signalled {
        since: told,
        last: Signal::TERM,
    };
    Publish(status)
}

#[test]
fn the_rest_of_a_dead_worker_is_told_once_and_counts_as_old() {
    let mut scenario = Scenario::up();
    let left = |pid| Event::LeftOthers { pid, status: 9 };
    scenario.pass(1);
    scenario.dispatch(left(101));
    let told = scenario.now;
    let [term, cont] = stopped(101, Signal::TERM);
    scenario.expect(&[
        note("worker 101 has exited, sending TERM to the rest of its process group"),
        term,
        cont,
        compat("worker 101 died unexpectedly with status:9, restarting"),
        published_with_remnant(101, told, &[]),
        Spawn { generation: 2 },
    ]);
    scenario.spawn(102);
    scenario.actions.clear();
    scenario.pass(1);
    scenario.expect(&[published_with_remnant(
        101,
        told,
        &[(2, 102, Role::Current)],
    )]);
    // A second report, after an upgrade, tells nothing new. The rest gets no forwarded signal, and no second TERM.
    scenario.dispatch(left(101));
    scenario.expect(&[]);
    scenario.dispatch(Event::Terminate(Signal::TERM));
    let [term, cont] = stopped(102, Signal::TERM);
    let line = compat("received TERM, sending TERM to all workers:102");
    scenario.expect(&[line, term, cont]);
    scenario.dispatch(left(102));
    scenario.expect(&[note(
        "worker 102 has exited, waiting for the rest of its process group",
    )]);
    scenario.exit(102, 0);
    scenario.actions.clear();
    scenario.exit(101, 9);
    scenario.expect(&[
        compat("worker 101 died, status:9"),
        published(&[]),
        compat("exiting"),
        Finish(Outcome::Stopped),
    ]);
}

/// If one of these words changed, an upgrade from version 0.1.0 would fail.
#[test]
fn every_phase_is_saved_in_the_words_of_version_0_1_0() {
    let (since, until, now) = (Time::from_secs(1), Time::from_secs(5), Time::from_secs(2));
    let starting = |step| Phase::Starting(StartReason::NoneServes, step);
    let executing = StartStep::Executing { until: None };
    let checking = StartStep::Checking { until: Some(until) };
    let table = [
        (starting(executing), "executing vacancy=true since=- left=-"),
        (
            starting(checking),
            "proving vacancy=true since=- left=3000000",
        ),
        (
            Phase::Starting(StartReason::Restart, StartStep::Overdue),
            "overdue vacancy=false since=- left=-",
        ),
        (
            starting(StartStep::Pausing { until }),
            "pausing vacancy=true since=- left=3000000",
        ),
        (
            Phase::Up { since },
            "standing vacancy=false since=1000000 left=-",
        ),
        (
            Phase::Delaying { since, until },
            "delaying vacancy=false since=1000000 left=3000000",
        ),
        (
            Phase::Finishing(Outcome::Stopped),
            "finishing vacancy=false since=- left=-",
        ),
        (
            Phase::Finishing(Outcome::GivenUp),
            "giving_up vacancy=false since=- left=-",
        ),
    ];
    for (phase, text) in table {
        let mut supervisor = Scenario::up().supervisor;
        supervisor.phase = phase;
        let (saved, workers) = supervisor.save(now);
        let line = render(&saved);
        assert!(line.ends_with(&format!(" phase={text}\n")), "{line}");
        let restored = Supervisor::restore(&saved, &workers, now).unwrap();
        assert_eq!(restored.phase, phase);
    }
}

#[test]
fn a_phase_that_cannot_be_continued_is_refused() {
    let (mut saved, _) = Scenario::up().supervisor.save(Time::ZERO);
    saved.since = None;
    let error = Supervisor::restore(&saved, &[], Time::ZERO).err();
    assert_eq!(
        error.unwrap().to_string(),
        "the saved phase Up cannot be continued"
    );
}

#[test]
fn an_unknown_phase_or_role_is_refused_by_name() {
    let (saved, workers) = Scenario::up().supervisor.save(Time::ZERO);
    let text = render(&saved).replace("standing", "flying");
    let error = crate::saved::restore::<SavedSupervisor>(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the saved supervisor has no valid value for phase: flying"
    );
    let text = render(&workers[0]).replace("current", "foreman");
    let error = crate::saved::restore::<SavedWorker>(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the saved worker has no valid value for part: foreman"
    );
}

fn render<T: crate::saved::Record + Clone>(record: &T) -> String {
    let mut text = String::new();
    crate::saved::save(&mut text, &mut [record.clone()]);
    text
}
