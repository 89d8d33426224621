//! The channels on which workers report that they are ready: by datagrams of sd_notify(3), or with a newline on a pipe.
//!
//! Each generation has a channel of its own, so that a late message of an old worker is not mistaken for a message of a
//! new one. The channel stays open as long as its worker lives: some servers, such as puma, keep sending, and would get
//! an error from a full or missing socket.

use crate::error::{Error, Reason};
use crate::saved::record;
use crate::supervisor::policy::{Readiness, Time};
use crate::supervisor::worker::Pid;
use crate::sys::datagram::{self, Sender};
use crate::sys::exec::FdMapping;
use crate::sys::{clock, fd, inherit};
use crate::variable::assignment;
use crate::worker::environment::Environment;
use crate::worker::notify_file::{self, NotifyFile};
use crate::worker::sender;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, io};

/// A message of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ready,
    /// The worker needs this much time, counted from now.
    Extend(Duration),
    /// A text for the operator.
    Status(String),
    /// This process does not belong to the worker. Its datagrams are ignored, and only the first one is reported.
    Stranger(Sender),
}

/// The kind of channel that `--ready` asks for.
#[derive(Clone, Copy)]
pub struct ReadyConfig(Readiness);

/// Our end of a worker's channel.
pub struct ReadyChannel {
    fd: OwnedFd,
    /// The file of a notify socket; `None` for a pipe.
    file: Option<NotifyFile>,
    reads: Quota,
    statuses: Quota,
    /// The number of status messages beyond the quota that were not reported yet.
    unreported: u64,
    /// Whether a datagram of a stranger was reported.
    has_reported_stranger: bool,
}

record! {
    "channel" SavedChannel {
        pid: Pid,
        fd: RawFd,
        socket: Option<OsString>,
    }
}

/// The worker's end of its channel.
pub struct WorkerEnd {
    /// The variable in which the worker finds its channel.
    pub variable: CString,
    /// The writing end of a pipe, and its number in the worker.
    pipe: Option<(OwnedFd, RawFd)>,
}

/// The variable with the number of the pipe, for `server_starter::ready()`. s6 and dinit have no such variable.
pub const READY_FD: &str = "SERVER_STARTER_READY_FD";

/// The longest datagram that is read, as in systemd. A longer one would arrive cut off.
const MAX_DATAGRAM: usize = 4096;

/// The most datagrams that are read from one worker in a turn, so that a flood of them does not delay the others.
const MAX_PER_TURN: usize = 16;

/// The longest time for reading from one worker in a turn, apart from the last datagram. Each may come with a
/// descriptor that takes long to close.
const MAX_TIME_PER_TURN: Duration = Duration::from_millis(100);

/// The most datagrams that are read from one worker in a second. A worker that sends more waits for room in the queue,
/// and takes no more of our time.
const MAX_READS: u32 = 256;

/// The most status messages of one worker that are reported in ten seconds. The others are counted.
const MAX_STATUSES: u32 = 100;

impl ReadyConfig {
    pub fn new(readiness: Readiness) -> ReadyConfig {
        ReadyConfig(readiness)
    }

    /// Makes a channel and removes it again, so that an obstacle is known before the first worker is started.
    pub fn check(self, environment: &Environment) -> Result<(), Error> {
        self.open(&[], environment).map(drop)
    }

    /// Removes the sockets that a killed start_server has left where ours will be.
    pub fn remove_abandoned(self, environment: &Environment) {
        if self.0 == Readiness::Notify {
            for place in places(environment) {
                notify_file::remove_abandoned(&place);
            }
        }
    }

    /// Opens a channel for a new worker; `None` with `--ready=interval`. `others` are the other descriptors that the
    /// worker inherits.
    pub fn open(
        self,
        others: &[FdMapping],
        environment: &Environment,
    ) -> Result<Option<(ReadyChannel, WorkerEnd)>, Error> {
        match self.0 {
            Readiness::Interval => Ok(None),
            Readiness::Notify => open_socket(environment).map(Some),
            Readiness::Descriptor(number) => open_pipe(number, others).map(Some).map_err(|error| {
                let error = Error::action("make a pipe", "", error);
                Error::option("ready", format!("fd={number}"), error)
            }),
        }
    }
}

/// The directories in which a notify socket may be, in the order in which they are tried.
fn places(environment: &Environment) -> Vec<PathBuf> {
    let variable = |name| environment.get(name).filter(|value| !value.is_empty());
    // Several directories are separated by colons [systemd.exec(5)].
    let runtime = variable("RUNTIME_DIRECTORY").and_then(|dirs| env::split_paths(dirs).next());
    let temporary = variable("TMPDIR").map(PathBuf::from);
    let mut places: Vec<_> = runtime.into_iter().chain(temporary).collect();
    places.push("/tmp".into());
    places
}

