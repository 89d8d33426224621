//! The settings that the environment and envdir can change while start_server runs: the policy, and the variables of
//! the next worker.

use crate::error::Error;
use crate::log::lines::Log;
use crate::supervisor::policy::Policy;
use crate::worker::environment::Environment;

pub(super) struct Settings {
    /// The policy of the options that are not variables.
    options: Policy,
    /// The policy with the values of the variables, which come from options, the environment or envdir.
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
        self.environment.refresh(&mut Vec::new());
        let bad_value = self.apply().pop();
        bad_value.map_or(Ok(()), |warning| Err(Error::statement(warning)))
    }

    /// Applies the variables that are options of start_server itself. Returns a warning about each bad value.
    fn apply(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        let variable = |name: &str| self.environment.get(name);
        self.policy = self.options.with_overrides(variable, &mut warnings);
        warnings
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
        self.environment.refresh(&mut warnings);
        warnings.extend(self.apply());
        for warning in &warnings {
            if !self.warnings.contains(warning) {
                log.note(&format!("ignoring {warning}"));
            }
        }
        self.warnings = warnings;
    }
}
