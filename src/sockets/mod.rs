//! The sockets that every worker shares, held for as long as start_server lives.
//!
//! What comes in: the options, and the sockets of a service manager. What goes out: the variables and descriptors
//! that a worker is started with.

pub mod activation;
mod bind;
mod folder_lock;
mod in_the_way;
mod plan;

pub use bind::bind;

use crate::files::owned::{self, OwnedFile};
use crate::saved::record;
use crate::sys::poll::{self, Interest};
use crate::sys::process::Handover;
use crate::sys::{self, fd, socket};
use crate::variable::assignment;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The sockets of this start_server, in the order in which workers learn of them.
pub struct Listeners {
    listeners: Vec<BoundSocket>,
    /// Whether they are described to workers as systemd does, too.
    listen_fds: bool,
    /// Removed when this is dropped.
    files: Vec<OwnedFile>,
    /// What there is to say about the binding, as lines for the log.
    pub notes: Vec<String>,
}

struct BoundSocket {
    name: OsString,
    socket: OwnedFd,
    /// Its number in the worker.
    number: RawFd,
    /// The length of its queue, if it has one.
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

/// The role of the files of Unix sockets.
const FILE_ROLE: &str = "socket";

impl Listeners {
    pub fn save(&self) -> (Vec<SavedListener>, Vec<owned::Saved>) {
        let listeners = self.listeners.iter().map(|listener| SavedListener {
            name: listener.name.clone(),
            fd: listener.socket.as_raw_fd(),
            number: listener.number,
            backlog: listener.backlog,
        });
        let files = self.files.iter().map(|file| file.save(FILE_ROLE));
        (listeners.collect(), files.collect())
    }

    pub fn restore(
        saved: &[SavedListener],
        files: &[owned::Saved],
        listen_fds: bool,
    ) -> io::Result<Listeners> {
        let listeners = saved.iter().map(|saved| {
            Ok(BoundSocket {
                name: saved.name.clone(),
                socket: fd::adopt_fd(saved.fd)?,
                number: saved.number,
                backlog: saved.backlog,
            })
        });
        Ok(Listeners {
            listeners: listeners.collect::<io::Result<_>>()?,
            listen_fds,
            files: OwnedFile::restore(files, FILE_ROLE),
            notes: Vec::new(),
        })
    }

    /// What tells workers of them.
    pub fn variables(&self) -> Vec<CString> {
        let mut variables = vec![assignment(
            "SERVER_STARTER_PORT",
            self.server_starter_port(),
        )];
        if self.listen_fds {
            let names = self
                .listeners
                .iter()
                .map(|listener| listener.name.as_os_str());
            variables.push(assignment("LISTEN_FDS", self.listeners.len().to_string()));
            variables.push(assignment("LISTEN_FDNAMES", activation::fdnames(names)));
            // The child completes it.
            variables.push(assignment("LISTEN_PID", ""));
        }
        variables
    }

    /// The value of `SERVER_STARTER_PORT`.
    fn server_starter_port(&self) -> OsString {
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
    pub fn handovers(&self) -> Vec<Handover> {
        let each = self.listeners.iter();
        each.map(|listener| Handover {
            fd: listener.socket.as_raw_fd(),
            number: listener.number,
        })
        .collect()
    }

    /// Listens again where a worker has shut the shared socket down, as some do to wake their threads at their
    /// end; `say` is told. Linux lets a Unix socket be shut down without a trace, and for ever.
    pub fn listen_again(&self, mut note: impl FnMut(&str)) {
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
                Ok(()) => note(&format!(
                    "listening again on {name}, which a worker had shut down"
                )),
                Err(error) => note(&format!(
                    "cannot listen again on {name}, which a worker has shut down: {}",
                    sys::reason(&error)
                )),
            }
        }
    }
}
