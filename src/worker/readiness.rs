//! The channels on which workers report that they are ready: by datagrams of sd_notify(3), or with a newline on a pipe.
//!
//! Each generation has a channel of its own, so that a late message of an old worker is not mistaken for a message of a
//! new one. The channel stays open as long as its worker lives: some servers, such as puma, keep sending, and would get
//! an error from a full or missing socket.

use crate::error::Error;
use crate::saved::record;
use crate::supervisor::policy::Readiness;
use crate::supervisor::worker::Pid;
use crate::sys::exec::FdMapping;
use crate::sys::{datagram, fd, file, inherit};
use crate::variable::assignment;
use std::collections::hash_map::RandomState;
use std::ffi::{CString, OsString};
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

/// A message of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ready,
    /// The worker needs this much time, counted from now.
    Extend(Duration),
    /// A text for the operator.
    Status(String),
}

/// The kind of channel that `--ready` asks for, and the folder for its sockets.
pub struct ReadyConfig {
    readiness: Readiness,
    runtime_dir: PathBuf,
}

/// Our end of a worker's channel.
pub struct ReadyChannel {
    fd: OwnedFd,
    /// The file of a notify socket; `None` for a pipe.
    file: Option<NotifyFile>,
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

impl ReadyConfig {
    pub fn new(readiness: Readiness) -> ReadyConfig {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let runtime_dir = variable("RUNTIME_DIRECTORY")
            // Several folders are separated by colons [systemd.exec(5)].
            .and_then(|dirs| env::split_paths(&dirs).next())
            .or_else(|| variable("TMPDIR").map(PathBuf::from));
        ReadyConfig {
            readiness,
            runtime_dir: runtime_dir.unwrap_or_else(|| "/tmp".into()),
        }
    }

    /// Makes a channel and removes it again, so that an obstacle is known before the first worker is started.
    pub fn check(&self) -> Result<(), Error> {
        self.open(&[]).map(drop)
    }

    /// Opens a channel for a new worker; `None` with `--ready=interval`. `others` are the other descriptors that the
    /// worker inherits.
    pub fn open(&self, others: &[FdMapping]) -> Result<Option<(ReadyChannel, WorkerEnd)>, Error> {
        match self.readiness {
            Readiness::Interval => Ok(None),
            Readiness::Notify => open_socket(&self.runtime_dir).map(Some).map_err(|error| {
                let error = Error::action("make a socket in", &self.runtime_dir, error);
                Error::option("ready", "notify", error)
            }),
            Readiness::Descriptor(number) => open_pipe(number, others).map(Some).map_err(|error| {
                let error = Error::action("make a pipe", "", error);
                Error::option("ready", format!("fd={number}"), error)
            }),
        }
    }
}

fn open_socket(runtime_dir: &Path) -> io::Result<(ReadyChannel, WorkerEnd)> {
    let file = NotifyFile::new(runtime_dir)?;
    let fd = datagram::bind_datagrams(file.0.as_os_str())?;
    let worker_end = WorkerEnd {
        variable: assignment("NOTIFY_SOCKET", &file.0),
        pipe: None,
    };
    let channel = ReadyChannel {
        fd,
        file: Some(file),
    };
    Ok((channel, worker_end))
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
    let (fd, file) = (reader, None);
    Ok((ReadyChannel { fd, file }, worker_end))
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
    pub fn save(&self, pid: Pid) -> SavedChannel {
        let file = self.file.as_ref();
        SavedChannel {
            pid,
            fd: self.fd.as_raw_fd(),
            socket: file.map(|file| file.0.clone().into()),
        }
    }

    pub fn restore(saved: &SavedChannel) -> io::Result<ReadyChannel> {
        let socket = saved.socket.as_ref();
        Ok(ReadyChannel {
            fd: inherit::adopt_fd(saved.fd)?,
            file: socket.map(|path| NotifyFile(path.into())),
        })
    }

    /// Readable when there are messages.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads the messages that have arrived; `None` if no more can come.
    pub fn read_messages(&self) -> Option<Vec<Message>> {
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let mut messages = Vec::new();
        for _ in 0..MAX_PER_TURN {
            let is_socket = self.file.is_some();
            let count = if is_socket {
                datagram::receive(self.fd(), &mut buffer)
            } else {
                fd::read(self.fd(), &mut buffer)
            };
            match count {
                Ok(count) if is_socket && count > MAX_DATAGRAM => {}
                Ok(count) if is_socket => messages.extend(parse(&buffer[..count])),
                // As under s6 and dinit, a worker may write the newline and close at once. The newline counts first.
                Ok(0) if !messages.is_empty() => break,
                Ok(0) => return None,
                Ok(count) => {
                    messages.extend(buffer[..count].contains(&b'\n').then_some(Message::Ready));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Give the channel up: poll would report the same error again and again.
                Err(_) => return None,
            }
        }
        Some(messages)
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

/// The path of a socket, which lies alone in a private folder. Both are removed when this is dropped.
struct NotifyFile(PathBuf);

impl NotifyFile {
    /// Makes the folder. The caller binds the socket in it.
    ///
    /// A worker that has dropped its privileges must reach the socket, so every user may pass through the folder. No
    /// other user can list the folder, and the name of the socket is random.
    fn new(runtime_dir: &Path) -> io::Result<NotifyFile> {
        let prefix = env::current_dir()?.join(runtime_dir).join("start_server-");
        let folder = file::make_folder(&prefix)?;
        // The hasher is keyed with random numbers from the kernel.
        let name = RandomState::new().build_hasher().finish();
        let file = NotifyFile(folder.join(format!("{name:016x}")));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
        Ok(file)
    }
}

impl Drop for NotifyFile {
    fn drop(&mut self) {
        // A program that cleans temporary folders may have removed them already.
        let _ = fs::remove_file(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
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
                };
                assert_eq!(parse(line.as_bytes()), [message], "{text:?}");
            }
        });
    }
}
