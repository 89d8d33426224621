//! The details that our own control commands need, and the text of the file that has them. Pure.
//!
//! Each line is a key, a blank, and values with blanks between them. The last value of `start-failure` and `upgrade` is
//! a text with blanks of its own. A time is in seconds since 1970, and `-` stands for a missing time.

use crate::log::lines::one_line;
use crate::saved::{record, words, Value};
use crate::supervisor::policy::Policy;
use crate::supervisor::worker::{
    Activity, FailureCause, Generation, Pid, Report, Role, StartFailure, StopState, Worker,
};

/// Seconds since 1970.
pub type Date = u64;

/// The details of one start_server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub version: String,
    pub pid: Pid,
    pub started: Date,
    pub activity: Activity,
    /// All workers that have not been reaped, oldest first.
    pub workers: Vec<WorkerDetails>,
    /// The last start, if it failed.
    pub start_failure: Option<FailureDetails>,
    /// The number of times that a current worker has died unexpectedly, and the time of the last one.
    pub deaths: Option<(u64, Date)>,
    /// The number of upgrades that were tried.
    pub upgrades: u64,
    pub last_upgrade: Option<UpgradeDetails>,
    /// The signals of --forward-signal.
    pub forwarded: Vec<String>,
    /// The supervisor's count of unexpected deaths at the last update. An upgrade resets it, but not `deaths`.
    known_deaths: u64,
    /// The reason why the last child could not become a worker. It explains the failed start that follows.
    reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDetails {
    pub generation: Generation,
    pub pid: Pid,
    pub role: Role,
    pub since: Date,
    /// The time at which it was first told to finish.
    pub told: Option<Date>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureDetails {
    pub generation: Generation,
    pub time: Date,
    pub next: NextStart,
    /// The exit status, the signal or the reason.
    pub end: String,
}

words! {
    /// The consequence of a failed start.
    pub enum NextStart {
        #[default]
        TryingAgain = "trying-again",
        GivenUp = "given-up",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeDetails {
    /// The version that start_server had afterwards.
    pub version: String,
    pub time: Date,
    /// The reason, if the upgrade failed.
    pub failure: Option<String>,
}

record! {
    "details" SavedDetails {
        text: String,
    }
}

impl Details {
    pub fn new(version: &str, pid: Pid, started: Date, policy: &Policy) -> Details {
        let forwarded = policy.forwarded.iter();
        Details {
            version: version.to_string(),
            pid,
            started,
            forwarded: forwarded.map(|signal| signal.to_string()).collect(),
            ..Details::default()
        }
    }

    pub fn save(&self) -> SavedDetails {
        SavedDetails {
            text: self.render(),
        }
    }

    /// Continues with the details of the program before an upgrade.
    pub fn restore(&mut self, saved: &SavedDetails) {
        if let Some(saved) = Details::parse(&saved.text) {
            let version = std::mem::take(&mut self.version);
            let forwarded = std::mem::take(&mut self.forwarded);
            *self = Details {
                version,
                forwarded,
                ..saved
            };
        }
    }

    /// The newest worker that has passed its check and has not exited.
    pub fn serving(&self) -> Option<&WorkerDetails> {
        let mut workers = self.workers.iter().rev();
        workers.find(|worker| worker.role.is_up())
    }

    pub fn forwards_usr2(&self) -> bool {
        self.forwarded.iter().any(|signal| signal == "USR2")
    }

    /// Notes what has changed since the last time. `date` is the date of each change.
    pub fn update(&mut self, report: &Report, date: Date) {
        self.activity = report.activity;
        let workers = report.workers.iter();
        self.workers = workers.map(|worker| self.worker(worker, date)).collect();
        let failure = report.start_failure.as_ref();
        self.start_failure = failure.map(|failure| self.failure(failure, date));
        let deaths = report.deaths.saturating_sub(self.known_deaths);
        if deaths > 0 {
            let before = self.deaths.map_or(0, |(count, _)| count);
            self.deaths = Some((before + deaths, date));
        }
        self.known_deaths = report.deaths;
    }

    fn worker(&self, worker: &Worker, date: Date) -> WorkerDetails {
        let Worker {
            pid, generation, ..
        } = *worker;
        let mut known = self.workers.iter();
        let known = known.find(|known| known.pid == pid && known.generation == generation);
        let is_told = worker.stop != StopState::NotSignalled;
        WorkerDetails {
            generation,
            pid,
            role: worker.role,
            since: known.map_or(date, |known| known.since),
            told: is_told.then(|| known.and_then(|known| known.told).unwrap_or(date)),
        }
    }

    fn failure(&mut self, failure: &StartFailure, date: Date) -> FailureDetails {
        let generation = failure.failed;
        let known = self.start_failure.take();
        let known = known.filter(|known| known.generation == generation);
        let (time, end) = match known {
            Some(known) => (known.time, known.end),
            None => {
                let reason = self.reason.take();
                (date, reason.unwrap_or_else(|| describe(failure.cause)))
            }
        };
        FailureDetails {
            generation,
            time,
            next: if failure.given_up {
                NextStart::GivenUp
            } else {
                NextStart::TryingAgain
            },
            end,
        }
    }

    /// Notes the outcome of an upgrade: the reason, if it failed.
    pub fn upgraded(&mut self, attempts: u64, time: Date, failure: Option<String>) {
        self.upgrades = attempts;
        self.last_upgrade = Some(UpgradeDetails {
            version: self.version.clone(),
            time,
            failure: failure.map(|reason| one_line(&reason)),
        });
    }

    /// Notes why a child could not become a worker.
    pub fn explain(&mut self, reason: String) {
        self.reason = Some(one_line(&reason));
    }

    pub fn render(&self) -> String {
        let mut text = format!(
            "version {}\npid {}\nstarted {}\nstate {}\n",
            self.version,
            self.pid,
            self.started,
            word(&self.activity)
        );
        if let Some(worker) = self.serving() {
            text += &format!("generation {}\n", worker.generation);
        }
        for worker in &self.workers {
            text += &format!(
                "worker {} {} {} {} {}\n",
                worker.generation,
                worker.pid,
                word(&worker.role),
                worker.since,
                word(&worker.told)
            );
        }
        if let Some(failure) = &self.start_failure {
            text += &format!(
                "start-failure {} {} {} {}\n",
                failure.generation,
                failure.time,
                word(&failure.next),
                failure.end
            );
        }
        if let Some((count, last)) = self.deaths {
            text += &format!("deaths {count} {last}\n");
        }
        text += &format!("upgrades {}\n", self.upgrades);
        if let Some(upgrade) = &self.last_upgrade {
            let outcome = match &upgrade.failure {
                Some(reason) => format!("failed {reason}"),
                None => "done".to_string(),
            };
            text += &format!("upgrade {} {} {outcome}\n", upgrade.version, upgrade.time);
        }
        for signal in &self.forwarded {
            text += &format!("forward-signal {signal}\n");
        }
        text
    }

    /// Parses the text of any version. A line of an unknown form is ignored. Without a pid and a state there are no
    /// details.
    pub fn parse(text: &str) -> Option<Details> {
        let mut details = Details::default();
        let mut keys = Vec::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            if details.parse_line(key, value).is_some() {
                keys.push(key);
            }
        }
        let is_whole = ["pid", "state"].iter().all(|key| keys.contains(key));
        is_whole.then_some(details)
    }

    /// Returns `None` for a line of another form.
    fn parse_line(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "version" => self.version = value.to_string(),
            "pid" => self.pid = read(value)?,
            "started" => self.started = read(value)?,
            "state" => self.activity = read(value)?,
            "worker" => {
                let [generation, pid, role, since, told] = values(value)?;
                self.workers.push(WorkerDetails {
                    generation: read(generation)?,
                    pid: read(pid)?,
                    role: read(role)?,
                    since: read(since)?,
                    told: read(told)?,
                });
            }
            "start-failure" => {
                let [generation, time, next, end] = values(value)?;
                self.start_failure = Some(FailureDetails {
                    generation: read(generation)?,
                    time: read(time)?,
                    next: read(next)?,
                    end: end.to_string(),
                });
            }
            "deaths" => {
                let [count, last] = values(value)?;
                self.deaths = Some((read(count)?, read(last)?));
            }
            "upgrades" => self.upgrades = read(value)?,
            "upgrade" => {
                let [version, time, outcome] = values(value)?;
                let failure = match outcome.split_once(' ') {
                    Some(("failed", reason)) => Some(reason.to_string()),
                    None if outcome == "done" => None,
                    _ => return None,
                };
                self.last_upgrade = Some(UpgradeDetails {
                    version: version.to_string(),
                    time: read(time)?,
                    failure,
                });
            }
            "forward-signal" => self.forwarded.push(value.to_string()),
            _ => return None,
        }
        Some(())
    }
}

fn word(value: &dyn Value) -> String {
    let mut text = String::new();
    value.write(&mut text);
    text
}

fn read<T: Value + Default>(text: &str) -> Option<T> {
    let mut value = T::default();
    value.read(text)?;
    Some(value)
}

/// The values of a line. The last one may have blanks in it.
fn values<const COUNT: usize>(text: &str) -> Option<[&str; COUNT]> {
    let values: Vec<_> = text.splitn(COUNT, ' ').collect();
    values.try_into().ok()
}

fn describe(cause: FailureCause) -> String {
    match cause {
        FailureCause::Unknown => "for an unknown reason".to_string(),
        FailureCause::NotReady => "not ready within --start-timeout".to_string(),
        FailureCause::Exited(status) if status & 0x7f == 0 => {
            format!("exit status {}", status >> 8 & 0xff)
        }
        FailureCause::Exited(status) => format!("signal {}", status & 0x7f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::signal::Signal;

    fn example() -> Details {
        let worker = |generation, role, told| WorkerDetails {
            generation,
            pid: 4_700 + generation as Pid,
            role,
            since: 1_795_000_000 + generation,
            told,
        };
        Details {
            version: "0.2.0".to_string(),
            pid: 4_711,
            started: 1_795_000_000,
            activity: Activity::Restarting,
            workers: vec![
                worker(3, Role::Old, Some(1_795_000_007)),
                worker(4, Role::Current, None),
                worker(7, Role::Candidate, None),
            ],
            start_failure: Some(FailureDetails {
                generation: 6,
                time: 1_795_000_009,
                next: NextStart::TryingAgain,
                end: "exit status 7".to_string(),
            }),
            deaths: Some((3, 1_795_000_004)),
            upgrades: 2,
            last_upgrade: Some(UpgradeDetails {
                version: "0.2.0".to_string(),
                time: 1_795_000_005,
                failure: Some("cannot execute x: No such file".to_string()),
            }),
            forwarded: vec!["TTIN".to_string(), "USR2".to_string()],
            ..Details::default()
        }
    }

    const TEXT: &str = "\
version 0.2.0
pid 4711
started 1795000000
state restarting
generation 4
worker 3 4703 old 1795000003 1795000007
worker 4 4704 current 1795000004 -
worker 7 4707 candidate 1795000007 -
start-failure 6 1795000009 trying-again exit status 7
deaths 3 1795000004
upgrades 2
upgrade 0.2.0 1795000005 failed cannot execute x: No such file
forward-signal TTIN
forward-signal USR2
";

    #[test]
    fn what_is_rendered_is_parsed_again() {
        assert_eq!(example().render(), TEXT);
        assert_eq!(Details::parse(TEXT), Some(example()));
        let done = TEXT.replace("failed cannot execute x: No such file", "done");
        let upgrade = Details::parse(&done).unwrap().last_upgrade.unwrap();
        assert_eq!(upgrade.failure, None);
    }

    #[test]
    fn other_lines_are_ignored_and_pid_and_state_are_needed() {
        let text = "pid 7\nstate up\nworker 1 2 current\nworker 1 2 boss 3 -\nnews\ndeaths x 1\nupgrade 1 2 x\n\n";
        let details = Details {
            pid: 7,
            activity: Activity::Up,
            ..Details::default()
        };
        assert_eq!(Details::parse(text), Some(details));
        for missing in ["pid 7\n", "state up\n"] {
            assert_eq!(Details::parse(&text.replace(missing, "")), None);
        }
    }

    #[test]
    fn an_update_dates_what_is_new_and_keeps_the_date_of_the_rest() {
        let mut worker = Worker {
            pid: 9,
            generation: 1,
            role: Role::Candidate,
            stop: StopState::NotSignalled,
        };
        let mut report = Report::default();
        let mut details = Details::default();
        let mut update = |report: &Report, date| {
            details.update(report, date);
            details.clone()
        };
        report.workers = vec![worker];
        assert_eq!(update(&report, 100).workers[0].since, 100);
        worker.role = Role::Current;
        worker.stop = StopState::Signalled {
            since: Default::default(),
            last: Signal::TERM,
        };
        report.workers = vec![worker];
        let known = update(&report, 200).workers[0].clone();
        assert_eq!((known.since, known.told), (100, Some(200)));
        assert_eq!(update(&report, 300).workers[0], known);
        // A process of the same number is another worker.
        worker.generation = 2;
        report.workers = vec![worker];
        assert_eq!(update(&report, 400).workers[0].since, 400);
        for (deaths, count, last) in [
            (1, 1, 500),
            (1, 1, 500),
            (3, 3, 700),
            (0, 3, 700),
            (2, 5, 900),
        ] {
            report.deaths = deaths;
            let date = if count == 5 { 900 } else { last };
            assert_eq!(update(&report, date).deaths, Some((count, last)));
        }
    }

    #[test]
    fn a_failed_start_is_explained_once() {
        let mut details = Details::default();
        let failure = |failed, given_up, cause| Report {
            start_failure: Some(StartFailure {
                failed,
                given_up,
                cause,
            }),
            ..Report::default()
        };
        let table = [
            (
                1,
                false,
                FailureCause::Exited(7 << 8),
                None,
                "exit status 7",
            ),
            (1, true, FailureCause::Unknown, None, "exit status 7"),
            (2, false, FailureCause::Exited(9), None, "signal 9"),
            (
                3,
                false,
                FailureCause::NotReady,
                None,
                "not ready within --start-timeout",
            ),
            (
                4,
                false,
                FailureCause::Exited(255 << 8),
                Some("cannot execute x\ny"),
                "cannot execute x\\ny",
            ),
            (5, false, FailureCause::Exited(139), None, "signal 11"),
        ];
        for (generation, given_up, cause, reason, end) in table {
            if let Some(reason) = reason {
                details.explain(reason.to_string());
            }
            details.update(&failure(generation, given_up, cause), generation);
            let known = details.start_failure.clone().unwrap();
            assert_eq!((known.generation, known.time), (generation, generation));
            assert_eq!(known.end, end);
            assert_eq!(known.next == NextStart::GivenUp, given_up);
        }
        details.update(&Report::default(), 9);
        assert_eq!(details.start_failure, None);
    }

    #[test]
    fn a_million_random_texts() {
        const WORDS: [&str; 18] = [
            "",
            "\n",
            " ",
            "0",
            "7",
            "-",
            "version",
            "pid 1\n",
            "started",
            "state up\n",
            "worker",
            "old",
            "start-failure",
            "given-up",
            "deaths",
            "upgrade",
            "failed",
            "é",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Some(details) = Details::parse(text) {
                let again = Details::parse(&details.render());
                assert_eq!(again, Some(details), "{text:?}");
            }
        });
    }
}
