//! The life of a worker, told as exact lists of actions.

use super::*;
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
            interval: Duration::from_secs(1),
            signal_on_hup: Signal::QUIT,
            signal_on_term: Signal::TERM,
            kill_old_delay: Duration::ZERO,
            auto_restart: None,
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
    Action::Say(text.to_string())
}

fn published(workers: &[(Generation, Pid, Part)]) -> Action {
    Publish(
        workers
            .iter()
            .map(|&(generation, pid, part)| Worker {
                pid,
                generation,
                part,
            })
            .collect(),
    )
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
    life.expect(&[published(&[(1, 101, Part::Current)])]);
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
    life.expect(&[published(&[(1, 101, Part::Current)])]);
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
        published(&[(1, 101, Part::Old), (2, 102, Part::Current)]),
        line("new worker is now running, sending QUIT to old workers:101"),
        line("killing old workers"),
        quit,
        cont,
    ]);
    life.dies(101, 0);
    life.expect(&[
        line("old worker 101 died, status:0"),
        published(&[(2, 102, Part::Current)]),
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
        published(&[(1, 101, Part::Old)]),
        Spawn { generation: 3 },
    ]);
    life.spawn(103);
    life.actions.clear();
    life.pass(1);
    life.expect(&[
        published(&[(1, 101, Part::Old), (3, 103, Part::Current)]),
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
            join(alive)
        ))];
        expected.extend(alive.iter().flat_map(|&pid| told(pid, Signal::TERM)));
        assert_eq!(std::mem::take(&mut life.actions), expected, "{phase}");
        assert_eq!(life.seconds_left(), None, "{phase}");
        for &pid in alive {
            life.dies(pid, 15);
        }
        assert_eq!(
            life.actions[life.actions.len() - 2..],
            [line("exiting"), Finish],
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