/// Makes a socket in the first place where that is possible. A service manager or a cleaner of temporary files may have
/// removed a directory that was there before.
fn open_socket(environment: &Environment) -> Result<(ReadyChannel, WorkerEnd), Error> {
    let mut failures = Vec::new();
    for place in places(environment) {
        match NotifyFile::bind(&place) {
            Ok((fd, file)) => {
                let worker_end = WorkerEnd {
                    variable: assignment("NOTIFY_SOCKET", file.path()),
                    pipe: None,
                };
                return Ok((ReadyChannel::new(fd, Some(file)), worker_end));
            }
            Err(error) => {
                let reason = Reason::from(error);
                failures.push(format!("in {}: {reason}", place.display()));
            }
        }
    }
    let reason = format!("cannot make a socket {}", failures.join(", "));
    Err(Error::option("ready", "notify", reason))
}

fn open_pipe(number: RawFd, others: &[FdMapping]) -> io::Result<(ReadyChannel, WorkerEnd)> {
    let (reader, writer) = fd::pipe()?;
    let is_taken = |at| at == number || others.iter().any(|other| other.number == at);
    let writer = fd::move_off(writer, is_taken)?;
    fd::set_nonblocking(reader.as_fd())?;
    let worker_end = WorkerEnd {
        variable: assignment(READY_FD, number.to_string()),
        pipe: Some((writer, number)),
    };
    Ok((ReadyChannel::new(reader, None), worker_end))
}

impl WorkerEnd {
    /// The descriptor that the worker keeps, if the channel is a pipe.
    pub fn handover(&self) -> Option<FdMapping> {
        self.pipe.as_ref().map(|(writer, number)| FdMapping {
            fd: writer.as_raw_fd(),
            number: *number,
        })
    }
}

impl ReadyChannel {
    fn new(fd: OwnedFd, file: Option<NotifyFile>) -> ReadyChannel {
        ReadyChannel {
            fd,
            file,
            reads: Quota::of(MAX_READS, Duration::from_secs(1)),
            statuses: Quota::of(MAX_STATUSES, Duration::from_secs(10)),
            unreported: 0,
            has_reported_stranger: false,
        }
    }

    pub fn save(&self, pid: Pid) -> SavedChannel {
        let file = self.file.as_ref();
        SavedChannel {
            pid,
            fd: self.fd.as_raw_fd(),
            socket: file.map(|file| file.path().into()),
        }
    }

    pub fn restore(saved: &SavedChannel) -> io::Result<ReadyChannel> {
        let socket = saved.socket.as_ref();
        let file = socket.map(|path| NotifyFile::at(path.into()));
        let fd = inherit::adopt_fd(saved.fd)?;
        if file.is_some() {
            // Version 0.1.0 did not ask for this.
            datagram::identify_senders(fd.as_fd())?;
        }
        Ok(ReadyChannel::new(fd, file))
    }

    /// Readable when there are messages.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The time at which the channel is read again, if its worker has sent too much.
    pub fn rests_until(&self, now: Time) -> Option<Time> {
        self.reads.used_up_until(now)
    }

    /// Reads the messages of its worker that have arrived; `None` if no more can come.
    pub fn read_messages(&mut self, worker: Pid, now: Time) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        let end = clock::now() + MAX_TIME_PER_TURN;
        for _ in 0..MAX_PER_TURN {
            if clock::now() > end || !self.reads.take(now) {
                break;
            }
            let read = match self.file {
                Some(_) => self.read_datagram(worker),
                None => self.read_pipe(),
            };
            match read {
                Ok(Some(new)) => messages.extend(new),
                // As under s6 and dinit, a worker may write the newline and close at once. The newline counts first.
                Ok(None) if !messages.is_empty() => break,
                Ok(None) => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The next turn reads it.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // Give the channel up: poll would report the same error again and again.
                Err(_) => return None,
            }
        }
        Some(self.without_flood(messages, now))
    }

    fn read_datagram(&mut self, worker: Pid) -> io::Result<Option<Vec<Message>>> {
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let received = datagram::receive(self.fd(), &mut buffer)?;
        let messages = match received.sender {
            Some(sender) if !sender::speaks_for(sender, worker) => {
                let is_known = std::mem::replace(&mut self.has_reported_stranger, true);
                Vec::from_iter((!is_known).then_some(Message::Stranger(sender)))
            }
            _ if received.length > MAX_DATAGRAM => Vec::new(),
            _ => parse(&buffer[..received.length]),
        };
        Ok(Some(messages))
    }

    /// Returns `None` at the end of the pipe.
    fn read_pipe(&self) -> io::Result<Option<Vec<Message>>> {
        let mut buffer = [0; MAX_DATAGRAM];
        let count = fd::read(self.fd(), &mut buffer)?;
        let is_ready = buffer[..count].contains(&b'\n');
        Ok((count > 0).then(|| Vec::from_iter(is_ready.then_some(Message::Ready))))
    }

    /// Leaves out the status messages beyond the quota, and reports their number before the next message.
    fn without_flood(&mut self, messages: Vec<Message>, now: Time) -> Vec<Message> {
        let mut kept = Vec::new();
        for message in messages {
            if matches!(message, Message::Status(_)) && !self.statuses.take(now) {
                self.unreported += 1;
                continue;
            }
            if self.unreported > 0 {
                let text = format!("{} more status messages", self.unreported);
                kept.push(Message::Status(text));
                self.unreported = 0;
            }
            kept.push(message);
        }
        kept
    }
}

