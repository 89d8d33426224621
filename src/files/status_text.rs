//! The text of the status file, rendered and parsed. Pure.
//!
//! Each worker that has passed its check has a line `GENERATION:PID`. Other lines begin with a word instead of a
//! generation. Perl's start_server ignores them. The Ruby listener for unicorn fails on a line that has more than two
//! fields, as `upgraded` has.

use crate::supervisor::worker::{Generation, Pid, StartFailure, Status};

/// The contents of a status file, as its reader finds them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation and the process of each worker that has passed its check.
    pub workers: Vec<(Generation, Pid)>,
    pub start_failure: Option<StartFailure>,
    pub upgrades: Upgrades,
}

/// The attempts of start_server to replace itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrades {
    /// The number of attempts, including those that failed.
    pub attempts: u64,
    /// The last attempt that succeeded.
    pub last: Option<Upgrade>,
}

/// An upgrade that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub attempt: u64,
    /// In seconds since 1970.
    pub time: u64,
    /// The version that start_server has had since then.
    pub version: String,
}

impl Upgrades {
    /// Whether the last attempt failed.
    pub fn has_failed(&self) -> bool {
        self.attempts > self.last.as_ref().map_or(0, |last| last.attempt)
    }
}

pub fn render(status: &Status, upgrades: &Upgrades) -> String {
    let mut text = String::new();
    for worker in &status.workers {
        text += &format!("{}:{}\n", worker.generation, worker.pid);
    }
    if let Some(StartFailure { failed, given_up }) = status.start_failure {
        text += &format!("failed:{failed}\n");
        if given_up {
            text += &format!("given-up:{failed}\n");
        }
    }
    if let Some(last) = &upgrades.last {
        let (time, version) = (last.time, &last.version);
        text += &format!("upgraded:{}:{time}:{version}\n", last.attempt);
    }
    if upgrades.has_failed() {
        text += &format!("upgrade-failed:{}\n", upgrades.attempts);
    }
    text
}

/// Parses the text of any start_server. A line of an unknown form is ignored.
pub fn parse(text: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        // `None` means that the line has another form.
        let _ = parse_line(key, value, &mut snapshot);
    }
    snapshot
}

fn parse_line(key: &str, value: &str, snapshot: &mut Snapshot) -> Option<()> {
    let upgrades = &mut snapshot.upgrades;
    match key {
        "failed" | "given-up" => {
            snapshot.start_failure = Some(StartFailure {
                failed: value.parse().ok()?,
                given_up: key == "given-up",
            });
        }
        "upgraded" => {
            let upgrade = parse_upgrade(value)?;
            upgrades.attempts = upgrades.attempts.max(upgrade.attempt);
            upgrades.last = Some(upgrade);
        }
        "upgrade-failed" => upgrades.attempts = upgrades.attempts.max(value.parse().ok()?),
        generation => {
            let worker = (generation.parse().ok()?, value.parse().ok()?);
            snapshot.workers.push(worker);
        }
    }
    Some(())
}

fn parse_upgrade(text: &str) -> Option<Upgrade> {
    let (attempt, rest) = text.split_once(':')?;
    let (time, version) = rest.split_once(':')?;
    let is_version = version.bytes().all(|byte| byte.is_ascii_graphic());
    Some(Upgrade {
        attempt: attempt.parse().ok()?,
        time: time.parse().ok()?,
        version: is_version.then(|| version.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::worker::{Role, StopState, Worker};

    /// A status that is rendered to this snapshot.
    fn status(snapshot: &Snapshot) -> Status {
        let worker = |&(generation, pid): &(Generation, Pid)| Worker {
            pid,
            generation,
            role: Role::Old,
            stop: StopState::NotSignalled,
        };
        Status {
            workers: snapshot.workers.iter().map(worker).collect(),
            start_failure: snapshot.start_failure,
        }
    }

    #[test]
    fn rendered_text_is_parsed_again() {
        let start_failure = |given_up| {
            Some(StartFailure {
                failed: 12,
                given_up,
            })
        };
        let table = [
            (vec![(9, 300), (10, 12)], None, "9:300\n10:12\n"),
            (vec![(9, 300)], start_failure(false), "9:300\nfailed:12\n"),
            (
                vec![(9, 300)],
                start_failure(true),
                "9:300\nfailed:12\ngiven-up:12\n",
            ),
            (vec![], None, ""),
        ];
        for (workers, start_failure, text) in table {
            let upgrades = Upgrades::default();
            let snapshot = Snapshot {
                workers,
                start_failure,
                upgrades,
            };
            assert_eq!(render(&status(&snapshot), &snapshot.upgrades), text);
            assert_eq!(parse(text), snapshot);
        }
    }

    #[test]
    fn rendered_upgrades_are_parsed_again() {
        let upgrade = |attempt| Upgrade {
            attempt,
            time: 1_795_000_000,
            version: "0.2.0".to_string(),
        };
        let table = [
            (1, None, "upgrade-failed:1\n"),
            (2, Some(upgrade(2)), "upgraded:2:1795000000:0.2.0\n"),
            (
                3,
                Some(upgrade(2)),
                "upgraded:2:1795000000:0.2.0\nupgrade-failed:3\n",
            ),
        ];
        for (attempts, last, text) in table {
            let upgrades = Upgrades { attempts, last };
            assert_eq!(render(&Status::default(), &upgrades), text);
            assert_eq!(parse(text).upgrades, upgrades);
        }
    }

    #[test]
    fn other_lines_are_ignored() {
        let text = "failed:x\n\n:\n1:\n:2\nx:y\n3:4:5\n7:8\n99999999999999999999:1\n7:-\nkilled:3\nupgraded:1:2";
        let workers = vec![(7, 8)];
        assert_eq!(
            parse(text),
            Snapshot {
                workers,
                ..Snapshot::default()
            }
        );
    }

    #[test]
    fn a_million_random_texts() {
        const WORDS: [&str; 15] = [
            "",
            "\n",
            ":",
            "0",
            "7",
            "-",
            "+",
            " ",
            "failed",
            "given-up",
            "upgraded",
            "upgrade-failed",
            "18446744073709551615",
            "\0",
            "é",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            let snapshot = parse(text);
            assert_eq!(
                parse(&render(&status(&snapshot), &snapshot.upgrades)),
                snapshot,
                "{text:?}"
            );
        });
    }
}
