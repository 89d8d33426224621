//! The status file: a line `GENERATION:PID` for each worker that passed its check.

use crate::file::{open_regular, OurFile};
use crate::log::Log;
use crate::policy::Time;
use crate::sys::{fd, process, reason};
use crate::worker::{Generation, Pid, Status, Trouble};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The status file that this process keeps. It is removed in the end.
pub struct StatusFile {
    path: PathBuf,
    /// What it is to say.
    text: String,
    state: State,
    /// What was renamed into place last.
    published: Option<OurFile>,
    /// Given up for the moment of writing, so that a process without a free descriptor can write all the same.
    spare: Option<OwnedFd>,
}

enum State {
    Written,
    /// It was said, and is tried again.
    Failed {
        until: Time,
    },
}

/// How soon a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl StatusFile {
    /// Makes sure that the file can be written, without touching one that is there.
    pub fn check(path: &Path) -> io::Result<StatusFile> {
        let mut status = StatusFile {
            path: path.to_path_buf(),
            text: String::new(),
            state: State::Written,
            published: None,
            spare: None,
        };
        // To rename over /dev/null would take it from the whole system.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let temporary = status.temporary();
        // Nobody else can have this number now, so it is what a killed process of the same one left.
        if fs::symlink_metadata(&temporary).is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&temporary)?;
        }
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        status.keep_spare();
        Ok(status)
    }

    /// Has the file tell of this, now or as soon as it can be written.
    pub fn publish(&mut self, status: &Status, now: Time, log: &mut Log) {
        self.text = render(status);
        self.write(now, log);
    }

    /// When `tick` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Failed { until } => Some(until),
            State::Written => None,
        }
    }

    /// Tries again what failed, when it is time.
    pub fn tick(&mut self, now: Time, log: &mut Log) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.write(now, log);
        }
    }

    fn write(&mut self, now: Time, log: &mut Log) {
        self.spare = None;
        let replaced = self.replace();
        self.keep_spare();
        self.state = match (replaced, &self.state) {
            (Ok(()), State::Written) => State::Written,
            (Ok(()), State::Failed { .. }) => {
                log.tell("the status file is written again");
                State::Written
            }
            (Err(error), State::Written) => {
                log.tell(&format!("cannot write the status file: {}", reason(&error)));
                State::Failed { until: now + RETRY }
            }
            (Err(_), State::Failed { .. }) => State::Failed { until: now + RETRY },
        };
    }

    /// Replaces the file whole: a reader sees the old one or the new one.
    fn replace(&mut self) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = create(&temporary)?;
        let renamed = file
            .write_all(self.text.as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        match renamed {
            Ok(metadata) => {
                self.published = Some(OurFile::new(&self.path, &metadata));
                Ok(())
            }
            Err(error) => {
                // It is ours, made above; if it cannot be removed either, the first error still says why.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// Without one the next write may fail, and is then tried again.
    fn keep_spare(&mut self) {
        self.spare = fd::duplicate(io::stderr().as_fd(), 0).ok();
    }

    fn temporary(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}", process::id()));
        name.into()
    }
}

/// Refuses whatever lies there, so that nothing planted is followed or overwritten.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Lines that begin with a word instead of a generation are passed over by Perl's and Ruby's readers.
fn render(status: &Status) -> String {
    let mut text = String::new();
    for worker in &status.workers {
        text += &format!("{}:{}\n", worker.generation, worker.pid);
    }
    if let Some(trouble) = status.trouble {
        text += &format!("failed:{}\n", trouble.failed);
        if trouble.given_up {
            text += &format!("given-up:{}\n", trouble.failed);
        }
    }
    text
}

/// What a status file tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Generation and process of each worker that passed its check.
    pub workers: Vec<(Generation, Pid)>,
    pub trouble: Option<Trouble>,
}

pub fn read(path: &Path) -> io::Result<Seen> {
    let mut text = Vec::new();
    open_regular(path, OpenOptions::new().read(true))?.read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Lines of another form are passed over.
fn parse(text: &str) -> Seen {
    let mut seen = Seen::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match (key, key.parse(), value.parse(), value.parse()) {
            ("failed", _, Ok(failed), _) => {
                let given_up = false;
                seen.trouble = Some(Trouble { failed, given_up });
            }
            ("given-up", _, Ok(failed), _) => {
                let given_up = true;
                seen.trouble = Some(Trouble { failed, given_up });
            }
            (_, Ok(generation), _, Ok(pid)) => seen.workers.push((generation, pid)),
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Part, Told, Worker};

    fn status(seen: &Seen) -> Status {
        let worker = |&(generation, pid): &(Generation, Pid)| Worker {
            pid,
            generation,
            part: Part::Old,
            told: Told::No,
        };
        Status {
            workers: seen.workers.iter().map(worker).collect(),
            trouble: seen.trouble,
        }
    }

    #[test]
    fn what_is_rendered_reads_back() {
        let trouble = |given_up| {
            Some(Trouble {
                failed: 12,
                given_up,
            })
        };
        let table = [
            (vec![(9, 300), (10, 12)], None, "9:300\n10:12\n"),
            (vec![(9, 300)], trouble(false), "9:300\nfailed:12\n"),
            (
                vec![(9, 300)],
                trouble(true),
                "9:300\nfailed:12\ngiven-up:12\n",
            ),
            (vec![], None, ""),
        ];
        for (workers, trouble, text) in table {
            let seen = Seen { workers, trouble };
            assert_eq!(render(&status(&seen)), text);
            assert_eq!(parse(text), seen);
        }
    }

    #[test]
    fn other_lines_are_passed_over() {
        let text = "failed:x\n\n:\n1:\n:2\nx:y\n3:4:5\n7:8\n99999999999999999999:1\n7:-\nkilled:3";
        let workers = vec![(7, 8)];
        assert_eq!(
            parse(text),
            Seen {
                workers,
                trouble: None
            }
        );
    }

    #[test]
    fn a_million_nasty_texts() {
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
            "given-up",
            "18446744073709551615",
            "\0",
            "é",
        ];
        crate::nasty::million(&WORDS, |text| {
            let seen = parse(text);
            assert_eq!(parse(&render(&status(&seen))), seen, "{text:?}");
        });
    }
}
