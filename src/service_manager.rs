//! The service manager that runs us, if it listens to sd_notify(3): it is told that we serve, reload, stop.

use crate::saved::{record, words};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::socket::Datagrams;
use std::ffi::OsStr;
use std::io;
use std::time::Duration;

/// What it was told last, and how to tell it more.
pub struct ServiceManager {
    socket: Option<Datagrams>,
    state: State,
    status: String,
    /// What it has not taken yet, in order.
    queue: Vec<String>,
    /// When that is tried again.
    retry: Option<Time>,
}

words! {
    pub enum State {
        #[default]
        Starting = "starting",
        Ready = "ready",
        Reloading = "reloading",
        Stopping = "stopping",
    }
}

record! {
    "manager" Saved {
        state: State,
        status: String,
    }
}

record! {
    "message" SavedMessage {
        text: String,
    }
}

/// How soon it is tried again when the manager is behind with reading.
const RETRY: Duration = Duration::from_millis(100);

/// What a manager that never reads can leave in the queue.
const CAPACITY: usize = 64;

impl ServiceManager {
    /// `address` is the value of `NOTIFY_SOCKET`. The error is one line.
    pub fn new(address: Option<&OsStr>) -> Result<ServiceManager, String> {
        let address = address.filter(|address| !address.is_empty());
        let open = |address: &OsStr| {
            Datagrams::to(address).map_err(|error| {
                let reason = crate::sys::reason(&error);
                format!("NOTIFY_SOCKET={}: {reason}", address.to_string_lossy())
            })
        };
        Ok(ServiceManager {
            socket: address.map(open).transpose()?,
            state: State::Starting,
            status: String::new(),
            queue: Vec::new(),
            retry: None,
        })
    }

    pub fn save(&self) -> (Saved, Vec<SavedMessage>) {
        let saved = Saved {
            state: self.state,
            status: self.status.clone(),
        };
        let messages = self.queue.iter().cloned();
        (saved, messages.map(|text| SavedMessage { text }).collect())
    }

    /// Goes on where the saved one was.
    pub fn restore(&mut self, saved: &Saved, messages: &[SavedMessage]) {
        self.state = saved.state;
        self.status = saved.status.clone();
        self.queue = messages
            .iter()
            .map(|message| message.text.clone())
            .collect();
    }

    /// A HUP has come: it is answered even if a restart is in progress, since it waits for an answer to this one.
    pub fn hup(&mut self, now: Time) {
        if matches!(self.state, State::Ready | State::Reloading) {
            self.state = State::Reloading;
            let (seconds, rest) = (now.as_secs(), now.subsec_micros());
            self.notify(format!("RELOADING=1\nMONOTONIC_USEC={seconds}{rest:06}"));
        }
    }

    /// A worker stands and nothing is in progress.
    pub fn up(&mut self) {
        if matches!(self.state, State::Starting | State::Reloading) {
            self.state = State::Ready;
            self.notify("READY=1".to_string());
        }
    }

    pub fn stopping(&mut self) {
        if self.state != State::Stopping {
            self.state = State::Stopping;
            self.notify("STOPPING=1".to_string());
        }
    }

    /// The workers are these now.
    pub fn publish(&mut self, status: &Status) {
        if self.socket.is_none() {
            return;
        }
        let line = describe(status);
        if line != self.status {
            self.notify(format!("STATUS={line}"));
            self.status = line;
        }
    }

    /// When `flush` is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.retry
    }

    /// Sends what is to be told.
    pub fn flush(&mut self, now: Time) {
        self.retry = None;
        let Some(socket) = &self.socket else {
            return self.queue.clear();
        };
        while let Some(message) = self.queue.first() {
            if let Err(error) = socket.send(message.as_bytes()) {
                if is_behind(&error) {
                    self.retry = Some(now + RETRY);
                    return;
                }
                // Nobody is there: supervision does not depend on a manager.
            }
            self.queue.remove(0);
        }
    }

    fn notify(&mut self, message: String) {
        if self.queue.len() == CAPACITY {
            // How it is now counts more than how it was.
            self.queue.remove(0);
        }
        self.queue.push(message);
    }
}

fn is_behind(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR | libc::ENOMEM)
    )
}

/// For people, in a line.
fn describe(status: &Status) -> String {
    let mut workers = status.workers.iter().rev();
    let mut line = match workers.next() {
        Some(worker) => format!(
            "generation {} (pid {}) serves",
            worker.generation, worker.pid
        ),
        None => "no worker is up yet".to_string(),
    };
    let old: Vec<String> = workers.map(|worker| worker.pid.to_string()).collect();
    if !old.is_empty() {
        line += &format!(", old workers: {}", old.join(","));
    }
    if let Some(start_failure) = status.start_failure {
        line += &format!(", generation {} failed to start", start_failure.failed);
    }
    line
}
