//! The status file: a line `GENERATION:PID` for each worker that passed its check.

use crate::files::owned::{self, open_regular, OwnedFile};
use crate::log::lines::Log;
use crate::supervisor::policy::Time;
use crate::supervisor::worker::{Generation, Pid, StartFailure, Status};
use crate::sys::{fd, process, reason};
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
    workers: Status,
    upgrades: Upgrades,
    state: State,
    /// What was renamed into place last.
    published: Option<OwnedFile>,
    /// Given up for the moment of writing, so that a process without a free descriptor can write all the same.
    spare: Option<OwnedFd>,
}

const ROLE: &str = "status";

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
    pub fn new(path: &Path) -> StatusFile {
        StatusFile {
            path: path.to_path_buf(),
            workers: Status::default(),
            upgrades: Upgrades::default(),
            state: State::Written,
            published: None,
            spare: None,
        }
    }

    pub fn save(&self) -> Option<owned::Saved> {
        self.published.as_ref().map(|file| file.save(ROLE))
    }

    pub fn restore(&mut self, files: &[owned::Saved]) {
        self.published = OwnedFile::restore(files, ROLE).pop();
    }

    /// Makes sure that the file can be written, without touching one that is there.
    pub fn check(&mut self) -> io::Result<()> {
        let path = &self.path;
        // To rename over /dev/null would take it from the whole system.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let temporary = self.temporary();
        // Nobody else can have this number now, so it is what a killed process of the same one left.
        if fs::symlink_metadata(&temporary).is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&temporary)?;
        }
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        self.keep_spare();
        Ok(())
    }

    /// Has the file tell of this, now or as soon as it can be written.
    pub fn publish(&mut self, status: &Status, now: Time, log: &mut Log) {
        self.workers = status.clone();
        self.write(now, log);
    }

    /// Has the file tell of this, too.
    pub fn tell_upgrades(&mut self, upgrades: &Upgrades, now: Time, log: &mut Log) {
        self.upgrades = upgrades.clone();
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
                log.note("the status file is written again");
                State::Written
            }
            (Err(error), State::Written) => {
                log.note(&format!("cannot write the status file: {}", reason(&error)));
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
            .write_all(render(&self.workers, &self.upgrades).as_bytes())
            .and_then(|()| file.metadata())
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata));
        match renamed {
            Ok(metadata) => {
                match &mut self.published {
                    Some(file) => file.is_replaced_by(&metadata),
                    None => self.published = Some(OwnedFile::new(&self.path, &metadata)),
                }
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
fn render(status: &Status, upgrades: &Upgrades) -> String {
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

pub fn read(path: &Path) -> io::Result<Snapshot> {
    let mut text = Vec::new();
    open_regular(path, OpenOptions::new().read(true))?.read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Lines of another form are passed over.
fn parse(text: &str) -> Snapshot {
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
