//! Endpoints and paths to bound sockets, and the removal of our own socket files.
//!
//! Everything is looked at before anything is bound, so that a refusal leaves the system untouched.

pub mod activation;

use crate::cli::endpoint::{Endpoint, Host, Transport};
use crate::cli::Options;
use crate::files::owned::{self, OwnedFile};
use crate::saved::record;
use crate::supervisor::policy::Readiness;
use crate::supervisor::worker::Pid;
use crate::sys::exec::FdMapping;
use crate::sys::holders::{self, Holder};
use crate::sys::poll::{self, Interest};
use crate::sys::{self, address, fd, inherit, socket};
use crate::worker::environment::string;
use activation::InheritedSocket;
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The sockets of this start_server, in the order in which workers learn of them.
pub struct Listeners {
    listeners: Vec<Listener>,
    /// Whether they are described to workers as systemd does, too.
    pub listen_fds: bool,
    /// Removed when this is dropped.
    files: Vec<OwnedFile>,
    /// What there is to say about the binding, as lines for the log.
    pub notes: Vec<String>,
}

struct Listener {
    name: OsString,
    socket: OwnedFd,
    /// Its number in the worker.
    number: RawFd,
    /// The length of its queue, if it has one.
    backlog: Option<i32>,
}

record! {
    "listener" Saved {
        name: OsString,
        fd: RawFd,
        number: RawFd,
        backlog: Option<i32>,
    }
}

/// The role of the files of Unix sockets.
const ROLE: &str = "socket";

/// A socket to be.
struct Slot<'a> {
    name: OsString,
    source: Source<'a>,
    /// The number that it must have in the worker, if any.
    number: Option<RawFd>,
}