/// A number of events that are allowed in each period.
struct Quota {
    limit: u32,
    period: Duration,
    used: u32,
    /// The end of the period that began with the first of the used ones.
    until: Time,
}

impl Quota {
    fn of(limit: u32, period: Duration) -> Quota {
        Quota {
            limit,
            period,
            used: 0,
            until: Time::ZERO,
        }
    }

    /// Whether one more event is allowed.
    fn take(&mut self, now: Time) -> bool {
        if now >= self.until {
            self.used = 0;
            self.until = now + self.period;
        }
        let is_allowed = self.used < self.limit;
        self.used += u32::from(is_allowed);
        is_allowed
    }

    fn used_up_until(&self, now: Time) -> Option<Time> {
        (self.used == self.limit && now < self.until).then_some(self.until)
    }
}

/// Parses a datagram and ignores unknown variables. BARRIER=1 needs no answer: the sender waits until the descriptor
/// that comes with the datagram is closed, and [`datagram::receive`] does not keep that descriptor.
fn parse(datagram: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(datagram);
    let mut messages = Vec::new();
    let mut ready = false;
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "READY" => ready |= value == "1",
            "STATUS" => messages.push(Message::Status(value.to_string())),
            "EXTEND_TIMEOUT_USEC" => {
                let time = value.parse().map(Duration::from_micros);
                messages.extend(time.map(Message::Extend));
            }
            _ => {}
        }
    }
    // READY comes last: the rest of its datagram still belongs to the start.
    messages.extend(ready.then_some(Message::Ready));
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_parsed_into_messages() {
        let status = |text: &str| Message::Status(text.to_string());
        let second = Message::Extend(Duration::from_secs(1));
        let table: [(&str, &[Message]); 8] = [
            ("READY=1", &[Message::Ready]),
            ("READY=1\n", &[Message::Ready]),
            ("READY=0", &[]),
            (
                "READY=1\nSTATUS=a=b c\nMAINPID=7",
                &[status("a=b c"), Message::Ready],
            ),
            ("EXTEND_TIMEOUT_USEC=1000000", &[second]),
            ("EXTEND_TIMEOUT_USEC=-1\nEXTEND_TIMEOUT_USEC=", &[]),
            ("BARRIER=1", &[]),
            ("", &[]),
        ];
        for (datagram, messages) in table {
            assert_eq!(parse(datagram.as_bytes()), messages, "{datagram:?}");
        }
    }

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let (reader, _writer) = fd::pipe().unwrap();
        let mut channel = ReadyChannel::new(reader, None);
        let status = || Message::Status("a".to_string());
        let flood = || (0..120).map(|_| status()).collect::<Vec<_>>();
        let more = |number: u32| Message::Status(format!("{number} more status messages"));
        let second = Duration::from_secs(1);
        let first = channel.without_flood(flood(), Time::ZERO);
        assert_eq!(first, vec![status(); 100]);
        assert_eq!(channel.without_flood(flood(), second * 9), []);
        let ready = channel.without_flood(vec![Message::Ready], second * 9);
        assert_eq!(ready, [more(140), Message::Ready]);
        assert_eq!(channel.without_flood(flood(), second * 10).len(), 100);
        let next = channel.without_flood(vec![status()], second * 20);
        assert_eq!(next, [more(20), status()]);
    }

    #[test]
    fn a_channel_that_is_read_too_often_rests_until_the_second_is_over() {
        let mut quota = Quota::of(2, Duration::from_secs(1));
        let at = Duration::from_millis;
        assert!(quota.take(at(5000)) && quota.take(at(5900)));
        assert_eq!(quota.used_up_until(at(5900)), Some(at(6000)));
        assert!(!quota.take(at(5999)));
        assert_eq!(quota.used_up_until(at(6000)), None);
        assert!(quota.take(at(6000)));
    }

    #[test]
    fn a_million_random_datagrams() {
        const WORDS: [&str; 12] = [
            "",
            "\n",
            "=",
            "READY",
            "1",
            "STATUS",
            "EXTEND_TIMEOUT_USEC",
            "-",
            "\0",
            "é",
            "\r",
            "18446744073709551615",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            for message in parse(text.as_bytes()) {
                let line = match &message {
                    Message::Ready => "READY=1".to_string(),
                    Message::Status(text) => format!("STATUS={text}"),
                    Message::Extend(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
                    Message::Stranger(sender) => panic!("a text names no {sender:?}"),
                };
                assert_eq!(parse(line.as_bytes()), [message], "{text:?}");
            }
        });
    }
}
