//! Random histories of events, and the promises that the supervisor keeps in each of them.
//!
//! A failure prints the seed and the history. `SEED=7 HISTORIES=1 cargo test simulation` runs one history again.

use super::*;
use crate::fuzz::Random;
use crate::supervisor::policy::{KillMode, Readiness};
use std::collections::BTreeMap;

/// The number of histories, unless `HISTORIES` in the environment says otherwise.
const HISTORIES: u64 = 1_000_000;
const TURNS: usize = 40;

#[test]
fn every_history_keeps_the_promises() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first: u64 = number("SEED", 1);
    let seeds = first..first + number("HISTORIES", HISTORIES);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let seeds = seeds.clone().skip(thread).step_by(threads);
            scope.spawn(|| seeds.for_each(run_history));
        }
    });
}

fn run_history(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..TURNS {
        if world.finished {
            break;
        }
        world.turn();
    }
    world.settle();
}

/// The process of a live worker, or what it has left of its process group.
struct Process {
    generation: Generation,
    /// The end of the `--interval` of its start.
    interval_end: Time,
    /// The time after which the supervisor may kill it because it is not ready.
    overdue_at: Option<Time>,
    executed: bool,
    announced: bool,
    /// It was published, and so has passed its check.
    passed: bool,
    /// The time at which it was published first.
    passed_at: Time,
    /// The time of the first signal to finish, and the last signal.
    signalled: Option<(Time, Signal)>,
    killed: bool,
    /// It has others in its process group.
    has_others: bool,
    exited: bool,
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    policy: Policy,
    supervisor: Supervisor,
    live: BTreeMap<Pid, Process>,
    generation: Generation,
    last_start: Option<Time>,
    /// The end of the interval of the last failed start. The next start must not come earlier.
    no_start_before: Time,
    fork_fails: bool,
    terminated: bool,
    /// The number of TERM and its like so far.
    finishes: usize,
    /// The worker that exits had said that it was ready, and did not live for the interval after that.
    is_crash: bool,
    finished: bool,
    /// Failed starts since a worker was up or a restart began.
    failures: u32,
    given_up: bool,
    /// The newest generation at the time of the last HUP.
    generation_at_hup: Option<Generation>,
    hups: usize,
    restarts_by_hup: usize,
    /// The number of workers in the status that was published last.
    published: usize,
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
            last_start: None,
            no_start_before: Time::ZERO,
            fork_fails: false,
            terminated: false,
            finishes: 0,
            is_crash: false,
            finished: false,
            failures: 0,
            given_up: false,
            generation_at_hup: None,
            hups: 0,
            restarts_by_hup: 0,
            published: 0,
            history: Vec::new(),
        };
        world.perform(actions);
        world
    }

    /// Lets time pass and a few events happen: exits first, `Tick` last.
    fn turn(&mut self) {
        match self.random.below(16) {
            0..=2 => self.pass_to_deadline(),
            3 => self.now += Duration::from_millis(self.random.below(3000)),
            4 => self.fork_fails = !self.fork_fails,
            5 => self.policy = self.random.override_policy(&self.policy),
            6 => self.upgrade(),
            _ => {}
        }
        for pid in self.live.keys().copied().collect::<Vec<_>>() {
            let others = self.random.below(2) == 0;
            let process = self.live.get_mut(&pid).unwrap();
            process.has_others |= others;
            let one_in = match (process.killed, process.signalled) {
                (true, _) => 2,
                (false, Some(_)) => 3,
                (false, None) => 12,
            };
            if self.random.below(one_in) == 0 {
                self.exit(pid);
            }
        }
        match self.random.below(24) {
            0..=3 => self.hup(),
            4 => self.finish(),
            5 => self.dispatch(Event::Exited {
                pid: 9999,
                status: 0,
            }),
            6..=13 => self.execute(),
            14..=18 => self.announce_ready(),
            19 => self.extend(),
            20 => self.dispatch(Event::Forward(Signal::USR1)),
            _ => {}
        }
        self.tick();
    }

    /// Lets every step succeed from now on. After a bounded number of turns one worker of the newest generation must be
    /// left, or no worker after TERM.
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
                if process.signalled.is_some() || process.killed {
                    self.exit(pid);
                }
            }
            self.execute();
            self.announce_ready();
            self.pass_to_deadline();
            self.tick();
        }
        self.promise(
            !self.terminated,
            "after TERM the supervisor finishes when all workers have exited",
        );
        self.promise(self.live.len() == 1, "one worker is left");
        self.promise(
            self.live
                .values()
                .all(|p| (p.generation == self.generation || self.given_up) && p.passed),
            "the worker is up, and the newest unless a restart was given up",
        );
        self.promise(
            self.generation_at_hup.is_none_or(|at| self.generation > at),
            "every HUP is followed by a new generation",
        );
        let restarts = self.restarts_by_hup;
        self.promise(
            restarts <= self.hups,
            "there are no more restarts by HUP than HUPs",
        );
        self.promise(
            self.supervisor.deadline(&self.policy).is_none(),
            "an idle supervisor has no deadline",
        );
    }

    fn pass_to_deadline(&mut self) {
        if let Some(deadline) = self.supervisor.deadline(&self.policy) {
            self.now = self.now.max(deadline);
        }
    }

    /// The worker exits, or the last of its process group if it has exited already.
    fn exit(&mut self, pid: Pid) {
        let exited = Event::Exited { pid, status: 256 };
        let mut process = self.live.remove(&pid).unwrap();
        if process.exited {
            self.is_crash = false;
            return self.dispatch(exited);
        }
        let announced = self.policy.readiness.is_announced();
        let is_young = self.now < process.passed_at + self.policy.interval;
        let is_newest = process.generation == self.generation && process.passed;
        let is_current = matches!(
            self.supervisor.phase,
            Phase::Up { .. } | Phase::Delaying { .. }
        );
        self.is_crash = is_newest && is_current && announced && is_young;
        if !process.passed || self.is_crash {
            self.no_start_before = self.no_start_before.max(process.interval_end);
            self.failures += 1;
        }
        // The rest of a candidate is killed before it is reaped.
        let stays = self.policy.kill_mode == KillMode::Group && process.has_others;
        if !(stays && process.passed) {
            return self.dispatch(exited);
        }
        process.exited = true;
        self.live.insert(pid, process);
        self.dispatch(Event::LeftOthers { pid, status: 256 });
        let process = &self.live[&pid];
        self.promise(
            process.signalled.is_some() || process.killed,
            "what a worker leaves of its process group is told to finish",
        );
    }

    fn execute(&mut self) {
        let waiting = self.live.values_mut().find(|process| !process.executed);
        if let Some(process) = waiting {
            process.executed = true;
            self.dispatch(Event::Executed);
        }
    }

    fn announce_ready(&mut self) {
        let candidate = self.live.iter_mut().find(|(_, process)| !process.passed);
        if let Some((&pid, process)) = candidate {
            // The message can arrive before the report that the program runs. The world then omits the report.
            process.executed |= self.policy.readiness.is_announced();
            process.announced = true;
            self.dispatch(Event::Ready(pid));
        }
    }

    fn extend(&mut self) {
        let time = Duration::from_secs(self.random.below(9));
        let chosen = self.random.below(self.live.len() as u64 + 1) as usize;
        let pid = self.live.keys().nth(chosen).copied();
        if let Some((pid, process)) = pid.and_then(|pid| Some((pid, self.live.get_mut(&pid)?))) {
            process.overdue_at = process.overdue_at.max(Some(self.now + time));
            self.dispatch(Event::Extend(pid, time));
        }
    }

    fn hup(&mut self) {
        self.hups += 1;
        self.generation_at_hup = Some(self.generation);
        self.dispatch(Event::Hup);
    }

    fn finish(&mut self) {
        self.terminated = true;
        self.finishes += 1;
        let received = [Signal::TERM, Signal::INT, Signal::QUIT][self.random.below(3) as usize];
        self.dispatch(Event::Terminate(received));
    }

    fn tick(&mut self) {
        self.dispatch(Event::Tick);
        if let Some(deadline) = self.supervisor.deadline(&self.policy) {
            self.promise(deadline > self.now, "no deadline is left in the past");
        }
        self.promise(
            self.published == self.passed(),
            "after each turn exactly the live workers that have passed their check are published",
        );
        let can_stay = |worker: &&Worker| worker.stop == StopState::NotSignalled;
        self.promise(
            self.supervisor.old_workers().filter(can_stay).count() <= 1,
            "at most one old worker is not signalled",
        );
    }

    /// Saves the supervisor as text, and continues with the supervisor that is restored from the text.
    fn upgrade(&mut self) {
        let (mut saved, mut workers) = self.supervisor.save(self.now);
        let mut text = String::new();
        crate::saved::save(&mut text, std::slice::from_mut(&mut saved));
        crate::saved::save(&mut text, &mut workers);
        self.history.push(text.clone());
        let read = crate::saved::restore::<SavedSupervisor>(&text).unwrap();
        self.promise(
            read == [saved.clone()] && crate::saved::restore(&text).as_ref() == Ok(&workers),
            "the text is read as it was written",
        );
        self.supervisor = Supervisor::restore(&saved, &workers, self.now).unwrap();
        self.promise(
            self.supervisor.save(self.now) == (saved, workers),
            "the supervisor is restored as it was saved",
        );
    }

    fn dispatch(&mut self, event: Event) {
        self.history.push(format!("{:?} {event:?}", self.now));
        let actions = self.supervisor.handle(event, self.now, &self.policy);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.history.push(format!("    {action:?}"));
            self.promise(!self.finished, "Finish is the last action");
            match action {
                Action::Spawn { generation } => self.spawn(generation),
                Action::Signal { pid, signal } => self.signal(pid, signal),
                Action::Publish(status) => self.publish(&status),
                Action::LogCompat(line) => {
                    let by_hup = line.starts_with("received HUP");
                    self.restarts_by_hup += usize::from(by_hup);
                    let died = line.contains("unexpectedly") && !self.is_crash;
                    if by_hup || line.starts_with("autorestart") || died {
                        self.failures = 0;
                        self.given_up = false;
                    }
                }
                Action::LogNote(line) => {
                    if line.starts_with("giving up") {
                        let all = self.policy.max_start_failures;
                        self.promise(
                            all == self.failures,
                            "a restart is given up after as many failed starts as allowed",
                        );
                        self.given_up = true;
                        // The next start follows a signal and need not wait.
                        self.no_start_before = self.now;
                    }
                }
                Action::Finish(outcome) => {
                    let because = match outcome {
                        Outcome::Stopped => self.terminated,
                        Outcome::GivenUp => self.given_up,
                    };
                    self.promise(
                        because && self.live.is_empty(),
                        "Finish comes after TERM or after giving up, when no worker is left",
                    );
                    self.finished = true;
                }
            }
        }
    }

    fn spawn(&mut self, generation: Generation) {
        self.promise(!self.terminated, "no start after TERM");
        self.promise(!self.given_up, "no start after giving up");
        let allowed = self.policy.max_start_failures;
        self.promise(
            allowed == 0 || self.failures < allowed,
            "no start after as many failed ones as allowed",
        );
        self.promise(generation == self.generation + 1, "generations rise by one");
        self.promise(
            self.live.values().all(|process| process.passed),
            "starts come one at a time",
        );
        let paused = self
            .last_start
            .is_none_or(|at| self.now >= at + SHORTEST_START_INTERVAL);
        self.promise(
            paused && self.now >= self.no_start_before,
            "there is a pause between starts",
        );
        self.generation = generation;
        self.last_start = Some(self.now);
        let interval_end = self.now + self.policy.interval;
        if self.fork_fails {
            self.no_start_before = interval_end;
            return self.dispatch(Event::SpawnFailed);
        }
        // Like the kernel, reuse the pids of reaped processes.
        let pid = (101..).find(|pid| !self.live.contains_key(pid)).unwrap();
        let process = Process {
            generation,
            interval_end,
            overdue_at: self.policy.start_timeout.map(|time| self.now + time),
            executed: false,
            announced: false,
            passed: false,
            passed_at: Time::ZERO,
            signalled: None,
            killed: false,
            has_others: false,
            exited: false,
        };
        self.live.insert(pid, process);
        self.dispatch(Event::Spawned(pid));
    }

    fn signal(&mut self, pid: Pid, signal: Signal) {
        self.promise(
            self.live.contains_key(&pid),
            "only live processes are signalled",
        );
        let generation = self.live[&pid].generation;
        let running = self.live.values().filter(|process| !process.exited);
        let newest = running.max_by_key(|process| process.generation);
        let superseded =
            newest.is_some_and(|newest| newest.passed && newest.generation > generation);
        let (now, policy) = (self.now, self.policy.clone());
        let process = self.live.get_mut(&pid).unwrap();
        let justified = match signal {
            Signal::KILL => {
                let timeout = policy.kill_timeout;
                let stays = process
                    .signalled
                    .zip(timeout)
                    .is_some_and(|((signalled, _), timeout)| signalled + timeout <= now);
                let may_wait = process.overdue_at.is_none_or(|at| at > now);
                let overdue = policy.readiness.is_announced() && !process.passed && !may_wait;
                !std::mem::replace(&mut process.killed, true) && (stays || overdue)
            }
            Signal::CONT => process.signalled.is_some(),
            Signal::USR1 => {
                let is_up = process.passed && !process.exited;
                is_up && process.signalled.is_none() && !superseded
            }
            _ => {
                let (first, last) = process.signalled.unwrap_or((now, Signal::KILL));
                process.signalled = Some((first, signal));
                // Only TERM may repeat a signal, and only the second one the same signal.
                let is_repeated =
                    last != Signal::KILL && !self.terminated || last == signal && self.finishes < 2;
                !is_repeated && (self.terminated || superseded || process.exited)
            }
        };
        self.promise(
            justified,
            "an old worker is signalled once, when a newer one is up, and killed only once, when its time is over",
        );
    }

    fn publish(&mut self, status: &Status) {
        let workers = &status.workers;
        let newest = workers.iter().rfind(|worker| worker.role.is_up());
        let is_newest_up = newest.is_some_and(|newest| newest.generation == self.generation);
        self.promise(
            status
                .start_failure
                .is_none_or(|last| !is_newest_up && last.failed <= self.generation),
            "a failed start is published until a newer worker has passed its check",
        );
        self.promise(
            workers
                .windows(2)
                .all(|pair| pair[0].generation < pair[1].generation),
            "workers are published oldest first",
        );
        for worker in workers {
            let Some(process) = self.live.get_mut(&worker.pid) else {
                self.promise(false, "published workers are alive");
                return;
            };
            let entitled = process.executed
                && if self.policy.readiness.is_announced() {
                    process.announced
                } else {
                    process.interval_end <= self.now
                };
            let first = !process.passed;
            let same = process.generation == worker.generation;
            process.passed = true;
            if first {
                process.passed_at = self.now;
                self.given_up = false;
            }
            self.promise(
                entitled && same,
                "a published worker has run its program for the whole interval, or has said that it is ready",
            );
        }
        self.published = workers.len();
        self.promise(
            self.published == self.passed(),
            "all workers that have passed their check are published",
        );
    }

    fn passed(&self) -> usize {
        self.live.values().filter(|process| process.passed).count()
    }

    fn promise(&self, holds: bool, promise: &str) {
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
            kill_mode: [KillMode::Process, KillMode::Group][self.below(2) as usize],
            ..Policy::default()
        };
        self.override_policy(&policy)
    }

    /// Changes the values that envdir can change.
    fn override_policy(&mut self, policy: &Policy) -> Policy {
        let seconds = |number| Duration::from_secs(number);
        Policy {
            kill_old_delay: seconds(self.below(2) * self.below(4)),
            auto_restart: (self.below(3) == 0).then(|| seconds(1 + self.below(5))),
            kill_timeout: (self.below(3) == 0).then(|| seconds(1 + self.below(5))),
            ..policy.clone()
        }
    }
}
