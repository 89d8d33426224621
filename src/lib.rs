//! The parts of the protocol that a server written in Rust needs under [`start_server`]: its listening sockets, its
//! generation, and a way to say that it is ready.
//!
//! `start_server` binds the sockets and passes them to each worker as open descriptors. The variable
//! `SERVER_STARTER_PORT` has their names and numbers. A worker takes the sockets once and early, says when it is ready,
//! and finishes its connections after a SIGTERM.
//!
//! The library is in the source of `start_server`. With a copy of it, this line in `Cargo.toml` is enough:
//!
//! ```toml
//! [dependencies]
//! server-starter = { path = "../server-starter" }
//! ```
//!
//! # A listener, also without `start_server`
//!
//! This takes the only socket of `start_server`, whatever its name is. For development, when the program is started by
//! hand, it binds a port instead:
//!
//! ```no_run
//! use std::net::TcpListener;
//!
//! fn listener() -> Result<TcpListener, Box<dyn std::error::Error>> {
//!     match server_starter::listeners() {
//!         Ok(listeners) => {
//!             let first = listeners.into_iter().next().ok_or("start_server has no --port")?;
//!             Ok(first.into_tcp()?)
//!         }
//!         Err(server_starter::Error::NotUnderStartServer(_)) => Ok(TcpListener::bind("127.0.0.1:8080")?),
//!         Err(error) => Err(error.into()),
//!     }
//! }
//! ```
//!
//! A server with several sockets takes each by its name: `listeners()?.take("8080")?.into_tcp()?`.
//!
//! # A whole server
//!
//! This is the server of `make demo`, `tests/demo/hello.rs`. On SIGTERM it finishes the connection that it has
//! accepted, and ends. It needs the crate `libc` for the signal.
//!
//! ```no_run
#![doc = include_str!("../tests/demo/hello.rs")]
//! ```
//!
//! # Limits
//!
//! - The first caller of [`listeners`] gets all sockets. A second call fails, because two owners would close each other's
//!   descriptors.
//! - The sockets are blocking, and this mode is shared by the workers of all generations. See [`listeners`].
//! - The library does not handle signals. The worker has to catch SIGTERM itself, or the signal that `--signal-on-hup`
//!   names.
//! - It works on Unix systems only.
//!
//! [`start_server`]: https://metacpan.org/pod/start_server

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{error, fmt};
use sys::inherit::{self, SocketKind};

#[cfg(test)]
mod fuzz;
#[allow(unsafe_code, reason = "the only module that talks to the kernel")]
mod sys {
    pub(crate) mod inherit;
}

const PORTS: &str = "SERVER_STARTER_PORT";
const GENERATION: &str = "SERVER_STARTER_GENERATION";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const READY_FD: &str = "SERVER_STARTER_READY_FD";

/// The sockets that this process has inherited from start_server: every `--port`, then every `--path`, both in the
/// order of its command line, and then the other sockets of a service manager.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

/// A socket that this process has inherited from start_server, with its name.
#[derive(Debug)]
pub struct Listener {
    name: OsString,
    socket: OwnedFd,
}

