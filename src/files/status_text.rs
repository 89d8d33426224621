//! The text of the status file: a line `GENERATION:PID` for each worker that passed its check. Pure.

use crate::supervisor::worker::{Generation, Pid, StartFailure, Status};

/// Lines that begin with a word instead of a generation are passed over by Perl's and Ruby's readers.
pub fn render(status: &Status, upgrades: &Upgrades) -> String {
    let mut text = String::new();
    for worker in &status.workers {
        text += &format!("{}:{}\n", worker.generation, worker.pid);
    }
    if let Some(start_failure) = status.start_failure {
        text += &format!("failed:{}\n", start_failure.failed);
        if start_failure.given_up {
            text += &format!("given-up:{}\n", start_failure.failed);
        }
    }
    let attempts = upgrades.attempts;
    if let Some(last) = &upgrades.last {
        let (time, version) = (last.time, &last.version);
        text += &format!("upgraded:{}:{time}:{version}\n", last.attempt);
    }
    if upgrades.has_failed() {
        text += &format!("upgrade-failed:{attempts}\n");
    }
    text
}

/// How start_server has fared with replacing itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrades {
    /// How often that was tried.
    pub attempts: u64,
    pub last: Option<Upgrade>,
}

/// An upgrade that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub attempt: u64,
    /// In seconds since 1970.
    pub time: u64,
    /// Of the program since then.
    pub version: String,
}

impl Upgrades {
    /// Whether the last attempt failed.
    pub fn has_failed(&self) -> bool {
        self.attempts > self.last.as_ref().map_or(0, |last| last.attempt)
    }
}

/// What a status file tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Generation and process of each worker that passed its check.
    pub workers: Vec<(Generation, Pid)>,
    pub start_failure: Option<StartFailure>,
    pub upgrades: Upgrades,
}

/// Lines of another form are passed over.
pub fn parse(text: &str) -> Snapshot {
    let mut seen = Snapshot::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match (key, key.parse(), value.parse(), value.parse()) {
            ("failed", _, Ok(failed), _) => {
                let given_up = false;
                seen.start_failure = Some(StartFailure { failed, given_up });
            }
            ("given-up", _, Ok(failed), _) => {
                let given_up = true;
                seen.start_failure = Some(StartFailure { failed, given_up });
            }
            ("upgraded", ..) => {
                if let Some(upgrade) = parse_upgrade(value) {
                    seen.upgrades.attempts = seen.upgrades.attempts.max(upgrade.attempt);
                    seen.upgrades.last = Some(upgrade);
                }
            }
            ("upgrade-failed", _, Ok(attempt), _) => {
                seen.upgrades.attempts = seen.upgrades.attempts.max(attempt);
            }
            (_, Ok(generation), _, Ok(pid)) => seen.workers.push((generation, pid)),
            _ => {}
        }
    }
    seen
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

    fn status(seen: &Snapshot) -> Status {
        let worker = |&(generation, pid): &(Generation, Pid)| Worker {
            pid,
            generation,
            role: Role::Old,
            stop: StopState::NotSignalled,
        };
        Status {
            workers: seen.workers.iter().map(worker).collect(),
            start_failure: seen.start_failure,
        }
    }

    #[test]
    fn what_is_rendered_reads_back() {
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
            let seen = Snapshot {
                workers,
                start_failure,
                upgrades,
            };
            assert_eq!(render(&status(&seen), &seen.upgrades), text);
            assert_eq!(parse(text), seen);
        }
    }

    #[test]
    fn upgrades_read_back() {
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
    fn other_lines_are_passed_over() {
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
            let seen = parse(text);
            assert_eq!(
                parse(&render(&status(&seen), &seen.upgrades)),
                seen,
                "{text:?}"
            );
        });
    }
}