enum Source<'a> {
    /// A service manager has made it. A queue is known to be there for those that an option asks for.
    InheritedSocket(OwnedFd, Option<i32>),
    Port(&'a Endpoint, SocketAddr),
    Path(&'a Path),
    /// A socket file that nobody listens on lies at the path.
    DeadPath(&'a Path),
}

/// Binds every port and path that is not among the sockets `given` by a service manager. The error is one line,
/// which tells `left_over` workers, those of a start_server that is gone, from other processes that are in the way.
pub fn bind(
    options: &Options,
    given: Vec<InheritedSocket>,
    left_over: &[Pid],
) -> Result<Listeners, String> {
    let mut slots = plan(options, given)?;
    let claimed = claimed_numbers(options, &slots)?;
    let turns = take_turns(&options.paths);
    for slot in &mut slots {
        if let Source::Path(path) = slot.source {
            if look_at(path, left_over)? {
                slot.source = Source::DeadPath(path);
            }
        }
    }
    let mut binder = Binder {
        options,
        claimed,
        left_over,
        files: Vec::new(),
        notes: Vec::new(),
    };
    // The first free numbers belong to those that did not ask for one, as under Perl.
    let mut listeners: Vec<Option<Listener>> = slots.iter().map(|_| None).collect();
    let (asking, free): (Vec<_>, Vec<_>) = slots
        .into_iter()
        .zip(&mut listeners)
        .partition(|(slot, _)| slot.number.is_some());
    for (slot, listener) in free.into_iter().chain(asking) {
        *listener = Some(binder.bind(slot)?);
    }
    drop(turns);
    Ok(Listeners {
        listeners: listeners.into_iter().flatten().collect(),
        listen_fds: options.listen_fds,
        files: binder.files,
        notes: binder.notes,
    })
}

/// Locks the folders of these paths. Between bind and listen a socket looks dead, and another start at the same moment
/// would take its place. Somebody else's lock, or none to be had, is no reason not to start.
fn take_turns(paths: &[PathBuf]) -> Vec<OwnedFd> {
    let mut folders: Vec<&[u8]> = Vec::new();
    for path in paths {
        let path = path.as_os_str().as_bytes();
        let folder = match path.iter().rposition(|&byte| byte == b'/') {
            None => b".",
            Some(slash) => &path[..=slash],
        };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let turns = folders
        .into_iter()
        .map(|folder| turn(OsStr::from_bytes(folder)));
    turns.filter_map(Result::ok).collect()
}

fn turn(folder: &OsStr) -> io::Result<OwnedFd> {
    // What is no folder, such as a FIFO, must not hold us up.
    let mut reading = fs::OpenOptions::new();
    let opened = reading
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(folder)?;
    let folder = fd::duplicate(opened.as_fd(), OUT_OF_THE_WAY)?;
    for _ in 0..TURN_LOOKS {
        match fd::lock(folder.as_fd(), fd::Lock::TryExclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::wait(&mut [], Some(TURN_PAUSE))?;
            }
            locked => return locked.map(|()| folder),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The first free numbers are those of sockets.
const OUT_OF_THE_WAY: RawFd = 100;

/// Others are done within a moment; who is not does not bind a socket there.
const TURN_LOOKS: u32 = 200;
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// What workers shall get, in their order: ports, paths, and what no option asks for.
fn plan<'a>(
    options: &'a Options,
    mut given: Vec<InheritedSocket>,
) -> Result<Vec<Slot<'a>>, String> {
    let mut take = |is_it: &dyn Fn(&InheritedSocket) -> bool| {
        let index = given.iter().position(is_it)?;
        Some(given.remove(index).socket)
    };
    let queue = backlog(options);
    let mut slots = Vec::new();
    for (port, address) in options.ports.iter().zip(resolve(&options.ports)?) {
        let is_tcp = port.transport == Transport::Tcp;
        slots.push(Slot {
            name: port.name.clone().into(),
            source: match take(&|given| given.is_port(port, &address)) {
                Some(socket) => Source::InheritedSocket(socket, is_tcp.then_some(queue)),
                None => Source::Port(port, address),
            },
            number: port.descriptor,
        });
    }
    for path in &options.paths {
        slots.push(Slot {
            name: path.clone().into(),
            source: match take(&|given| given.is_path(path)) {
                Some(socket) => Source::InheritedSocket(socket, Some(queue)),
                None => Source::Path(path),
            },
            number: None,
        });
    }
    slots.extend(given.into_iter().map(|given| Slot {
        name: given.name(),
        source: Source::InheritedSocket(given.socket, None),
        number: None,
    }));
    if options.listen_fds {
        for (slot, in_row) in slots.iter_mut().zip(activation::FIRST..) {
            if let Some(number) = slot.number.filter(|&number| number != in_row) {
                return Err(format!(
                    "--port={}={number}: --listen-fds passes it as descriptor {in_row}",
                    slot.name.to_string_lossy()
                ));
            }
            slot.number = Some(in_row);
        }
    }
    Ok(slots)
}

/// What a slot needs to become a listener, and what comes of it beside that.
struct Binder<'a> {
    options: &'a Options,
    /// Numbers that a socket must have in the worker, so that no other may have them here.
    claimed: BTreeSet<RawFd>,
    left_over: &'a [Pid],
    files: Vec<OwnedFile>,
    notes: Vec<String>,
}

impl Binder<'_> {
    fn bind(&mut self, slot: Slot) -> Result<Listener, String> {
        let (socket, backlog) = match slot.source {
            Source::InheritedSocket(socket, backlog) => (socket, backlog),
            Source::Port(port, address) => self.bind_port(port, &address)?,
            Source::Path(path) => self.bind_path(path)?,
            Source::DeadPath(path) => {
                let note = format!("removing existing socket file:{}", path.display());
                self.notes.push(note);
                fs::remove_file(path).map_err(|error| refuse_bind(path, &error))?;
                self.bind_path(path)?
            }
        };
        let name = slot.name;
        let socket = fd::move_off(socket, |number| self.claimed.contains(&number));
        let socket = socket.map_err(|error| {
            let (name, reason) = (name.to_string_lossy(), sys::reason(&error));
            format!("cannot place the socket of {name}: {reason}")
        })?;
        Ok(Listener {
            number: slot.number.unwrap_or(socket.as_raw_fd()),
            name,
            socket,
            backlog,
        })
    }

    fn bind_port(
        &mut self,
        port: &Endpoint,
        address: &SocketAddr,
    ) -> Result<(OwnedFd, Option<i32>), String> {
        let backlog = match port.transport {
            Transport::Tcp => Some(backlog(self.options)),
            Transport::Udp => None,
        };
        if let Some(number) = port.descriptor {
            let note = format!("socket is duplicated to file descriptor {number}");
            self.notes.push(note);
        }
        match socket::bind_inet(address, backlog) {
            Ok(socket) => Ok((socket, backlog)),
            Err(error) => {
                let mut reason = sys::reason(&error);
                if error.kind() == io::ErrorKind::AddrInUse {
                    let holders = holders::of_port(address, backlog.is_some());
                    reason += &held_by(&holders, self.left_over);
                }
                Err(format!("cannot bind --port={}: {reason}", port.name))
            }
        }
    }

    fn bind_path(&mut self, path: &Path) -> Result<(OwnedFd, Option<i32>), String> {
        let backlog = backlog(self.options);
        let bound =
            socket::bind_unix(path.as_os_str(), self.options.path_mode).and_then(|socket| {
                // It is ours, bound above, even if we cannot learn its inode.
                let file = OwnedFile::at(path).inspect_err(|_| drop(fs::remove_file(path)))?;
                self.files.push(file);
                socket::listen(socket.as_fd(), backlog).map(|()| socket)
            });
        let socket = bound.map_err(|error| refuse_bind(path, &error))?;
        Ok((socket, Some(backlog)))
    }
}

fn backlog(options: &Options) -> i32 {
    options.backlog.unwrap_or(socket::LONGEST_BACKLOG)
}

impl Listeners {
    pub fn save(&self) -> (Vec<Saved>, Vec<owned::Saved>) {
        let listeners = self.listeners.iter().map(|listener| Saved {
            name: listener.name.clone(),
            fd: listener.socket.as_raw_fd(),
            number: listener.number,
            backlog: listener.backlog,
        });
        let files = self.files.iter().map(|file| file.save(ROLE));
        (listeners.collect(), files.collect())
    }

    pub fn restore(
        saved: &[Saved],
        files: &[owned::Saved],
        listen_fds: bool,
    ) -> io::Result<Listeners> {
        let listeners = saved.iter().map(|saved| {
            Ok(Listener {
                name: saved.name.clone(),
                socket: inherit::adopt_fd(saved.fd)?,
                number: saved.number,
                backlog: saved.backlog,
            })
        });
        Ok(Listeners {
            listeners: listeners.collect::<io::Result<_>>()?,
            listen_fds,
            files: OwnedFile::restore(files, ROLE),
            notes: Vec::new(),
        })
    }

    /// What tells workers of them.
    pub fn variables(&self) -> Vec<CString> {
        let mut variables = vec![string("SERVER_STARTER_PORT", self.names())];
        if self.listen_fds {
            let names = self
                .listeners
                .iter()
                .map(|listener| listener.name.as_os_str());
            variables.push(string("LISTEN_FDS", self.listeners.len().to_string()));
            variables.push(string("LISTEN_FDNAMES", activation::names(names)));
            // The child completes it.
            variables.push(string("LISTEN_PID", ""));
        }
        variables
    }

    /// The value of `SERVER_STARTER_PORT`.
    fn names(&self) -> OsString {
        let mut value = OsString::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            if index > 0 {
                value.push(";");
            }
            value.push(&listener.name);
            value.push(format!("={}", listener.number));
        }
        value
    }

    /// What a worker is handed.
    pub fn handovers(&self) -> Vec<FdMapping> {
        let each = self.listeners.iter();
        each.map(|listener| FdMapping {
            fd: listener.socket.as_raw_fd(),
            number: listener.number,
        })
        .collect()
    }

    /// Listens again where a worker has shut the shared socket down, as some do to wake their threads at their
    /// end; `say` is told. Linux lets a Unix socket be shut down without a trace, and for ever.
    pub fn listen_again(&self, mut say: impl FnMut(&str)) {
        // One call for all: nobody has shut anything down.
        let sockets = self
            .listeners
            .iter()
            .map(|listener| listener.socket.as_fd());
        let mut hangups: Vec<_> = sockets.map(Interest::hangup).collect();
        let looked = poll::wait(&mut hangups, Some(Duration::ZERO));
        if looked.is_ok() && !hangups.iter().any(Interest::happened) {
            return;
        }
        for listener in &self.listeners {
            let Some(backlog) = listener.backlog else {
                continue;
            };
            let socket = listener.socket.as_fd();
            if socket::listens(socket) {
                continue;
            }
            let name = listener.name.to_string_lossy();
            match socket::listen(socket, backlog) {
                Ok(()) => say(&format!(
                    "listening again on {name}, which a worker had shut down"
                )),
                Err(error) => say(&format!(
                    "cannot listen again on {name}, which a worker has shut down: {}",
                    sys::reason(&error)
                )),
            }
        }
    }
}