/// The errors of this library. Their debug form is the same sentence as their text, because this is what a `main` that
/// returns an error prints.
#[non_exhaustive]
pub enum Error {
    /// The variable of this name is not set. The process was not started by start_server.
    NotUnderStartServer(&'static str),
    /// The variable of this name has a value that start_server never sets.
    Malformed(&'static str, OsString),
    /// [`listeners`] was called before. Its first caller owns the sockets.
    AlreadyTaken,
    /// start_server has no `--port` or `--path` of this name.
    NoSuchListener(String),
    /// The descriptor of the socket of this name is not open, or is another kind of socket.
    Unusable(OsString, io::Error),
    /// start_server waits for a message that this process is ready, but the message could not be sent.
    NotifyFailed(io::Error),
}

/// Takes ownership of the sockets that this process has inherited from start_server. If it has no listener, the list is
/// empty.
///
/// Call this before other code opens or closes descriptors: the variable only has numbers, and the library cannot
/// detect that a number belongs to another file by now.
///
/// The sockets are blocking, as start_server makes them. This mode belongs to the socket itself, not to the descriptor.
/// A worker that changes it changes it for the workers of all generations, and a worker that depends on a mode must set
/// it.
///
/// The descriptors become close-on-exec. To pass one on to a child process, clear that flag. The environment does not
/// change, so the child can read `SERVER_STARTER_PORT` too.
///
/// # Errors
/// [`Error::NotUnderStartServer`] if `SERVER_STARTER_PORT` is not set, [`Error::Malformed`] if its value is not one
/// that start_server sets, [`Error::Unusable`] if a descriptor is not open, and [`Error::AlreadyTaken`] if this was
/// called before: one owner would close a descriptor that another owner still uses.
pub fn listeners() -> Result<Listeners, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let value = std::env::var_os(PORTS).ok_or(Error::NotUnderStartServer(PORTS))?;
    let entries = parse(&value).ok_or_else(|| Error::Malformed(PORTS, value.clone()))?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(Error::AlreadyTaken);
    }
    let adopt = |(name, number): (OsString, RawFd)| match inherit::adopt_fd(number) {
        Ok(socket) => Ok(Listener { name, socket }),
        Err(error) => Err(Error::Unusable(name, error)),
    };
    let listeners: Result<_, _> = entries.into_iter().map(adopt).collect();
    listeners.map(Listeners)
}

/// The generation of this worker. The first worker is generation 1, and every attempt to start a worker counts,
/// including those that fail.
///
/// # Errors
/// [`Error::NotUnderStartServer`] if `SERVER_STARTER_GENERATION` is not set, [`Error::Malformed`] if it is no number.
pub fn generation() -> Result<u64, Error> {
    let value = std::env::var_os(GENERATION).ok_or(Error::NotUnderStartServer(GENERATION))?;
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or(Error::Malformed(GENERATION, value))
}

/// Notifies start_server that this worker is ready to serve, in the way that its option `--ready` has chosen: by
/// sd_notify(3) to `NOTIFY_SOCKET`, or by a newline to the descriptor in `SERVER_STARTER_READY_FD`, which is then
/// closed. If systemd runs the worker without start_server, systemd is notified in the same way.
///
/// Returns true if a notification was sent. Returns false if none is expected, because start_server has
/// `--ready=interval`, or if this was called before. Only the first call sends anything, even if it fails.
///
/// # Errors
/// [`Error::Malformed`] if `SERVER_STARTER_READY_FD` is no number, and [`Error::NotifyFailed`].
pub fn ready() -> Result<bool, Error> {
    static CALLED: AtomicBool = AtomicBool::new(false);
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (socket, descriptor) = (set(NOTIFY_SOCKET), set(READY_FD));
    if (socket.is_none() && descriptor.is_none()) || CALLED.swap(true, Ordering::SeqCst) {
        return Ok(false);
    }
    if let Some(value) = descriptor {
        let parsed = value.to_str().and_then(|text| text.parse().ok());
        let number: RawFd = parsed.ok_or(Error::Malformed(READY_FD, value))?;
        let pipe = inherit::adopt_fd(number).map_err(Error::NotifyFailed)?;
        File::from(pipe)
            .write_all(b"\n")
            .map_err(Error::NotifyFailed)?;
    }
    if let Some(address) = socket {
        notify(&address).map_err(Error::NotifyFailed)?;
    }
    Ok(true)
}

/// Sends `READY=1` to a socket file, or on Linux to an abstract name with a `@` before it.
fn notify(address: &OsStr) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(b"READY=1", &address).map(drop);
    }
    socket.send_to(b"READY=1", address).map(drop)
}

impl Listeners {
    /// Removes the first socket of this name from the list and returns it. The name is that of `SERVER_STARTER_PORT`:
    /// `"8080"`, `"127.0.0.1:8080"`, `"[::1]:8080"` or a path. The name of a UDP port has no `u`.
    ///
    /// # Errors
    /// [`Error::NoSuchListener`] if the list has no such name.
    pub fn take(&mut self, name: impl AsRef<OsStr>) -> Result<Listener, Error> {
        let name = name.as_ref();
        match self.0.iter().position(|listener| listener.name == name) {
            Some(index) => Ok(self.0.remove(index)),
            None => Err(Error::NoSuchListener(name.to_string_lossy().into_owned())),
        }
    }

    /// Iterates over the sockets that were not taken from the list.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter()
    }
}

