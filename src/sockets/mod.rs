//! The sockets that all workers share. start_server keeps them open as long as it runs, so that no connection is lost.
//!
//! The options and the sockets that a service manager has made come in. The variables and descriptors for each worker
//! go out. [`plan`](mod@plan) decides which sockets there will be, and [`bind`](mod@bind) makes them;
//! [`in_the_way`] and [`folder_lock`](crate::files::folder_lock) keep us from taking a socket that is in use.

pub mod activation;
mod bind;
mod in_the_way;
mod plan;
mod renew;

pub use bind::bind;
pub use plan::plan;

use crate::cli::{Options, PathOwner};
use crate::error::Error;
use crate::files::owned::{OwnedFile, SavedFile};
use crate::log::lines::Log;
use crate::saved::record;
use crate::sys::address::{self, Address};
use crate::sys::exec::FdMapping;
use crate::sys::poll::{self, Interest};
use crate::sys::{account, inherit, socket};
use crate::variable::assignment;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// All the sockets, in the order of `SERVER_STARTER_PORT`.
pub struct Listeners {
    sockets: Vec<BoundSocket>,
    /// With `--listen-fds` workers also get the variables of systemd's protocol.
    listen_fds: bool,
    path_access: PathAccess,
}

struct BoundSocket {
    name: OsString,
    socket: OwnedFd,
    /// Its descriptor number in the worker.
    number: RawFd,
    /// The length of its listen queue; `None` for UDP, and for an inherited socket that no option asks for.
    backlog: Option<i32>,
    origin: SocketOrigin,
    /// A worker has shut it down, and nobody can connect to it any more.
    is_dead: bool,
}

/// The origin of a socket.
enum SocketOrigin {
    /// It was bound to this address.
    Port(SocketAddr),
    /// It has a file of ours, which is removed when this is dropped.
    Path(OwnedFile),
    /// A service manager has made it.
    Inherited,
}

/// The access to the files of Unix sockets.
struct PathAccess {
    mode: u32,
    owner: Option<PathOwner>,
}

impl PathAccess {
    fn new(options: &Options) -> PathAccess {
        PathAccess {
            mode: options.path_mode,
            owner: options.path_owner.clone(),
        }
    }

    /// Finds the numbers of the user and of the group that are to own the files.
    fn owner(&self) -> Result<(Option<u32>, Option<u32>), Error> {
        let Some(PathOwner { user, group }) = &self.owner else {
            return Ok((None, None));
        };
        let find = |name: &Option<OsString>, find: fn(&OsStr) -> Option<u32>, kind| {
            let Some(name) = name else {
                return Ok(None);
            };
            let reason = format!("there is no {kind} of this name");
            let found = find(name).ok_or_else(|| Error::option("path-owner", name, reason));
            found.map(Some)
        };
        Ok((
            find(user, account::user, "user")?,
            find(group, account::group, "group")?,
        ))
    }
}

record! {
    "listener" SavedListener {
        name: OsString,
        fd: RawFd,
        number: RawFd,
        backlog: Option<i32>,
    }
}

/// The role of the files of Unix sockets among our saved files.
const FILE_ROLE: &str = "socket";

impl Listeners {
    pub fn save(&self) -> (Vec<SavedListener>, Vec<SavedFile>) {
        let sockets = self.sockets.iter().map(|bound| SavedListener {
            name: bound.name.clone(),
            fd: bound.socket.as_raw_fd(),
            number: bound.number,
            backlog: bound.backlog,
        });
        let files = self.sockets.iter().filter_map(|bound| match &bound.origin {
            SocketOrigin::Path(file) => Some(file.save()),
            SocketOrigin::Port(_) | SocketOrigin::Inherited => None,
        });
        (sockets.collect(), files.collect())
    }

