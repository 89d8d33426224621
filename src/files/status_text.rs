//! The text of the status file, rendered and parsed. Pure.
//!
//! Each worker that has passed its check has a line `GENERATION:PID`, and there is no other line: the Ruby listener for
//! unicorn fails on a line that does not have two fields, and scripts send signals to the number after the colon.

use crate::supervisor::worker::{Generation, Pid, Status};

/// The contents of a status file, as its reader finds them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation and the process of each worker that has passed its check.
    pub workers: Vec<(Generation, Pid)>,
    /// Whether start_server 0.1.0 wrote the file. Only that version had lines that begin with a word.
    pub is_of_0_1_0: bool,
    /// The number of the last upgrade of start_server 0.1.0, if it failed.
    pub failed_upgrade: u64,
}

pub fn render(status: &Status) -> String {
    let lines = status.workers.iter();
    let lines = lines.map(|worker| format!("{}:{}\n", worker.generation, worker.pid));
    lines.collect()
}

/// Parses the text of any start_server. A line of an unknown form is ignored.
pub fn parse(text: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match key {
            "failed" | "given-up" | "upgraded" => snapshot.is_of_0_1_0 = true,
            "upgrade-failed" => {
                snapshot.is_of_0_1_0 = true;
                snapshot.failed_upgrade = value.parse().unwrap_or_default();
            }
            _ => {
                let worker = key.parse().ok().zip(value.parse().ok());
                snapshot.workers.extend(worker.filter(|(_, pid)| *pid > 0));
            }
        }
    }
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::worker::{Role, StopState, Worker};

    fn status(workers: &[(Generation, Pid)]) -> Status {
        let worker = |&(generation, pid): &(Generation, Pid)| Worker {
            pid,
            generation,
            role: Role::Old,
            stop: StopState::NotSignalled,
        };
        Status {
            workers: workers.iter().map(worker).collect(),
            start_failure: None,
        }
    }

    #[test]
    fn rendered_text_is_parsed_again() {
        for (workers, text) in [(vec![(9, 300), (10, 12)], "9:300\n10:12\n"), (vec![], "")] {
            assert_eq!(render(&status(&workers)), text);
            assert_eq!(parse(text).workers, workers);
        }
    }

    #[test]
    fn other_lines_are_ignored() {
        let text = "\n:\n1:\n:2\nx:y\n3:4:5\n7:8\n99999999999999999999:1\n7:-\nkilled:3";
        let expected = Snapshot {
            workers: vec![(7, 8)],
            ..Snapshot::default()
        };
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn the_words_of_0_1_0_are_no_workers() {
        for (line, failed_upgrade) in [
            ("failed:3", 0),
            ("given-up:3", 0),
            ("upgraded:1:1795000000:0.1.0", 0),
            ("upgrade-failed:4", 4),
        ] {
            let expected = Snapshot {
                workers: vec![(7, 8)],
                is_of_0_1_0: true,
                failed_upgrade,
            };
            assert_eq!(parse(&format!("7:8\n{line}\n")), expected);
        }
    }

    #[test]
    fn a_million_random_texts() {
        const WORDS: [&str; 13] = [
            "",
            "\n",
            ":",
            "0",
            "7",
            "-",
            "+",
            " ",
            "failed",
            "upgrade-failed",
            "18446744073709551615",
            "\0",
            "é",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            let workers = parse(text).workers;
            assert_eq!(
                parse(&render(&status(&workers))).workers,
                workers,
                "{text:?}"
            );
        });
    }
}
