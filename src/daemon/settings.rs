//! The settings that the environment and envdir can change while start_server runs: the policy, and the variables of
//! the next worker.

use crate::error::Error;
use crate::log::lines::Log;
use crate::supervisor::policy::Policy;
use crate::worker::environment::Environment;

pub(super) struct Settings {
    /// The policy that the options alone give.
    options: Policy,
    /// The policy after the environment and envdir have overridden the options.
    pub policy: Policy,
    pub environment: Environment,
    /// The warnings of the last reading. Each is logged once, and again only after it was absent from a reading.
    warnings: Vec<String>,
}

impl Settings {
    pub fn new(options: Policy, environment: Environment) -> Settings {
        Settings {
            policy: options.clone(),
            options,
            environment,
            warnings: Vec::new(),
        }
    }

    /// Reads envdir for the first time. A variable with a bad value is an error at the start, and a warning later.
    pub fn check(&mut self) -> Result<(), Error> {
        // Warnings about files of envdir are logged by the first `read`, when there is a log.
        self.environment.refresh(|_| {});
        let mut bad_value = None;
        self.policy = self.options.with_overrides(
            |name| self.environment.get(name),
            |warning| bad_value = Some(warning),
        );
        bad_value.map_or(Ok(()), |warning| Err(Error::statement(warning)))
    }

    /// Reads envdir again, if there is one.
    pub fn reread(&mut self, log: &mut Log) {
        if self.environment.can_change() {
            self.read(log);
        }
    }

    /// Reads envdir, and applies the variables that override options.
    pub fn read(&mut self, log: &mut Log) {
        let mut warnings = Vec::new();
        self.environment.refresh(|warning| warnings.push(warning));
        self.policy = self.options.with_overrides(
            |name| self.environment.get(name),
            |warning| warnings.push(warning),
        );
        for warning in &warnings {
            if !self.warnings.contains(warning) {
                log.note(&format!("ignoring {warning}"));
            }
        }
        self.warnings = warnings;
    }
}
