//! A start_server that runs: what it logs, what its status file shows, and its end.

use super::processes::{end_all, is_worker};
use super::report::{pair, Report};
use super::{eventually, is_asleep, kernel, Scratch};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

/// The errors that tests look for, in the words of glibc and the BSDs and in those of musl.
const WORDINGS: [(&str, &str); 6] = [
    ("Address already in use", "Address in use"),
    ("Cannot allocate memory", "Out of memory"),
    ("Device or resource busy", "Resource busy"),
    ("Input/output error", "I/O error"),
    ("Too many levels of symbolic links", "Symbolic link loop"),
    ("Too many open files", "No file descriptors available"),
];

/// A text with its errors in one wording, whichever C library the program under test has.
fn in_one_wording(text: String) -> String {
    WORDINGS
        .iter()
        .fold(text, |text, (ours, other)| text.replace(other, ours))
}

/// A start_server that runs.
pub struct Server {
    pub(super) child: Child,
    pub scratch: Scratch,
}

impl Server {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal; to a program of somebody else's only while it sleeps, since Perl's misses one that
    /// comes between its last look and its wait.
    pub fn signal(&self, signal: i32) {
        if std::env::var_os("START_SERVER").is_some() {
            self.idle_for_signals();
        }
        kernel::kill(self.pid(), signal);
    }

    /// Waits until it sleeps.
    pub fn idle(&self) {
        if std::env::var_os("START_SERVER").is_some() {
            return self.idle_for_signals();
        }
        self.eventually("start_server to sleep", || {
            is_asleep(self.pid()).then_some(())
        });
    }

    /// Waits until it sleeps in a call that a signal interrupts.
    pub fn idle_for_signals(&self) {
        let waits = || {
            // The function of the kernel in which it sleeps. That may be a secret.
            let call = fs::read_to_string(format!("/proc/{}/wchan", self.pid()));
            let call = call.unwrap_or("0".to_string());
            ["wait", "sleep", "poll"]
                .iter()
                .any(|name| call.contains(name))
                || call == "0"
        };
        self.eventually("start_server to sleep until a signal", || {
            (is_asleep(self.pid()) && waits()).then_some(())
        });
    }

    pub fn hup(&self) {
        self.signal(libc::SIGHUP);
    }

    pub fn term(&self) {
        self.signal(libc::SIGTERM);
    }

    pub fn log(&self) -> String {
        in_one_wording(self.scratch.read("log"))
    }

