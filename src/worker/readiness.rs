//! How a worker says that it is ready: by datagrams of sd_notify(3), or with a newline on a pipe.
//!
//! One channel for each generation, so that a late word of an older one is nobody's. It stays open for as long
//! as its worker lives: what puma, say, has to tell later is read and thrown away, since a full or missing
//! socket would be an error to it.

use crate::saved::record;
use crate::supervisor::policy::Readiness;
use crate::supervisor::worker::Pid;
use crate::sys::exec::FdMapping;
use crate::sys::{datagram, fd, file, inherit};
use crate::worker::environment;
use std::collections::hash_map::RandomState;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ready,
    /// It needs this much time, from now on.
    Extend(Duration),
    /// For people.
    Status(String),
}

/// Makes the channels.
pub struct Channels {
    readiness: Readiness,
    /// Where the folders of the sockets are made.
    parent: PathBuf,
}

/// Our end of a worker's channel.
pub struct Channel {
    end: OwnedFd,
    /// It is read, and otherwise it is the pipe, which ends.
    socket: Option<Folder>,
}

record! {
    "channel" Saved {
        pid: Pid,
        fd: RawFd,
        socket: Option<OsString>,
    }
}

/// What a worker is given to speak by.
pub struct Offer {
    pub variable: CString,
    pub handover: Option<FdMapping>,
    /// The worker's end of the pipe, to be closed once it has it.
    _end: Option<OwnedFd>,
}

/// The number of the descriptor, for `server_starter::ready()`; s6 and dinit have no such variable.
pub const DESCRIPTOR: &str = "SERVER_STARTER_READY_FD";

/// The longest datagram that counts, as for systemd: a longer one would be cut off somewhere.
const LONGEST: usize = 4096;

/// So many datagrams are read in a turn: a worker that floods must not keep us from the others.
const MAX_PER_TURN: usize = 16;

impl Channels {
    /// `variable` knows the environment.
    pub fn new(readiness: Readiness, variable: impl Fn(&str) -> Option<OsString>) -> Channels {
        let given = |name| variable(name).filter(|folder| !folder.is_empty());
        let parent = match (given("RUNTIME_DIRECTORY"), given("TMPDIR")) {
            // systemd.exec(5): several are joined by colons.
            (Some(folders), _) => {
                let first = folders.as_bytes().split(|&byte| byte == b':').next();
                OsStr::from_bytes(first.unwrap_or_default()).into()
            }
            (None, Some(folder)) => folder.into(),
            (None, None) => "/tmp".into(),
        };
        Channels { readiness, parent }
    }

    /// Makes a channel and removes it again, so that what would keep the first worker from having one is known at
    /// once. The error is one line.
    pub fn check(&self) -> Result<(), String> {
        match self.open(|_| false) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Says in a line why there is no channel.
    pub fn explain(&self, error: &io::Error) -> String {
        let reason = crate::sys::reason(error);
        match self.readiness {
            Readiness::Notify => format!(
                "--ready=notify: cannot make a socket in {}: {reason}",
                self.parent.display()
            ),
            Readiness::Descriptor(number) => {
                format!("--ready=fd={number}: cannot make a pipe: {reason}")
            }
            Readiness::Interval => reason,
        }
    }

    /// Opens a channel for a new worker, in which the numbers of `taken` mean something else already.
    pub fn open(&self, taken: impl Fn(i32) -> bool) -> io::Result<Option<(Channel, Offer)>> {
        match self.readiness {
            Readiness::Interval => Ok(None),
            Readiness::Notify => self.socket().map(Some),
            Readiness::Descriptor(number) => pipe(number, taken).map(Some),
        }
    }

    fn socket(&self) -> io::Result<(Channel, Offer)> {
        let folder = Folder::new(&self.parent)?;
        let end = datagram::bind_datagrams(folder.socket.as_os_str())?;
        let offer = Offer {
            variable: environment::string("NOTIFY_SOCKET", &folder.socket),
            handover: None,
            _end: None,
        };
        let socket = Some(folder);
        Ok((Channel { end, socket }, offer))
    }
}

fn pipe(number: i32, taken: impl Fn(i32) -> bool) -> io::Result<(Channel, Offer)> {
    let (reader, writer) = fd::pipe()?;
    let writer = fd::move_off(writer, |at| at == number || taken(at))?;
    fd::set_nonblocking(reader.as_fd())?;
    let offer = Offer {
        variable: environment::string(DESCRIPTOR, number.to_string()),
        handover: Some(FdMapping {
            fd: writer.as_raw_fd(),
            number,
        }),
        _end: Some(writer),
    };
    let socket = None;
    let end = reader;
    Ok((Channel { end, socket }, offer))
}

impl Channel {
    pub fn save(&self, pid: Pid) -> Saved {
        let folder = self.socket.as_ref();
        Saved {
            pid,
            fd: self.end.as_raw_fd(),
            socket: folder.map(|folder| folder.socket.clone().into()),
        }
    }