    pub fn restore(
        saved: &[SavedListener],
        files: &[SavedFile],
        options: &Options,
    ) -> io::Result<Listeners> {
        let mut files = OwnedFile::restore(files, FILE_ROLE);
        let sockets = saved.iter().map(|saved| {
            let socket = inherit::adopt_fd(saved.fd)?;
            let file = files.iter().position(|file| file.path() == saved.name);
            let origin = match (file, address::of_socket(socket.as_fd())) {
                (Some(index), _) => SocketOrigin::Path(files.remove(index)),
                (None, Ok(Address::Inet(address))) => SocketOrigin::Port(address),
                (None, _) => SocketOrigin::Inherited,
            };
            Ok(BoundSocket {
                name: saved.name.clone(),
                socket,
                number: saved.number,
                backlog: saved.backlog,
                origin,
                is_dead: false,
            })
        });
        Ok(Listeners {
            sockets: sockets.collect::<io::Result<_>>()?,
            listen_fds: options.listen_fds,
            path_access: PathAccess::new(options),
        })
    }

    /// The variables that describe the sockets to a worker.
    pub fn variables(&self) -> Vec<CString> {
        let mut port = OsString::new();
        for bound in &self.sockets {
            if !port.is_empty() {
                port.push(";");
            }
            port.push(&bound.name);
            port.push("=");
            port.push(bound.number.to_string());
        }
        let mut variables = vec![assignment("SERVER_STARTER_PORT", port)];
        if self.listen_fds {
            let names = self.sockets.iter().map(|bound| bound.name.as_os_str());
            variables.push(assignment("LISTEN_FDS", self.sockets.len().to_string()));
            variables.push(assignment("LISTEN_FDNAMES", activation::fdnames(names)));
            // The child appends its own pid after the fork.
            variables.push(assignment("LISTEN_PID", ""));
        }
        variables
    }

    /// The descriptors that a worker inherits.
    pub fn handovers(&self) -> Vec<FdMapping> {
        let each = self.sockets.iter().map(|bound| FdMapping {
            fd: bound.socket.as_raw_fd(),
            number: bound.number,
        });
        each.collect()
    }

    /// Listens again on each socket that a worker has shut down. Some workers shut their sockets down when they exit,
    /// to wake their threads. The socket is shared, so this affects every worker.
    ///
    /// Some sockets refuse connections for ever then: Unix sockets on Linux, where SO_ACCEPTCONN does not show it, and
    /// all sockets on the systems where poll(2) does not show a shutdown. Only binding them again helps.
    pub fn listen_again(&mut self, log: &mut Log) {
        let sockets = self.sockets.iter().map(|bound| bound.socket.as_fd());
        // One system call checks all sockets, because after most exits none is shut down.
        let mut hangups: Vec<_> = sockets.map(Interest::hangup).collect();
        let polled = poll::wait(&mut hangups, Some(Duration::ZERO));
        let hangups: Vec<_> = hangups.iter().map(Interest::happened).collect();
        for (bound, is_shut) in self.sockets.iter_mut().zip(hangups) {
            if is_shut || polled.is_err() || !socket::SHUTDOWN_IS_SHOWN {
                bound.listen_again(is_shut, log);
            }
        }
    }
}

impl BoundSocket {
    fn listen_again(&mut self, is_shut: bool, log: &mut Log) {
        let (Some(backlog), false) = (self.backlog, self.is_dead) else {
            return;
        };
        let socket = self.socket.as_fd();
        let listened = socket::listens(socket);
        let name = self.name.to_string_lossy();
        match socket::listen(socket, backlog) {
            Ok(()) if !listened => log.note(&format!(
                "listening again on {name}, which a worker had shut down"
            )),
            // It has listened all the time.
            Ok(()) if !is_shut => {}
            // It was shut down for ever. On some systems listen(2) succeeds all the same.
            Ok(()) | Err(_) => {
                self.is_dead = true;
                let until = match self.origin {
                    SocketOrigin::Port(_) | SocketOrigin::Path(_) => " until the next restart",
                    SocketOrigin::Inherited => "",
                };
                log.note(&format!(
                    "{name} refuses connections{until}, because a worker has shut it down"
                ));
            }
        }
    }
}
