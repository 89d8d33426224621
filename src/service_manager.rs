//! Reports to the service manager that runs us, by sd_notify(3): ready, reloading, stopping, and a status line.

use crate::error::Reason;
use crate::log::lines::Log;
use crate::saved::{record, words};
use crate::supervisor::policy::Time;
use crate::supervisor::worker::Status;
use crate::sys::datagram::{Datagrams, SendOutcome};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The connection to the service manager.
pub struct ServiceManager {
    /// `None` without a service manager. The error says why there is no socket.
    socket: Option<Result<Datagrams, Reason>>,
    known: SavedServiceManager,
    /// The messages that were not sent yet, oldest first.
    queue: Vec<SavedMessage>,
    /// The time of the next attempt, after the service manager had no room.
    retry: Option<Time>,
    /// The value of `NOTIFY_SOCKET`.
    address: String,
    /// The service manager could not be reached, which was logged.
    has_failed: bool,
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
    /// `address` is the value of `NOTIFY_SOCKET`. An address that cannot be used is no reason not to serve: the first
    /// message reports it.
    pub fn new(address: Option<OsString>) -> ServiceManager {
        let address = address.unwrap_or_default();
        let socket = (!address.is_empty()).then(|| {
            if !address.as_bytes().starts_with(b"/") && !address.as_bytes().starts_with(b"@") {
                return Err("neither an absolute path nor an abstract name".into());
            }
            Datagrams::to(&address).map_err(Reason::from)
        });
        ServiceManager {
            socket,
            known: SavedServiceManager::default(),
            queue: Vec::new(),
            retry: None,
            address: address.to_string_lossy().into_owned(),
            has_failed: false,
        }
    }

    pub fn save(&self) -> (SavedServiceManager, Vec<SavedMessage>) {
        (self.known.clone(), self.queue.clone())
    }

    /// Continues in the saved state.
    pub fn restore(&mut self, saved: &SavedServiceManager, messages: &[SavedMessage]) {
        self.known = saved.clone();
        self.queue = messages.to_vec();
    }

    /// Reports that a HUP has come, unless the start or the end of the service is not complete. Each HUP is answered,
    /// even during a restart: `systemctl reload` waits for the answer to its own HUP.
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
    pub fn flush(&mut self, now: Time, log: &mut Log) {
        self.retry = None;
        let Some(socket) = &mut self.socket else {
            return self.queue.clear();
        };
        while let Some(message) = self.queue.first() {
            let outcome = socket
                .as_mut()
                .map(|socket| socket.send(message.text.as_bytes()));
            // Supervision does not depend on a service manager that has gone.
            let failure = match outcome {
                Ok(SendOutcome::Sent) => None,
                Ok(SendOutcome::TryAgain) => {
                    self.retry = Some(now + RETRY);
                    return;
                }
                Ok(SendOutcome::Failed(error)) => Some(Reason::from(error)),
                Err(reason) => Some(reason.clone()),
            };
            if let Some(reason) = failure.filter(|_| !std::mem::replace(&mut self.has_failed, true))
            {
                let address = &self.address;
                log.note(&format!("cannot reach NOTIFY_SOCKET={address}: {reason}"));
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
    let workers = || status.workers.iter().rev();
    let serving = workers().find(|worker| worker.role.is_up());
    let mut line = match serving {
        Some(worker) => format!(
            "generation {} (pid {}) serves",
            worker.generation, worker.pid
        ),
        None => "no worker is up".to_string(),
    };
    let old = workers().filter(|worker| Some(*worker) != serving);
    let old: Vec<String> = old.map(|worker| worker.pid.to_string()).collect();
    if !old.is_empty() {
        line += &format!(", old workers: {}", old.join(","));
    }
    if let Some(start_failure) = status.start_failure {
        line += &format!(", generation {} failed to start", start_failure.failed);
    }
    line
}
