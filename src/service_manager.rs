//! Reports to the service manager that runs us, by sd_notify(3): ready, reloading, stopping, and a status line.

use crate::error::{Error, Reason};
use crate::saved::{record, words};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::datagram::{Datagrams, SendOutcome};
use std::ffi::OsStr;
use std::time::Duration;

/// The connection to the service manager.
pub struct ServiceManager {
    /// `None` without a service manager.
    socket: Option<Datagrams>,
    known: SavedServiceManager,
    /// The messages that were not sent yet, oldest first.
    queue: Vec<SavedMessage>,
    /// The time of the next attempt, after the service manager had no room.
    retry: Option<Time>,
}

words! {
    pub enum ServiceState {
        #[default]
        Starting = "starting",
        Ready = "ready",
        Reloading = "reloading",
        Stopping = "stopping",
    }
}

record! {
    /// The state and the status line that the service manager knows, or will know when the queue is sent.
    "manager" SavedServiceManager {
        state: ServiceState,
        status: String,
    }
}

record! {
    "message" SavedMessage {
        text: String,
    }
}

/// The pause before another attempt when the service manager is slow to read.
const RETRY: Duration = Duration::from_millis(100);

/// The most messages in the queue, for a service manager that never reads.
const CAPACITY: usize = 64;

impl ServiceManager {
    /// `address` is the value of `NOTIFY_SOCKET`.
    pub fn new(address: Option<&OsStr>) -> Result<ServiceManager, Error> {
        let address = address.filter(|address| !address.is_empty());
        let socket = address.map(|address| {
            Datagrams::to(address).map_err(|error| {
                let (address, reason) = (address.to_string_lossy(), Reason::from(error));
                Error::statement(format!("NOTIFY_SOCKET={address}: {reason}"))
            })
        });
        Ok(ServiceManager {
            socket: socket.transpose()?,
            known: SavedServiceManager::default(),
            queue: Vec::new(),
            retry: None,
        })
    }

    pub fn save(&self) -> (SavedServiceManager, Vec<SavedMessage>) {
        (self.known.clone(), self.queue.clone())
    }

    /// Continues in the saved state.
    pub fn restore(&mut self, saved: &SavedServiceManager, messages: &[SavedMessage]) {
        self.known = saved.clone();
        self.queue = messages.to_vec();
    }

    /// Reports that a HUP has come. This answers each HUP, even during a restart: `systemctl reload` waits for the
    /// answer to its own HUP.
    pub fn reloading(&mut self, now: Time) {
        if matches!(
            self.known.state,
            ServiceState::Ready | ServiceState::Reloading
        ) {
            self.known.state = ServiceState::Reloading;
            let (seconds, rest) = (now.as_secs(), now.subsec_micros());
            self.notify(format!("RELOADING=1\nMONOTONIC_USEC={seconds}{rest:06}"));
        }
    }

    /// Reports that a worker is up and nothing is in progress.
    pub fn ready(&mut self) {
        if matches!(
            self.known.state,
            ServiceState::Starting | ServiceState::Reloading
        ) {
            self.known.state = ServiceState::Ready;
            self.notify("READY=1".to_string());
        }
    }

    /// Reports that start_server and its workers are finishing.
    pub fn stopping(&mut self) {
        if self.known.state != ServiceState::Stopping {
            self.known.state = ServiceState::Stopping;
            self.notify("STOPPING=1".to_string());
        }
    }

    /// Reports the workers in a status line.
    pub fn publish(&mut self, status: &Status) {
        if self.socket.is_none() {
            return;
        }
        let line = describe(status);
        if line != self.known.status {
            self.notify(format!("STATUS={line}"));
            self.known.status = line;
        }
    }

    /// The time at which `flush` must be called again, if any.
    pub fn deadline(&self) -> Option<Time> {
        self.retry
    }

    /// Sends the messages in the queue, as far as the service manager has room for them.
    pub fn flush(&mut self, now: Time) {
        self.retry = None;
        let Some(socket) = &self.socket else {
            return self.queue.clear();
        };
        while let Some(message) = self.queue.first() {
            match socket.send(message.text.as_bytes()) {
                // Supervision does not depend on a service manager that has gone.
                SendOutcome::Sent | SendOutcome::Failed => {}
                SendOutcome::TryAgain => {
                    self.retry = Some(now + RETRY);
                    return;
                }
            }
            self.queue.remove(0);
        }
    }

    fn notify(&mut self, text: String) {
        if self.queue.len() == CAPACITY {
            // The newest state matters most.
            self.queue.remove(0);
        }
        self.queue.push(SavedMessage { text });
    }
}

/// Describes the workers in one line for the operator.
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
