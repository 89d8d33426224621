//! The whole life, simulated: seeded histories of happenings, and what must hold in each of them.

use super::*;
use crate::fuzz::Random;
use crate::supervisor::policy::Readiness;
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
    /// When it may be killed for not being ready.
    overdue_at: Option<Time>,
    executed: bool,
    said_ready: bool,
    /// It was published as one that passed its check.
    proved: bool,
    /// When it was told to finish.
    told: Option<Time>,
    killed: bool,
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
    /// Failed attempts since a worker stood or a restart began.
    failures: u32,
    given_up: bool,
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
            failures: 0,
            given_up: false,
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
            5 => self.policy = self.random.steer(&self.policy),
            6 => self.upgrade(),
            _ => {}
        }
        for pid in self.live.keys().copied().collect::<Vec<_>>() {
            let process = &self.live[&pid];
            let unlikely = match (process.killed, process.told) {
                (true, _) => 2,
                (false, Some(_)) => 3,
                (false, None) => 12,
            };
            if self.random.below(unlikely) == 0 {
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
            6..=13 => self.execute(),
            14..=18 => self.say_ready(),
            19 => self.extend(),
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
                let process = &self.live[&pid];
                if process.told.is_some() || process.killed {
                    self.die(pid);
                }
            }
            self.execute();
            self.say_ready();
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
                .all(|p| (p.generation == self.generation || self.given_up) && p.proved),
            "it is the newest, unless a restart was given up",
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
            self.failures += 1;
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

    fn say_ready(&mut self) {
        let candidate = self.live.iter_mut().find(|(_, process)| !process.proved);
        if let Some((&pid, process)) = candidate {
            // The word may overtake the news of the exec, which is none any more then.
            process.executed |= self.policy.readiness.is_announced();
            process.said_ready = true;
            self.tell(Event::Ready(pid));
        }
    }

    fn extend(&mut self) {
        let time = Duration::from_secs(self.random.below(9));
        let chosen = self.random.below(self.live.len() as u64 + 1) as usize;
        let pid = self.live.keys().nth(chosen).copied();
        if let Some((pid, process)) = pid.and_then(|pid| Some((pid, self.live.get_mut(&pid)?))) {
            process.overdue_at = process.overdue_at.max(Some(self.now + time));
            self.tell(Event::Extend(pid, time));
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

    /// Another program goes on with what this one writes down.
    fn upgrade(&mut self) {
        let (mut saved, mut workers) = self.supervisor.save(self.now);
        let mut text = String::new();
        crate::saved::save(&mut text, std::slice::from_mut(&mut saved));
        crate::saved::save(&mut text, &mut workers);
        self.history.push(text.clone());
        let read = crate::saved::restore::<SavedSupervisor>(&text).unwrap();
        self.check(
            read == [saved.clone()] && crate::saved::restore(&text).as_ref() == Ok(&workers),
            "what was written is what is read",
        );
        self.supervisor = Supervisor::restore(&saved, &workers, self.now).unwrap();
        self.check(
            self.supervisor.save(self.now) == (saved, workers),
            "what was restored is what was saved",
        );
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
                Action::Publish(status) => self.publish(&status),
                Action::LogCompat(line) => {
                    let by_hup = line.starts_with("received HUP");
                    self.restarts_by_hup += usize::from(by_hup);
                    if by_hup || line.starts_with("autorestart") || line.contains("unexpectedly") {
                        self.failures = 0;
                        self.given_up = false;
                    }
                }
                Action::LogNote(line) => {
                    if line.starts_with("giving up") {
                        let all = self.policy.max_start_failures;
                        self.check(
                            all == self.failures,
                            "given up after as many failures as allowed",
                        );
                        self.given_up = true;
                        // The next attempt is somebody's wish.
                        self.failed_until = self.now;
                    }
                }
                Action::Finish(outcome) => {
                    let because = match outcome {
                        Outcome::Stopped => self.terminated,
                        Outcome::GivenUp => self.given_up,
                    };
                    self.check(
                        because && self.live.is_empty(),
                        "Finish after TERM or giving up, when nobody lives",
                    );
                    self.finished = true;
                }
            }
        }
    }

    fn spawn(&mut self, generation: Generation) {
        self.check(!self.terminated, "no spawn after TERM");
        self.check(!self.given_up, "no spawn after giving up");
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
            self.failures += 1;
            return self.tell(Event::SpawnFailed);
        }
        // Numbers of the dead are used again, as the kernel does.
        let pid = (101..).find(|pid| !self.live.contains_key(pid)).unwrap();
        let process = Process {
            generation,
            proves_at,
            overdue_at: self.policy.start_timeout.map(|time| self.now + time),
            executed: false,
            said_ready: false,
            proved: false,
            told: None,
            killed: false,
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
        let (now, policy) = (self.now, self.policy.clone());
        let process = self.live.get_mut(&pid).unwrap();
        let justified = match signal {
            Signal::KILL => {
                let timeout = policy.kill_timeout;
                let stays = process
                    .told
                    .zip(timeout)
                    .is_some_and(|(told, time)| told + time <= now);
                let may_wait = process.overdue_at.is_none_or(|at| at > now);
                let overdue = policy.readiness.is_announced() && !process.proved && !may_wait;
                !std::mem::replace(&mut process.killed, true) && (stays || overdue)
            }
            _ => {
                process.told.get_or_insert(now);
                self.terminated || superseded
            }
        };
        self.check(
            justified,
            "an old worker is told to finish when a newer one stands, and killed, once, when its time is over",
        );
    }

    fn publish(&mut self, status: &Status) {
        let workers = &status.workers;
        let told = status.start_failure.is_none() || self.policy.publishes_failures();
        self.check(told, "failures are told where somebody asked for it");
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
            let passed = process.executed
                && match self.policy.readiness.is_announced() {
                    true => process.said_ready,
                    false => process.proves_at <= self.now,
                };
            let first = !process.proved;
            let same = process.generation == worker.generation;
            process.proved = true;
            if first {
                self.failures = 0;
                self.given_up = false;
            }
            self.check(
                passed && same,
                "what is published ran its program for the whole interval, or said that it is ready",
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
        let policy = Policy {
            interval: seconds(self.below(3)),
            signal_on_hup: Signal::QUIT,
            readiness: [Readiness::Interval, Readiness::Notify][self.below(2) as usize],
            start_timeout: (self.below(3) > 0).then(|| seconds(1 + self.below(9))),
            max_start_failures: self.below(4) as u32,
            ..Policy::default()
        };
        self.steer(&policy)
    }

    /// What envdir can change while it runs.
    fn steer(&mut self, policy: &Policy) -> Policy {
        let seconds = |number| Duration::from_secs(number);
        Policy {
            kill_old_delay: seconds(self.below(2) * self.below(4)),
            auto_restart: (self.below(3) == 0).then(|| seconds(1 + self.below(5))),
            kill_timeout: (self.below(3) == 0).then(|| seconds(1 + self.below(5))),
            ..policy.clone()
        }
    }
}
