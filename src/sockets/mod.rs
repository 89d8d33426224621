//! The sockets that all workers share. start_server keeps them open as long as it runs, so that no connection is lost.
//!
//! The options come in, and the sockets that a service manager has made. The variables and descriptors for each
//! worker go out. [`plan`] decides which sockets there will be, and [`bind`](mod@bind) makes them;
//! [`folder_lock`] and [`in_the_way`] keep us from taking a socket that is in use.

pub mod activation;
mod bind;
mod folder_lock;
mod in_the_way;
mod plan;

pub use bind::bind;

use crate::error::Error;
use crate::files::owned::{OwnedFile, SavedFile};
use crate::log::lines::Log;
use crate::saved::record;
use crate::sys::exec::FdMapping;
use crate::sys::poll::{self, Interest};
use crate::sys::{inherit, socket};
use crate::variable::assignment;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// All the sockets, in the order of `SERVER_STARTER_PORT`.
pub struct Listeners {
    sockets: Vec<BoundSocket>,
    /// With `--listen-fds` workers also get the variables of systemd's protocol.
    listen_fds: bool,
    /// The files of Unix sockets. They are removed when this is dropped.
    files: Vec<OwnedFile>,
}

struct BoundSocket {
    name: OsString,
    socket: OwnedFd,
    /// Its descriptor number in the worker.
    number: RawFd,
    /// The length of its accept queue; `None` for UDP, and for an inherited socket that no option asks for.
    backlog: Option<i32>,
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
        let files = self.files.iter().map(|file| file.save());
        (sockets.collect(), files.collect())
    }

    pub fn restore(
        saved: &[SavedListener],
        files: &[SavedFile],
        listen_fds: bool,
    ) -> io::Result<Listeners> {
        let sockets = saved.iter().map(|saved| {
            Ok(BoundSocket {
                name: saved.name.clone(),
                socket: inherit::adopt_fd(saved.fd)?,
                number: saved.number,
                backlog: saved.backlog,
            })
        });
        Ok(Listeners {
            sockets: sockets.collect::<io::Result<_>>()?,
            listen_fds,
            files: OwnedFile::restore(files, FILE_ROLE),
        })
    }

    /// The variables that describe the sockets to a worker.
    pub fn variables(&self) -> Vec<CString> {
        let pairs = self.sockets.iter().map(|bound| {
            let mut pair = bound.name.clone();
            pair.push(format!("={}", bound.number));
            pair
        });
        let port = pairs.collect::<Vec<_>>().join(OsStr::new(";"));
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

    /// Listens again on each socket that a worker has shut down. Some workers do so when they exit, to wake their
    /// threads. The socket is shared, so the shutdown affects every worker. This does not help a Unix socket on Linux:
    /// it refuses connections for ever, and SO_ACCEPTCONN does not show it.
    pub fn listen_again(&self, log: &mut Log) {
        if !self.may_be_shut_down() {
            return;
        }
        for bound in &self.sockets {
            let socket = bound.socket.as_fd();
            let Some(backlog) = bound.backlog.filter(|_| !socket::listens(socket)) else {
                continue;
            };
            let name = bound.name.to_string_lossy();
            match socket::listen(socket, backlog) {
                Ok(()) => log.note(&format!(
                    "listening again on {name}, which a worker had shut down"
                )),
                Err(error) => {
                    let name = format!("{name}, which a worker has shut down");
                    log.note(&Error::action("listen again on", name, error).to_string());
                }
            }
        }
    }

    /// Whether any socket may be shut down. One system call checks them all, because after most exits none is.
    fn may_be_shut_down(&self) -> bool {
        let sockets = self.sockets.iter().map(|bound| bound.socket.as_fd());
        let mut hangups: Vec<_> = sockets.map(Interest::hangup).collect();
        let polled = poll::wait(&mut hangups, Some(Duration::ZERO));
        polled.is_err() || hangups.iter().any(Interest::happened)
    }
}
