//! What a server written in Rust needs to run under [`start_server`]: its listening sockets, its generation,
//! and a way to say that it is ready.
//!
//! `start_server` binds the sockets and hands them to each worker it starts, as open descriptors that the
//! variable `SERVER_STARTER_PORT` names. A worker takes them once, early, says when it serves, and finishes its
//! connections when it gets SIGTERM:
//!
//! ```no_run
//! use std::io::Write;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut listeners = server_starter::listeners()?;
//!     let http = listeners.take("8080")?.into_tcp()?;
//!     server_starter::ready()?;
//!     for connection in http.incoming() {
//!         writeln!(connection?, "hello from generation {}", server_starter::generation()?)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`start_server`]: https://metacpan.org/pod/start_server

use std::collections::BTreeSet;
use std::error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The sockets that start_server handed to this process, by name and in its command-line order.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

/// A socket that start_server handed to this process.
#[derive(Debug)]
pub struct Listener {
    name: OsString,
    socket: OwnedFd,
}

/// StartReason there is no such socket, or no generation.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The variable of this name is not set: the process was not started by start_server.
    NotUnderStartServer(&'static str),
    /// The variable of this name has a value that start_server does not give it.
    Malformed(&'static str, OsString),
    /// [`listeners`] was called before: the sockets belong to its first caller.
    Taken,
    /// start_server was not told to listen there.
    NoSuchListener(String),
    /// The descriptor of the socket of this name is not open, or is not such a socket.
    Unusable(OsString, io::Error),
    /// start_server asks to be told when this process is ready, but could not be told.
    NotTold(io::Error),
}

/// Takes the sockets that start_server handed to this process. No socket is an empty list.
///
/// start_server makes them blocking. Whether they are is known to the socket and not to the descriptor, so a
/// worker that sets another mode sets it for all generations; one that depends on a mode sets it itself.
///
/// The environment stays as it is: children that are handed the descriptors can read it too. The descriptors
/// become close-on-exec; clear the flag on those that a child shall have.
///
/// # Errors
/// [`Error::NotUnderStartServer`] without `SERVER_STARTER_PORT`, [`Error::Malformed`] and [`Error::Unusable`]
/// if it, or a descriptor in it, is not what start_server gives, and [`Error::Taken`] the second time: two
/// owners of one descriptor would close each other's.
pub fn listeners() -> Result<Listeners, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let value = std::env::var_os(PORTS).ok_or(Error::NotUnderStartServer(PORTS))?;
    let entries = parse(&value).ok_or_else(|| Error::Malformed(PORTS, value.clone()))?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(Error::Taken);
    }
    let take = |(name, number): (OsString, RawFd)| match inherit::adopt_fd(number) {
        Ok(socket) => Ok(Listener { name, socket }),
        Err(error) => Err(Error::Unusable(name, error)),
    };
    entries
        .into_iter()
        .map(take)
        .collect::<Result<_, _>>()
        .map(Listeners)
}

/// Which attempt to start a worker this process is: the first is 1, and failed ones count.
///
/// # Errors
/// [`Error::NotUnderStartServer`] without `SERVER_STARTER_GENERATION`, [`Error::Malformed`] if it is no number.
pub fn generation() -> Result<u64, Error> {
    let value = std::env::var_os(GENERATION).ok_or(Error::NotUnderStartServer(GENERATION))?;
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or(Error::Malformed(GENERATION, value))
}