impl IntoIterator for Listeners {
    type Item = Listener;
    type IntoIter = std::vec::IntoIter<Listener>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Listener {
    /// The name of the socket in `SERVER_STARTER_PORT`.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Turns the socket into a TCP listener.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_tcp(self) -> Result<TcpListener, Error> {
        self.into_kind(SocketKind::Tcp, "not a TCP listener")
    }

    /// Turns the socket into a UDP socket.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_udp(self) -> Result<UdpSocket, Error> {
        self.into_kind(SocketKind::Udp, "not a UDP socket")
    }

    /// Turns the socket into a listener for Unix stream connections.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_unix(self) -> Result<UnixListener, Error> {
        self.into_kind(SocketKind::UnixStream, "not a Unix listener")
    }

    fn into_kind<T: From<OwnedFd>>(self, wanted: SocketKind, refusal: &str) -> Result<T, Error> {
        let error = match inherit::socket_kind(self.socket.as_fd()) {
            Ok(kind) if kind == wanted => return Ok(self.socket.into()),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidInput, refusal),
            Err(error) => error,
        };
        Err(Error::Unusable(self.name, error))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> OwnedFd {
        listener.socket
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::NotUnderStartServer(variable) => write!(
                out,
                "{variable} is not set: this program is to be run by start_server"
            ),
            Error::Malformed(variable, value) => {
                write!(out, "{variable} is malformed: {}", value.to_string_lossy())
            }
            Error::AlreadyTaken => out.write_str("the sockets of start_server were taken before"),
            Error::NoSuchListener(name) => {
                write!(out, "start_server has no --port or --path named {name}")
            }
            Error::Unusable(name, error) => write!(
                out,
                "cannot use the socket {} of start_server: {error}",
                name.to_string_lossy()
            ),
            Error::NotifyFailed(error) => write!(
                out,
                "cannot notify start_server that this worker is ready: {error}"
            ),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// There is no `source`, because the text contains the error of the system already.
impl error::Error for Error {}

/// Parses `name=fd` entries with `;` between them. `None` means that the value is malformed.
fn parse(value: &OsStr) -> Option<Vec<(OsString, RawFd)>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let parse_entry = |entry: &[u8]| {
        // A path may contain a `=`, so the last one counts.
        let equals = entry.iter().rposition(|&byte| byte == b'=')?;
        let text = std::str::from_utf8(&entry[equals + 1..]).ok()?;
        let number: RawFd = text.parse().ok()?;
        (number >= 0).then(|| (OsStr::from_bytes(&entry[..equals]).to_os_string(), number))
    };
    let split = value.as_bytes().split(|&byte| byte == b';');
    let entries: Vec<_> = split.map(parse_entry).collect::<Option<_>>()?;
    // Two entries with one descriptor would be two owners. One would close the descriptor that the other still uses.
    let numbers: BTreeSet<RawFd> = entries.iter().map(|(_, number)| *number).collect();
    (numbers.len() == entries.len()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let read = |text: &str| parse(OsStr::new(text));
        let entry = |name: &str, number| (OsString::from(name), number);
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("8080=3"), Some(vec![entry("8080", 3)]));
        assert_eq!(
            read("[::1]:80=3;0.0.0.0:443=4;/run/a=b.sock=0"),
            Some(vec![
                entry("[::1]:80", 3),
                entry("0.0.0.0:443", 4),
                entry("/run/a=b.sock", 0)
            ])
        );
        for bad in [
            ";",
            "8080",
            "8080=",
            "8080=x",
            "8080=-1",
            "8080=3;",
            "8080=99999999999",
            "8080= 3",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_million_random_values() {
        const WORDS: [&str; 12] = [
            "",
            "=",
            ";",
            "3",
            "-",
            "0",
            "[::1]:80",
            "/a b",
            "99999999999",
            "\n",
            "é",
            "4",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Some(entries) = parse(OsStr::new(text)) {
                let render = |(name, number): &(OsString, RawFd)| {
                    format!("{}={number}", name.to_str().unwrap())
                };
                let again = entries.iter().map(render).collect::<Vec<_>>().join(";");
                assert_eq!(parse(OsStr::new(&again)), Some(entries), "{text:?}");
            }
        });
    }
}
