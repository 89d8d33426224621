//! The whole life, simulated: seeded histories of happenings, and what must hold in each of them.

use super::*;
use crate::nasty::Random;
use std::collections::BTreeMap;

/// As many histories as `make check` runs; `HISTORIES` and `SEED` in the environment say otherwise.
const HISTORIES: u64 = 1_000_000;
const HAPPENINGS: usize = 40;

#[test]
fn every_history_keeps_the_promises() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first: u64 = number("SEED", 1);
    let seeds = first..first + number("HISTORIES", HISTORIES);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let seeds = seeds.clone().skip(thread).step_by(threads);
            scope.spawn(|| seeds.for_each(live_through));
        }
    });
}

fn live_through(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..HAPPENINGS {
        if world.finished {
            break;
        }
        world.happen();
    }
    world.settle();
}

/// A live worker as the world knows it.
struct Process {
    generation: Generation,
    /// The end of its interval.
    proves_at: Time,
    executed: bool,
    /// It was published as one that passed its check.
    proved: bool,
    told_to_finish: bool,
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    policy: Policy,
    supervisor: Supervisor,
    live: BTreeMap<Pid, Process>,
    generation: Generation,
    last_attempt: Option<Time>,
    /// The last attempt failed within its interval: when the next may be made.
    failed_until: Time,
    fork_fails: bool,
    terminated: bool,
    finished: bool,
    /// The newest generation when the last HUP came.
    hup_at: Option<Generation>,
    hups: usize,
    restarts_by_hup: usize,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let policy = random.policy();
        let (supervisor, actions) = Supervisor::start(Time::ZERO);
        let mut world = World {
            seed,
            random,
            now: Time::ZERO,
            policy,
            supervisor,
            live: BTreeMap::new(),
            generation: 0,
            last_attempt: None,
            failed_until: Time::ZERO,
            fork_fails: false,
            terminated: false,
            finished: false,
            hup_at: None,
            hups: 0,
            restarts_by_hup: 0,
            history: Vec::new(),
        };
        world.perform(actions);
        world
    }

    /// One turn: some news, deaths first, then `Tick`.
    fn happen(&mut self) {
        match self.random.below(16) {
            0..=2 => self.pass_to_deadline(),
            3 => self.now += Duration::from_millis(self.random.below(3000)),
            4 => self.fork_fails = !self.fork_fails,
            5 => self.policy = self.random.policy(),
            _ => {}
        }
        for pid in self.live.keys().copied().collect::<Vec<_>>() {
            let willing = self.live[&pid].told_to_finish;
            if self.random.below(if willing { 3 } else { 12 }) == 0 {
                self.die(pid);
            }
        }
        match self.random.below(24) {
            0..=3 => self.hup(),
            4 => self.finish(),
            5 => self.tell(Event::Exited {
                pid: 9999,
                status: 0,
            }),
            6..=15 => self.execute(),
            _ => {}
        }
        self.tick();
    }

    /// Failures stop: within a bounded number of turns one worker of the newest generation stands alone, or,
    /// after TERM, nobody.
    fn settle(&mut self) {
        self.history.push("failures stop".to_string());
        self.fork_fails = false;
        self.policy.auto_restart = None;
        for _ in 0..20 {
            if self.finished {
                return;
            }
            for pid in self.live.keys().copied().collect::<Vec<_>>() {
                if self.live[&pid].told_to_finish {
                    self.die(pid);
                }
            }
            self.execute();
            self.pass_to_deadline();
            self.tick();
        }
        self.check(
            !self.terminated,
            "after TERM everyone died and it did not finish",
        );
        self.check(self.live.len() == 1, "one worker stands");
        self.check(
            self.live
                .values()
                .all(|p| p.generation == self.generation && p.proved),
            "it is the newest",
        );
        self.check(
            self.hup_at.is_none_or(|at| self.generation > at),
            "every HUP was followed by a new generation",
        );
        let restarts = self.restarts_by_hup;
        self.check(restarts <= self.hups, "no more restarts than HUPs");
        self.check(self.supervisor.deadline(&self.policy).is_none(), "idle");
    }

    fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.supervisor.deadline(&self.policy) {
            self.now = self.now.max(deadline);
        }
    }

    fn die(&mut self, pid: Pid) {
        let process = self.live.remove(&pid).unwrap();
        if !process.proved {
            self.failed_until = process.proves_at;
        }
        self.tell(Event::Exited { pid, status: 256 });
    }

    fn execute(&mut self) {
        let waiting = self.live.values_mut().find(|process| !process.executed);
        if let Some(process) = waiting {
            process.executed = true;
            self.tell(Event::Executed);
        }
    }

    fn hup(&mut self) {
        self.hups += 1;
        self.hup_at = Some(self.generation);
        self.tell(Event::Hup);
    }

    fn finish(&mut self) {
        self.terminated = true;
        let received = [Signal::TERM, Signal::INT, Signal::QUIT][self.random.below(3) as usize];
        self.tell(Event::Finish(received));
    }

    fn tick(&mut self) {
        self.tell(Event::Tick);
        if let Some(deadline) = self.supervisor.deadline(&self.policy) {
            self.check(deadline > self.now, "a deadline that has passed would spin");
        }
    }

    fn tell(&mut self, event: Event) {
        self.history.push(format!("{:?} {event:?}", self.now));
        let actions = self.supervisor.handle(event, self.now, &self.policy);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.history.push(format!("    {action:?}"));
            self.check(!self.finished, "nothing after Finish");
            match action {
                Action::Spawn { generation } => self.spawn(generation),
                Action::Signal { pid, signal } => self.signal(pid, signal),
                Action::Publish(workers) => self.publish(&workers),
                Action::Say(line) => {
                    self.restarts_by_hup += usize::from(line.starts_with("received HUP"))
                }
                Action::Finish => {
                    self.check(
                        self.terminated && self.live.is_empty(),
                        "Finish after TERM, when nobody lives",
                    );
                    self.finished = true;
                }
            }
        }
    }

    fn spawn(&mut self, generation: Generation) {
        self.check(!self.terminated, "no spawn after TERM");
        self.check(generation == self.generation + 1, "generations rise by one");
        self.check(
            self.live.values().all(|process| process.proved),
            "one start at a time",
        );
        let rested = self
            .last_attempt
            .is_none_or(|at| self.now >= at + SHORTEST_PAUSE);
        self.check(
            rested && self.now >= self.failed_until,
            "attempts are paced",
        );
        self.generation = generation;
        self.last_attempt = Some(self.now);
        let proves_at = self.now + self.policy.interval;
        if self.fork_fails {
            self.failed_until = proves_at;
            return self.tell(Event::SpawnFailed);
        }
        // Numbers of the dead are used again, as the kernel does.
        let pid = (101..).find(|pid| !self.live.contains_key(pid)).unwrap();
        let process = Process {
            generation,
            proves_at,
            executed: false,
            proved: false,
            told_to_finish: false,
        };
        self.live.insert(pid, process);
        self.tell(Event::Spawned(pid));
    }

    fn signal(&mut self, pid: Pid, signal: Signal) {
        self.check(
            self.live.contains_key(&pid),
            "only the living are signalled",
        );
        let generation = self.live[&pid].generation;
        let newest = self
            .live
            .values()
            .max_by_key(|process| process.generation)
            .unwrap();
        let superseded = newest.proved && newest.generation > generation;
        self.check(
            self.terminated || superseded,
            "an old worker is told to finish when a newer one stands",
        );
        if signal != Signal::CONT {
            self.live.get_mut(&pid).unwrap().told_to_finish = true;
        }
    }

    fn publish(&mut self, workers: &[Worker]) {
        self.check(
            workers
                .windows(2)
                .all(|pair| pair[0].generation < pair[1].generation),
            "oldest first",
        );
        for worker in workers {
            let Some(process) = self.live.get_mut(&worker.pid) else {
                self.check(false, "what is published is alive");
                return;
            };
            let passed = process.executed && process.proves_at <= self.now;
            let same = process.generation == worker.generation;
            process.proved = true;
            self.check(
                passed && same,
                "what is published ran its program for the whole interval",
            );
        }
        let proved = self.live.values().filter(|process| process.proved).count();
        self.check(proved == workers.len(), "all that passed are published");
    }

    fn check(&self, holds: bool, promise: &str) {
        assert!(
            holds,
            "seed {}: {promise}\n{}",
            self.seed,
            self.history.join("\n")
        );
    }
}

impl Random {
    fn policy(&mut self) -> Policy {
        let seconds = |number| Duration::from_secs(number);
        Policy {
            interval: seconds(self.below(3)),
            signal_on_hup: Signal::QUIT,
            signal_on_term: Signal::TERM,
            kill_old_delay: seconds(self.below(2) * self.below(4)),
            auto_restart: (self.below(3) == 0).then(|| seconds(1 + self.below(5))),
        }
    }
}
