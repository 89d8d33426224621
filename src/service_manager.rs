//! Reports to the service manager that runs us, by sd_notify(3): ready, reloading, stopping, and a status line.

use crate::error::{Error, Reason};
use crate::saved::{record, words};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::datagram::{Datagrams, SendOutcome};
use std::ffi::OsStr;
use std::time::Duration;

/// The state that the service manager knows, and the messages on their way to it.
pub struct ServiceManager {
    /// `None` without a service manager.
    socket: Option<Datagrams>,
    state: ServiceState,
    status: String,
    /// The messages that were not sent yet, oldest first.
    queue: Vec<String>,
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
            state: ServiceState::Starting,
            status: String::new(),
            queue: Vec::new(),
            retry: None,
        })
    }

    pub fn save(&self) -> (SavedServiceManager, Vec<SavedMessage>) {
        let saved = SavedServiceManager {
            state: self.state,
            status: self.status.clone(),
        };
        let messages = self.queue.iter().cloned();
        (saved, messages.map(|text| SavedMessage { text }).collect())
    }

    /// Continues in the saved state.
    pub fn restore(&mut self, saved: &SavedServiceManager, messages: &[SavedMessage]) {
        self.state = saved.state;
        self.status = saved.status.clone();
        self.queue = messages
            .iter()
            .map(|message| message.text.clone())
            .collect();
    }

    /// Reports that a HUP has come. This answers each HUP, even during a restart: `systemctl reload` waits for the
    /// answer to its own HUP.
    pub fn reloading(&mut self, now: Time) {
        if matches!(self.state, ServiceState::Ready | ServiceState::Reloading) {
            self.state = ServiceState::Reloading;
            let (seconds, rest) = (now.as_secs(), now.subsec_micros());
            self.notify(format!("RELOADING=1\nMONOTONIC_USEC={seconds}{rest:06}"));
        }
    }

    /// Reports that a worker is up and nothing is in progress.
    pub fn ready(&mut self) {
        if matches!(self.state, ServiceState::Starting | ServiceState::Reloading) {
            self.state = ServiceState::Ready;
            self.notify("READY=1".to_string());
        }
    }

    /// Reports that start_server and its workers are finishing.
    pub fn stopping(&mut self) {
        if self.state != ServiceState::Stopping {
            self.state = ServiceState::Stopping;
            self.notify("STOPPING=1".to_string());
        }
    }

    /// Reports the workers in a status line.
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
            match socket.send(message.as_bytes()) {
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

    fn notify(&mut self, message: String) {
        if self.queue.len() == CAPACITY {
            // The newest state matters most.
            self.queue.remove(0);
        }
        self.queue.push(message);
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