/// Tells start_server that this worker serves from now on, in the way that `--ready` asks for: by sd_notify(3)
/// to `NOTIFY_SOCKET`, or with a newline to the descriptor of `SERVER_STARTER_READY_FD`, which is closed then.
///
/// True: it was told. False: nobody asked, since the interval decides, or this was said before. systemd is told
/// in the same way if it runs the worker without start_server.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::NotTold`].
pub fn ready() -> Result<bool, Error> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (socket, descriptor) = (set(NOTIFY_SOCKET), set(READY_FD));
    if (socket.is_none() && descriptor.is_none()) || TOLD.swap(true, Ordering::SeqCst) {
        return Ok(false);
    }
    if let Some(value) = descriptor {
        let number = value.to_str().and_then(|text| text.parse().ok());
        let number: RawFd = number.ok_or(Error::Malformed(READY_FD, value))?;
        let pipe = inherit::adopt_fd(number).map_err(Error::NotTold)?;
        File::from(pipe).write_all(b"\n").map_err(Error::NotTold)?;
    }
    if let Some(address) = socket {
        notify(&address).map_err(Error::NotTold)?;
    }
    Ok(true)
}

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
    /// Takes the first socket of this name out: `"8080"`, `"127.0.0.1:8080"`, `"[::1]:8080"`, or a path; a UDP
    /// port has no `u`.
    ///
    /// # Errors
    /// [`Error::NoSuchListener`].
    pub fn take(&mut self, name: impl AsRef<OsStr>) -> Result<Listener, Error> {
        let name = name.as_ref();
        let index = self.0.iter().position(|listener| listener.name == name);
        let index =
            index.ok_or_else(|| Error::NoSuchListener(name.to_string_lossy().into_owned()))?;
        Ok(self.0.remove(index))
    }

    /// Lends the sockets.
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
    /// The name in `SERVER_STARTER_PORT`.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Makes it a TCP listener.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_tcp(self) -> Result<TcpListener, Error> {
        self.into_kind(SocketKind::Tcp, "not a TCP listener")
    }

    /// Makes it a UDP socket.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_udp(self) -> Result<UdpSocket, Error> {
        self.into_kind(SocketKind::Udp, "not a UDP socket")
    }

    /// Makes it a Unix stream listener.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is another kind of socket.
    pub fn into_unix(self) -> Result<UnixListener, Error> {
        self.into_kind(SocketKind::UnixStream, "not a Unix listener")
    }

    fn into_kind<T: From<OwnedFd>>(self, wanted: SocketKind, otherwise: &str) -> Result<T, Error> {
        match inherit::socket_kind(self.socket.as_fd()) {
            Ok(kind) if kind == wanted => Ok(self.socket.into()),
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, otherwise);
                Err(Error::Unusable(self.name, error))
            }
            Err(error) => Err(Error::Unusable(self.name, error)),
        }
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
            Error::NotUnderStartServer(variable) => {
                write!(
                    out,
                    "{variable} is not set: this program is to be run by start_server"
                )
            }
            Error::Malformed(variable, value) => {
                write!(out, "{variable} is malformed: {}", value.to_string_lossy())
            }
            Error::Taken => out.write_str("the sockets of start_server were taken before"),
            Error::NoSuchListener(name) => {
                write!(out, "start_server was not told to listen on {name}")
            }
            Error::Unusable(name, error) => {
                write!(
                    out,
                    "cannot use the socket {} of start_server: {error}",
                    name.to_string_lossy()
                )
            }
            Error::NotTold(error) => {
                write!(out, "cannot tell start_server that it is ready: {error}")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Unusable(_, error) | Error::NotTold(error) => Some(error),
            Error::NotUnderStartServer(_)
            | Error::Malformed(..)
            | Error::Taken
            | Error::NoSuchListener(_) => None,
        }
    }
}

/// Reads `name=fd` entries joined by `;`. A path may have a `=` in it, a descriptor number cannot.
fn parse(value: &OsStr) -> Option<Vec<(OsString, RawFd)>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let entry = |entry: &[u8]| {
        let equals = entry.iter().rposition(|&byte| byte == b'=')?;
        let number: RawFd = std::str::from_utf8(&entry[equals + 1..])
            .ok()?
            .parse()
            .ok()?;
        (number >= 0).then(|| (OsStr::from_bytes(&entry[..equals]).to_os_string(), number))
    };
    let entries = value.as_bytes().split(|&byte| byte == b';').map(entry);
    let entries: Vec<_> = entries.collect::<Option<_>>()?;
    let numbers: BTreeSet<RawFd> = entries.iter().map(|(_, number)| *number).collect();
    // Two owners of one descriptor would close each other's.
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