fn resolve(ports: &[Endpoint]) -> Result<Vec<SocketAddr>, String> {
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::new();
    for port in ports {
        let address =
            address_of(port).map_err(|reason| format!("--port={}: {reason}", port.name))?;
        // Port 0 is a different one each time.
        if port.port != 0 && !seen.insert((port.transport, address)) {
            return Err(format!(
                "--port={}: another --port has the same address",
                port.name
            ));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address_of(port: &Endpoint) -> Result<SocketAddr, String> {
    match &port.host {
        Host::Any => Ok((Ipv4Addr::UNSPECIFIED, port.port).into()),
        Host::V6(address) => Ok((*address, port.port).into()),
        Host::Named(host) => {
            let addresses = (host.as_str(), port.port).to_socket_addrs();
            let mut addresses = addresses
                .map_err(|error| format!("cannot resolve {host}: {}", sys::reason(&error)))?;
            addresses
                .find(SocketAddr::is_ipv4)
                .ok_or_else(|| format!("{host} has no IPv4 address"))
        }
    }
}

/// The numbers that sockets, and the pipe of `--ready`, must have in the worker.
fn claimed_numbers(options: &Options, slots: &[Slot]) -> Result<BTreeSet<RawFd>, String> {
    let limit = fd::limit();
    let mut claimed = BTreeSet::new();
    for slot in slots {
        let Some(number) = slot.number else {
            continue;
        };
        if number >= limit {
            let (name, last) = (slot.name.to_string_lossy(), limit - 1);
            return Err(format!(
                "--port={name}={number}: the highest descriptor allowed is {last}"
            ));
        }
        claimed.insert(number);
    }
    if let Readiness::Descriptor(number) = options.policy.readiness {
        if number >= limit {
            let last = limit - 1;
            return Err(format!(
                "--ready=fd={number}: the highest descriptor allowed is {last}"
            ));
        }
        if !claimed.insert(number) {
            return Err(format!(
                "--ready=fd={number}: --listen-fds puts a socket there"
            ));
        }
    }
    Ok(claimed)
}

/// Refuses a path that is not ours to bind. True: a socket lies there that nobody listens on.
fn look_at(path: &Path, left_over: &[Pid]) -> Result<bool, String> {
    address::check_unix_path(path.as_os_str())
        .map_err(|error| refuse_path(path, &sys::reason(&error)))?;
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        // If it is more than a name that is free, bind will say so.
        Err(_) => return Ok(false),
    };
    if !kind.is_socket() {
        let what = match kind {
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a directory",
            kind if kind.is_file() => "a regular file",
            _ => "something that is no socket",
        };
        return Err(refuse_path(path, &format!("{what} is in the way")));
    }
    match socket::probe_unix(path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if !is_answer(&error) => {
            let reason = sys::reason(&error);
            Err(refuse_path(
                path,
                &format!("cannot find out who listens there: {reason}"),
            ))
        }
        Ok(()) | Err(_) => {
            let holders = held_by(&holders::of_path(path), left_over);
            Err(refuse_path(
                path,
                &format!("another process listens there{holders}"),
            ))
        }
    }
}

/// A full queue, or a socket of another type: somebody has it.
fn is_answer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE))
}

/// What to add to a message that something is in use. Nothing where the system does not tell.
fn held_by(holders: &[Holder], left_over: &[Pid]) -> String {
    let each = holders.iter().map(|holder| {
        let whose = match left_over.contains(&holder.pid) {
            true => ", a worker of a start_server that is gone",
            false => "",
        };
        format!("process {} ({}){whose}", holder.pid, holder.name)
    });
    match each.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        list => format!(": {list}"),
    }
}

fn refuse_bind(path: &Path, error: &io::Error) -> String {
    refuse_path(path, &format!("cannot bind: {}", sys::reason(error)))
}

fn refuse_path(path: &Path, reason: &str) -> String {
    format!("--path={}: {reason}", path.display())
}
