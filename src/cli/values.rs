//! The values of the options: texts to paths, numbers, signals and endpoints. Pure.

use super::endpoint::Endpoint;
use super::LogTarget;
use crate::supervisor::policy::{parse_whole, Readiness};
use crate::supervisor::signal::Signal;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// The options as given, in order. A flag's value is empty.
pub struct Given(pub Vec<(&'static str, OsString)>);

impl Given {
    pub fn has(&self, name: &'static str) -> bool {
        self.last(name).is_some()
    }

    /// The values of an option that accumulates.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &OsString> {
        self.0
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value)
    }

    /// The value of an option that doesn't: the last one given.
    pub fn last(&self, name: &'static str) -> Option<&OsString> {
        self.all(name).last()
    }

    /// A text that is given and not empty: `--pid-file "$UNSET"` is no pid file, as under Perl.
    pub fn text(&self, name: &'static str) -> Option<&OsString> {
        self.last(name).filter(|value| !value.is_empty())
    }

    pub fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Not even Perl takes an empty one for none.
    pub fn dir(&self) -> Result<Option<PathBuf>, String> {
        match self.last("dir") {
            Some(dir) if dir.is_empty() => Err("--dir needs a value".to_string()),
            dir => Ok(dir.map(PathBuf::from)),
        }
    }

    pub fn number(&self, name: &'static str) -> Result<Option<u32>, String> {
        let mut last = None;
        for value in self.all(name) {
            let number = parse_whole(&value.to_string_lossy());
            last = Some(number.map_err(|reason| refuse(name, value, reason))?);
        }
        Ok(last)
    }

    pub fn backlog(&self) -> Result<Option<i32>, String> {
        match self.number("backlog")? {
            None | Some(0) => Ok(None),
            Some(number) => match number.try_into() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("--backlog={number}: too large a number")),
            },
        }
    }

    pub fn readiness(&self) -> Result<Readiness, String> {
        let Some(value) = self.last("ready") else {
            return Ok(Readiness::Interval);
        };
        match value.as_bytes() {
            b"interval" => return Ok(Readiness::Interval),
            b"notify" => return Ok(Readiness::Notify),
            _ => {}
        }
        let text = value.to_string_lossy();
        let number = text
            .strip_prefix("fd=")
            .and_then(|number| number.parse().ok());
        let number =
            number.ok_or_else(|| refuse("ready", value, "not interval, notify or fd=N"))?;
        // Descriptors 0 to 2 are the standard streams of the worker.
        if !(3..=i32::MAX).contains(&number) {
            return Err(refuse("ready", value, "the descriptor must be 3 or more"));
        }
        if self
            .ports()?
            .iter()
            .any(|port| port.descriptor == Some(number))
        {
            return Err(refuse(
                "ready",
                value,
                "a --port claims that descriptor too",
            ));
        }
        Ok(Readiness::Descriptor(number))
    }

    pub fn path_mode(&self) -> Result<u32, String> {
        let Some(value) = self.last("path-mode") else {
            return Ok(0o777);
        };
        let text = value.to_string_lossy();
        let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(&text, 8).ok();
        mode.filter(|&mode| is_octal && mode <= 0o777)
            .ok_or_else(|| refuse("path-mode", value, "not an octal mode from 0 to 0777"))
    }

    pub fn signal(&self, name: &'static str) -> Result<Option<Signal>, String> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let signal = Signal::parse(&value.to_string_lossy());
        Ok(Some(signal.ok_or_else(|| {
            refuse(name, value, "not a signal of this system")
        })?))
    }

    pub fn ports(&self) -> Result<Vec<Endpoint>, String> {
        let mut claimed = BTreeSet::new();
        let mut ports = Vec::new();
        for value in self.all("port") {
            let text = value.to_str().ok_or("that is not a host name");
            let port = text
                .and_then(Endpoint::parse)
                .map_err(|reason| refuse("port", value, reason))?;
            if port
                .descriptor
                .is_some_and(|number| !claimed.insert(number))
            {
                return Err(refuse(
                    "port",
                    value,
                    "another --port claims that descriptor too",
                ));
            }
            ports.push(port);
        }
        Ok(ports)
    }

    pub fn paths(&self) -> Result<Vec<PathBuf>, String> {
        let mut seen = BTreeSet::new();
        for path in self.all("path") {
            if path.is_empty() {
                return Err("--path needs a value".to_string());
            }
            if !seen.insert(path) {
                return Err(refuse("path", path, "given twice"));
            }
        }
        Ok(self.all("path").map(PathBuf::from).collect())
    }

    pub fn variables(&self) -> Result<Vec<(&'static str, OsString)>, String> {
        let mut variables = Vec::new();
        if let Some(dir) = self.last("envdir") {
            variables.push(("ENVDIR", dir.clone()));
        }
        if self.has("enable-auto-restart") {
            variables.push(("ENABLE_AUTO_RESTART", "1".into()));
        }
        for (option, variable) in [
            ("kill-old-delay", "KILL_OLD_DELAY"),
            ("auto-restart-interval", "AUTO_RESTART_INTERVAL"),
            ("kill-timeout", "KILL_TIMEOUT"),
        ] {
            if let Some(number) = self.number(option)? {
                variables.push((variable, number.to_string().into()));
            }
        }
        Ok(variables)
    }
}

pub fn log_target(value: &OsString) -> Result<LogTarget, String> {
    match value.as_bytes().trim_ascii_start().strip_prefix(b"|") {
        None => Ok(LogTarget::File(PathBuf::from(value))),
        Some(command) if command.trim_ascii().is_empty() => Err(refuse(
            "log-file",
            value,
            "there is no command after the bar",
        )),
        Some(command) => Ok(LogTarget::Command(
            OsStr::from_bytes(command.trim_ascii_start()).to_os_string(),
        )),
    }
}

fn refuse(name: &str, value: &OsStr, reason: &str) -> String {
    format!("--{name}={}: {reason}", value.to_string_lossy())
}

pub fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