    pub fn restore(saved: &Saved) -> io::Result<Channel> {
        let folder = |socket: &OsString| {
            let socket = PathBuf::from(socket);
            Folder {
                path: socket.parent().map(Path::to_path_buf).unwrap_or_default(),
                socket,
            }
        };
        Ok(Channel {
            end: inherit::adopt_fd(saved.fd)?,
            socket: saved.socket.as_ref().map(folder),
        })
    }

    /// Readable when there is something to hear.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// What was said since the last time; `None` if nothing will ever be said again.
    pub fn read_messages(&self) -> Option<Vec<Message>> {
        let mut buffer = [0; LONGEST + 1];
        let mut words = Vec::new();
        for _ in 0..MAX_PER_TURN {
            let count = match &self.socket {
                Some(_) => datagram::receive(self.fd(), &mut buffer),
                None => fd::read(self.fd(), &mut buffer),
            };
            match (count, &self.socket) {
                (Ok(count), Some(_)) if count > LONGEST => {}
                (Ok(count), Some(_)) => words.extend(parse(&buffer[..count])),
                // Its last words first: s6's and dinit's way is to write the newline and close at once.
                (Ok(0), None) if !words.is_empty() => break,
                (Ok(0), None) => return None,
                (Ok(count), None) => {
                    words.extend(buffer[..count].contains(&b'\n').then_some(Message::Ready));
                }
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A descriptor that cannot be read would wake us again and again.
                (Err(_), _) => return None,
            }
        }
        Some(words)
    }
}

/// Reads a datagram. What we have no use for is passed over; BARRIER=1 is answered by the kernel, which closes
/// the descriptor that comes with it because we do not ask for it.
fn parse(datagram: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(datagram);
    let mut words = Vec::new();
    let mut ready = false;
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "READY" => ready |= value == "1",
            "STATUS" => words.push(Message::Status(value.to_string())),
            "EXTEND_TIMEOUT_USEC" => {
                let time = value.parse().map(Duration::from_micros);
                words.extend(time.map(Message::Extend));
            }
            _ => {}
        }
    }
    // What comes together with it still belongs to the start.
    words.extend(ready.then_some(Message::Ready));
    words
}

/// A folder with a socket in it, both removed when this is dropped.
struct Folder {
    path: PathBuf,
    socket: PathBuf,
}

impl Folder {
    /// Everybody may pass through, since a worker may have dropped its privileges, but nobody can list it: who
    /// knows the socket's name was told it.
    fn new(parent: &Path) -> io::Result<Folder> {
        let parent = std::env::current_dir()?.join(parent);
        let path = file::make_folder(&parent.join("start_server-"))?;
        // The hasher's keys are the system's random numbers.
        let name = RandomState::new().build_hasher().finish();
        let folder = Folder {
            socket: path.join(format!("{name:016x}")),
            path,
        };
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o711))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It was made for us alone. Who cleans up temporary folders may have been here before.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
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
        for (datagram, words) in table {
            assert_eq!(parse(datagram.as_bytes()), words, "{datagram:?}");
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
            for word in parse(text.as_bytes()) {
                let line = match &word {
                    Message::Ready => "READY=1".to_string(),
                    Message::Status(text) => format!("STATUS={text}"),
                    Message::Extend(time) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
                };
                assert_eq!(parse(line.as_bytes()), [word], "{text:?}");
            }
        });
    }
}
