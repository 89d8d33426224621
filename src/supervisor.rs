//! The life of the workers: events to actions. "Why did it do that?" is answered here. Pure.
//!
//! Whoever runs it performs the actions in order, answers `Spawn` with `Spawned` or `SpawnFailed` before
//! any other event, tells every death before anything else of the same turn, and ends each turn with
//! `Tick`: a deadline that has passed must not outrun the news that its worker is dead.

use crate::policy::{Policy, Time};
use crate::signal::Signal;
use crate::worker::{Generation, Part, Pid, WaitStatus, Worker};
use std::time::Duration;

/// The kernel's news, as far as it concerns workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to `Spawn`: the worker is forked.
    Spawned(Pid),
    /// The answer to `Spawn`: there was no fork.
    SpawnFailed,
    /// The candidate's program has replaced the fork of ours.
    Executed,
    /// A child was reaped. It need not be a worker: process 1 reaps strangers.
    Exited { pid: Pid, status: WaitStatus },
    /// SIGHUP.
    Hup,
    /// SIGTERM, SIGINT or SIGQUIT.
    Finish(Signal),
    /// The end of a turn: deadlines are looked at.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn {
        generation: Generation,
    },
    Signal {
        pid: Pid,
        signal: Signal,
    },
    /// These are the workers that passed their check, oldest first: write the status file.
    Publish(Vec<Worker>),
    /// A line for the log.
    Say(String),
    /// Nobody is left: leave.
    Finish,
}

/// Attempts are at least this far apart even with `--interval=0`, so that a program that cannot start does
/// not eat the machine.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

pub struct Supervisor {
    phase: Phase,
    /// The generation of the last attempt.
    generation: Generation,
    /// All that live, oldest first. At most one is the candidate, and at most one is current.
    workers: Vec<Worker>,
    /// When the last attempt was made.
    attempted: Time,
    /// A HUP came during a restart: one more follows it, however many came.
    restart_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A worker is being started.
    Starting {
        why: Why,
        step: Step,
    },
    /// The current worker stands and nothing is in progress.
    Standing {
        since: Time,
    },
    /// New and old serve side by side.
    Delaying {
        since: Time,
        until: Time,
    },
    /// TERM: everyone was told to finish.
    Finishing,
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// There is no current worker: at the beginning, and when it died unexpectedly.
    Vacancy,
    /// HUP or auto-restart: once the new one stands, the old ones are told to finish.
    Restart,
}

/// Where an attempt is. `until` ends its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `Spawn` waits for its answer.
    Forking,
    /// Forked, but the program has not replaced the fork yet: however long that takes, it has not started.
    Executing { until: Time },
    /// The program runs; it must live to the end of the interval.
    Proving { until: Time },
    /// It failed. Perl waits out the interval even after an early death; without that, a storm of respawns
    /// would hide the cause.
    Pausing { until: Time },
}

impl Supervisor {
    /// The supervisor of no worker yet, and what it wants done first.
    pub fn start(now: Time) -> (Supervisor, Vec<Action>) {
        let mut actions = Vec::new();
        let mut supervisor = Supervisor {
            phase: Phase::Finished,
            generation: 0,
            workers: Vec::new(),
            attempted: now,
            restart_again: false,
        };
        supervisor.spawn(Why::Vacancy, now, &mut actions);
        (supervisor, actions)
    }