    /// Counts a text in the log.
    pub fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// The log with a letter for each worker's number, A for the first, and PID for start_server's.
    pub fn story(&self) -> String {
        let log = self.log();
        let mut workers = Vec::new();
        let mut story = String::new();
        for line in log.lines() {
            workers.extend(line.strip_prefix("starting new worker "));
            let mut rest = line;
            while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
                let end = rest[start..]
                    .find(|c: char| !c.is_ascii_digit())
                    .map_or(rest.len(), |end| start + end);
                story.push_str(&rest[..start]);
                let number = &rest[start..end];
                match workers.iter().position(|worker| *worker == number) {
                    Some(index) => story.push(char::from(b'A' + index as u8)),
                    None if number == self.pid().to_string() => story.push_str("PID"),
                    None => story.push_str(number),
                }
                rest = &rest[end..];
            }
            story.push_str(rest);
            story.push('\n');
        }
        story
    }

    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually(look, || {
            let (log, notes, output) = (
                self.log(),
                self.scratch.read("notes"),
                self.scratch.read("output"),
            );
            format!(
                "{what}\n--- log\n{log}--- workers' notes\n{notes}--- standard output\n{output}"
            )
        })
    }

    /// Waits for a line of the log that contains `text`.
    pub fn says(&self, text: &str) {
        self.says_times(text, 1);
    }

    pub fn says_times(&self, text: &str, times: usize) {
        self.eventually(text, || {
            (self.log().matches(text).count() >= times).then_some(())
        });
    }

    /// Waits for a line in the notes that the workers write.
    pub fn notes(&self, text: &str) {
        self.eventually(text, || {
            self.scratch
                .read("notes")
                .lines()
                .any(|line| line == text)
                .then_some(())
        });
    }

    /// Generation and process of every worker that has begun, oldest first.
    pub fn started(&self) -> Vec<(u64, i32)> {
        let notes = self.scratch.read("notes");
        let begun = notes.lines().filter_map(|line| line.strip_prefix("began "));
        begun.map(|line| pair(line, ' ')).collect()
    }

    /// Waits until the worker of a generation has begun, and gives its report.
    pub fn worker(&self, generation: u64) -> Report {
        let pid = self.eventually(&format!("worker {generation}"), || {
            self.started()
                .into_iter()
                .find(|(found, _)| *found == generation)
                .map(|(_, pid)| pid)
        });
        let report = fs::read(self.scratch.path(format!("report.{generation}"))).unwrap();
        let lines = report
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect();
        Report {
            generation,
            pid,
            lines,
        }
    }

    /// Has the worker of a generation, which is a "talk", say something, and waits until it has.
    pub fn has_said(&self, generation: u64, words: impl AsRef<[u8]>) {
        let name = format!("say.{generation}");
        let is_said = || {
            self.eventually(&format!("worker {generation} to say it"), || {
                (!self.scratch.path(&name).exists()).then_some(())
            });
        };
        // It may have something else to say first.
        is_said();
        // Renamed into place, so that it says all or nothing.
        let new = self.scratch.write(format!("{name}.new"), words);
        fs::rename(new, self.scratch.path(&name)).unwrap();
        is_said();
    }

    /// From now on workers have this role, which envdir gives them.
    pub fn next_role(&self, role: &str) {
        self.change("WORKER_ROLE", role);
    }

    /// Changes a variable of envdir. It is whole at any time, since it is read before every attempt.
    pub fn change(&self, variable: &str, value: &str) {
        let new = self.scratch.write("value", value);
        fs::rename(new, self.scratch.path("envdir").join(variable)).unwrap();
    }

    /// The signals that a generation has noted.
    pub fn signals(&self, generation: u64) -> Vec<String> {
        let prefix = format!("signal {generation} ");
        let notes = self.scratch.read("notes");
        let signals = notes.lines().filter_map(|line| line.strip_prefix(&prefix));
        signals.map(str::to_string).collect()
    }

    /// Tells whether the worker of a generation was told to finish.
    pub fn is_told(&self, generation: u64) -> bool {
        !self.signals(generation).is_empty()
    }

    /// Waits until a file contains a text.
    pub fn file_has(&self, file: &str, text: &str) {
        self.eventually(&format!("{text:?} in {file}"), || {
            self.scratch.read(file).contains(text).then_some(())
        });
    }

    /// The status file, read by the test's own eyes.
    pub fn status(&self) -> Vec<(u64, i32)> {
        let text = self.scratch.read("status");
        text.lines().map(|line| pair(line, ':')).collect()
    }

    /// Waits until exactly these generations are up, as the status file shows.
    pub fn up(&self, generations: &[u64]) {
        self.eventually(
            &format!("generations {generations:?} in the status file"),
            || {
                let found: Vec<u64> = self
                    .status()
                    .iter()
                    .map(|(generation, _)| *generation)
                    .collect();
                (found == generations).then_some(())
            },
        );
    }

    /// The generations in the status file and the last failed start in the details: "1 2 failed:3".
    pub fn outline(&self) -> String {
        let generations = self.status().into_iter();
        let mut words: Vec<_> = generations.map(|(found, _)| found.to_string()).collect();
        for line in self.details("start-failure") {
            let values: Vec<_> = line.split(' ').collect();
            words.push(format!("failed:{}", values[0]));
            if values[2] == "given-up" {
                words.push(format!("given-up:{}", values[0]));
            }
        }
        words.join(" ")
    }

    /// The values of the lines with this key in the details.
    pub fn details(&self, key: &str) -> Vec<String> {
        let text = self.scratch.read("status.details");
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let values = lines.filter(|(found, _)| *found == key);
        values.map(|(_, values)| values.to_string()).collect()
    }

    /// Waits until the status file is like that.
    pub fn shows(&self, outline: &str) {
        self.eventually(&format!("{outline:?} in the status file"), || {
            (self.outline() == outline).then_some(())
        });
    }

    /// Waits until one worker is up alone that is newer than this generation, and gives its generation.
    pub fn succeeded(&self, generation: u64) -> u64 {
        self.eventually(
            &format!("a successor of generation {generation}"),
            || match self.status()[..] {
                [(newer, _)] if newer > generation => Some(newer),
                _ => None,
            },
        )
    }

    /// Restarts, and waits until the worker of this generation is up alone.
    pub fn restart(&self, generation: u64) {
        self.hup();
        self.worker(generation);
        self.up(&[generation]);
    }

    /// Tells whether a process is a worker of this start_server.
    pub fn is_worker(&self, pid: i32) -> bool {
        is_worker(pid, self.scratch.folder())
    }

    /// The workers that have begun and have not ended.
    pub fn living(&self) -> Vec<(u64, i32)> {
        let mut workers = self.started();
        workers.retain(|&(_, pid)| self.is_worker(pid));
        workers
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let Server { child, scratch } = self;
        eventually(
            || child.try_wait().unwrap(),
            || format!("the end of start_server\n{}", scratch.read("log")),
        )
    }

    /// Sends TERM, and expects the proper end.
    pub fn stop(&mut self) {
        self.term();
        let ended = self.end();
        assert_eq!(ended.into_raw(), 0, "{}", self.log());
    }
}

/// No process of the test outlives it, whether it has passed or failed.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all(self.scratch.folder());
    }
}