    pub fn handle(&mut self, event: Event, now: Time, policy: &Policy) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Spawned(pid) => self.spawned(pid, now, policy, &mut actions),
            Event::SpawnFailed => {
                if let Phase::Starting {
                    why,
                    step: Step::Forking,
                } = self.phase
                {
                    self.pause(why, now + policy.interval);
                }
            }
            Event::Executed => {
                if let Phase::Starting {
                    why,
                    step: Step::Executing { until },
                } = self.phase
                {
                    self.phase = Phase::Starting {
                        why,
                        step: Step::Proving { until },
                    };
                }
            }
            Event::Exited { pid, status } => self.exited(pid, status, now, &mut actions),
            Event::Hup => self.hup(now, &mut actions),
            Event::Finish(received) => self.finish(received, policy, &mut actions),
            Event::Tick => self.tick(now, policy, &mut actions),
        }
        actions
    }

    /// When `Tick` is wanted at the latest, if no other news comes.
    pub fn deadline(&self, policy: &Policy) -> Option<Time> {
        match self.phase {
            Phase::Starting {
                step: Step::Proving { until } | Step::Pausing { until },
                ..
            } => Some(until),
            Phase::Starting {
                step: Step::Forking | Step::Executing { .. },
                ..
            } => None,
            Phase::Delaying { until, .. } => Some(until),
            Phase::Standing { since } => self
                .next_auto_restart(since, policy)
                .map(|restart| restart.at),
            Phase::Finishing | Phase::Finished => None,
        }
    }

    fn spawned(&mut self, pid: Pid, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        let Phase::Starting {
            why,
            step: Step::Forking,
        } = self.phase
        else {
            return;
        };
        self.workers.push(Worker {
            pid,
            generation: self.generation,
            part: Part::Candidate,
        });
        self.phase = Phase::Starting {
            why,
            step: Step::Executing {
                until: now + policy.interval,
            },
        };
        say(actions, format!("starting new worker {pid}"));
    }

    fn exited(&mut self, pid: Pid, status: WaitStatus, now: Time, actions: &mut Vec<Action>) {
        let Some(index) = self.workers.iter().position(|worker| worker.pid == pid) else {
            return;
        };
        let part = self.workers.remove(index).part;
        match self.phase {
            Phase::Finishing => {
                say(actions, format!("worker {pid} died, status:{status}"));
                if part != Part::Candidate {
                    self.publish(actions);
                }
                self.finish_if_alone(actions);
            }
            Phase::Finished => {}
            Phase::Starting { .. } | Phase::Standing { .. } | Phase::Delaying { .. } => {
                match part {
                    Part::Candidate => {
                        say(actions, format!("new worker {pid} seems to have failed to start, exit status:{status}"));
                        if let Phase::Starting {
                            why,
                            step: Step::Executing { until } | Step::Proving { until },
                        } = self.phase
                        {
                            self.pause(why, until);
                        }
                    }
                    Part::Current => {
                        say(
                            actions,
                            format!(
                                "worker {pid} died unexpectedly with status:{status}, restarting"
                            ),
                        );
                        self.publish(actions);
                        // During the delay the old ones were not told yet: they serve until a successor stands.
                        let delaying = matches!(self.phase, Phase::Delaying { .. });
                        let why = if delaying { Why::Restart } else { Why::Vacancy };
                        self.begin(why, now, actions);
                    }
                    Part::Old => {
                        say(actions, format!("old worker {pid} died, status:{status}"));
                        self.publish(actions);
                    }
                }
            }
        }
    }

    fn hup(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Standing { .. } => {
                say(actions, "received HUP, spawning a new worker".to_string());
                self.restart(now, actions);
            }
            Phase::Starting { .. } | Phase::Delaying { .. } => self.restart_again = true,
            Phase::Finishing | Phase::Finished => {}
        }
    }

    fn restart(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.restart_again = false;
        for worker in &mut self.workers {
            worker.part = Part::Old;
        }
        self.begin(Why::Restart, now, actions);
    }

    /// Makes an attempt at once, or as soon as the last one lies far enough back.
    fn begin(&mut self, why: Why, now: Time, actions: &mut Vec<Action>) {
        if now >= self.attempted + SHORTEST_PAUSE {
            self.spawn(why, now, actions);
        } else {
            self.pause(why, now);
        }
    }

    fn finish(&mut self, received: Signal, policy: &Policy, actions: &mut Vec<Action>) {
        if self.phase == Phase::Finished {
            return;
        }
        self.phase = Phase::Finishing;
        let signal = if received == Signal::INT {
            Signal::TERM
        } else {
            policy.signal_on_term
        };
        let everyone = pids(&self.workers);
        say(
            actions,
            format!(
                "received {received}, sending {signal} to all workers:{}",
                join(&everyone)
            ),
        );
        tell(actions, &everyone, signal);
        self.finish_if_alone(actions);
    }

    fn finish_if_alone(&mut self, actions: &mut Vec<Action>) {
        if self.workers.is_empty() {
            self.phase = Phase::Finished;
            say(actions, "exiting".to_string());
            actions.push(Action::Finish);
        }
    }

    fn tick(&mut self, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Starting {
                why,
                step: Step::Pausing { until },
            } if until <= now => self.spawn(why, now, actions),
            Phase::Starting {
                why,
                step: Step::Proving { until },
            } if until <= now => {
                self.stand(why, now, policy, actions);
            }
            Phase::Delaying { since, until } if until <= now => {
                self.end_old_workers(since, now, policy, actions)
            }
            Phase::Standing { since } => self.restart_by_time(since, now, policy, actions),
            Phase::Starting { .. }
            | Phase::Delaying { .. }
            | Phase::Finishing
            | Phase::Finished => {}
        }
    }

    /// The candidate has passed its check.
    fn stand(&mut self, why: Why, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        if let Some(candidate) = self.workers.last_mut() {
            candidate.part = Part::Current;
        }
        self.publish(actions);
        match why {
            Why::Vacancy => self.settle(now, now, policy, actions),
            Why::Restart => {
                let old = match self.old_workers() {
                    old if old.is_empty() => "none".to_string(),
                    old => join(&old),
                };
                let signal = policy.signal_on_hup;
                say(
                    actions,
                    format!("new worker is now running, sending {signal} to old workers:{old}"),
                );
                match policy.kill_old_delay {
                    Duration::ZERO => self.end_old_workers(now, now, policy, actions),
                    delay => {
                        say(
                            actions,
                            format!(
                                "sleeping {} secs before killing old workers",
                                delay.as_secs()
                            ),
                        );
                        self.phase = Phase::Delaying {
                            since: now,
                            until: now + delay,
                        };
                    }
                }
            }
        }
    }

    fn end_old_workers(
        &mut self,
        since: Time,
        now: Time,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        say(actions, "killing old workers".to_string());
        tell(actions, &self.old_workers(), policy.signal_on_hup);
        self.settle(since, now, policy, actions);
    }

    fn settle(&mut self, since: Time, now: Time, policy: &Policy, actions: &mut Vec<Action>) {
        self.phase = Phase::Standing { since };
        if self.restart_again {
            self.hup(now, actions);
        } else {
            self.restart_by_time(since, now, policy, actions);
        }
    }

    fn restart_by_time(
        &mut self,
        since: Time,
        now: Time,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        if let Some(restart) = self
            .next_auto_restart(since, policy)
            .filter(|restart| restart.at <= now)
        {
            let interval = restart.interval.as_secs();
            let forced = if restart.forced { "forced, " } else { "" };
            say(
                actions,
                format!("autorestart triggered ({forced}interval={interval})"),
            );
            self.restart(now, actions);
        }
    }

    fn next_auto_restart(&self, since: Time, policy: &Policy) -> Option<AutoRestart> {
        let interval = policy.auto_restart?;
        let forced = !self.old_workers().is_empty();
        let at = since + if forced { interval * 2 } else { interval };
        Some(AutoRestart {
            at,
            interval,
            forced,
        })
    }

    fn spawn(&mut self, why: Why, now: Time, actions: &mut Vec<Action>) {
        self.generation += 1;
        self.attempted = now;
        self.phase = Phase::Starting {
            why,
            step: Step::Forking,
        };
        actions.push(Action::Spawn {
            generation: self.generation,
        });
    }

    fn pause(&mut self, why: Why, until: Time) {
        let until = until.max(self.attempted + SHORTEST_PAUSE);
        self.phase = Phase::Starting {
            why,
            step: Step::Pausing { until },
        };
    }

    fn publish(&self, actions: &mut Vec<Action>) {
        let proved = self
            .workers
            .iter()
            .filter(|worker| worker.part != Part::Candidate);
        actions.push(Action::Publish(proved.copied().collect()));
    }

    fn old_workers(&self) -> Vec<Pid> {
        pids(
            self.workers
                .iter()
                .filter(|worker| worker.part == Part::Old),
        )
    }
}

/// The next restart by time.
struct AutoRestart {
    at: Time,
    interval: Duration,
    /// Old workers of the last restart are still there, and it has waited twice as long for them.
    forced: bool,
}

/// Tells workers to finish. One that is stopped would not notice before it is continued.
fn tell(actions: &mut Vec<Action>, workers: &[Pid], signal: Signal) {
    for &pid in workers {
        actions.push(Action::Signal { pid, signal });
        actions.push(Action::Signal {
            pid,
            signal: Signal::CONT,
        });
    }
}

fn say(actions: &mut Vec<Action>, line: String) {
    actions.push(Action::Say(line));
}

fn pids<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> Vec<Pid> {
    workers.into_iter().map(|worker| worker.pid).collect()
}

fn join(pids: &[Pid]) -> String {
    pids.iter()
        .map(Pid::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
