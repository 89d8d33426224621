//! The options in the order of the command line, and their values as paths, numbers, signals and endpoints. Pure.

use super::endpoint::Endpoint;
use super::{LogTarget, PathOwner};
use crate::error::Error;
use crate::saved::Value;
use crate::supervisor::policy::{parse_whole, KillMode, Readiness};
use crate::supervisor::signal::Signal;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The signals that control start_server, that it uses itself, whose action its workers inherit, or that show a fault
/// of its own.
const NOT_FORWARDED: [Signal; 12] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::CHLD,
    Signal::ALRM,
    Signal::PIPE,
    Signal::SEGV,
    Signal::BUS,
    Signal::ILL,
    Signal::FPE,
    Signal::TRAP,
];

/// The kernel queues the signals above this one. The handler could not pass on how many of them came.
const LAST_FORWARDED: i32 = 31;

/// The values of each option, in the order of the command line. An option that takes no value has an empty one.
#[derive(Default)]
pub struct ParsedOptions(Vec<(&'static str, Vec<OsString>)>);

impl ParsedOptions {
    pub fn push(&mut self, option: &'static str, value: OsString) {
        match self.0.iter_mut().find(|(name, _)| *name == option) {
            Some((_, values)) => values.push(value),
            None => self.0.push((option, vec![value])),
        }
    }

    pub fn has(&self, option: &'static str) -> bool {
        self.last(option).is_some()
    }

    /// The values of an option that may be repeated.
    pub fn all(&self, option: &'static str) -> impl Iterator<Item = &OsString> {
        let given = self.0.iter().find(|(name, _)| *name == option);
        given.into_iter().flat_map(|(_, values)| values)
    }

    /// The last value of an option. Earlier values do not count.
    fn last(&self, option: &'static str) -> Option<&OsString> {
        self.all(option).last()
    }

    /// The last value, if it is not empty. Under Perl, too, `--pid-file "$UNSET"` means no pid file.
    fn text(&self, option: &'static str) -> Option<&OsString> {
        self.last(option).filter(|value| !value.is_empty())
    }

    pub fn path(&self, option: &'static str) -> Option<PathBuf> {
        self.text(option).map(PathBuf::from)
    }

    /// Returns the last number, but reads all of them: Getopt::Long refuses a bad one even if a good one follows.
    pub fn number(&self, option: &'static str) -> Result<Option<u32>, Error> {
        let mut last = None;
        for value in self.all(option) {
            let number = parse_whole(&value.to_string_lossy());
            last = Some(number.map_err(|reason| refuse(option, value, reason))?);
        }
        Ok(last)
    }

    pub fn seconds(&self, option: &'static str) -> Result<Option<Duration>, Error> {
        let number = self.number(option)?;
        Ok(number.map(|seconds| Duration::from_secs(seconds.into())))
    }

    pub fn signal(&self, option: &'static str, default: Signal) -> Result<Signal, Error> {
        let Some(value) = self.text(option) else {
            return Ok(default);
        };
        let signal = Signal::parse(&value.to_string_lossy());
        signal.ok_or_else(|| refuse(option, value, "not a signal of this system"))
    }

    /// The signals that are passed on to the worker.
    pub fn forwarded(&self) -> Result<Vec<Signal>, Error> {
        let mut signals = Vec::new();
        for value in self.all("forward-signal") {
            let refuse = |reason| Err(refuse("forward-signal", value, reason));
            match Signal::parse(&value.to_string_lossy()) {
                None => return refuse("not a signal of this system"),
                Some(signal) if signal.number() > LAST_FORWARDED => {
                    return refuse("not one of the signals 1 to 31");
                }
                Some(Signal::KILL | Signal::STOP) => {
                    return refuse("no process can catch this signal");
                }
                Some(signal) if NOT_FORWARDED.contains(&signal) => {
                    return refuse("start_server does not forward this signal");
                }
                Some(signal) => signals.push(signal),
            }
        }
        Ok(signals)
    }

    pub fn ports(&self) -> Result<Vec<Endpoint>, Error> {
        let mut ports: Vec<Endpoint> = Vec::new();
        for value in self.all("port") {
            let refuse = |reason| refuse("port", value, reason);
            let text = value.to_str().ok_or("that is not a host name");
            let port = text.and_then(Endpoint::parse).map_err(refuse)?;
            let claimed = |other: &Endpoint| other.descriptor == port.descriptor;
            if port.descriptor.is_some() && ports.iter().any(claimed) {
                return Err(refuse("another --port claims that descriptor too"));
            }
            ports.push(port);
        }
        Ok(ports)
    }

    pub fn paths(&self) -> Result<Vec<PathBuf>, Error> {
        let mut paths = Vec::new();
        let mut known = BTreeSet::new();
        for value in self.all("path") {
            if value.is_empty() {
                return Err(needs_value("path"));
            }
            if !known.insert(without_dot(value.as_ref())) {
                let reason = "the same path is given twice";
                return Err(Error::option("path", value, reason));
            }
            paths.push(value.into());
        }
        Ok(paths)
    }

    pub fn path_mode(&self) -> Result<u32, Error> {
        let Some(value) = self.last("path-mode") else {
            return Ok(0o777);
        };
        value
            .to_str()
            .filter(|text| !text.starts_with('+'))
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .filter(|&mode| mode <= 0o777)
            .ok_or_else(|| refuse("path-mode", value, "not an octal mode from 0 to 0777"))
    }

    pub fn path_owner(&self) -> Result<Option<PathOwner>, Error> {
        let Some(value) = self.last("path-owner") else {
            return Ok(None);
        };
        let bytes = value.as_bytes();
        let (user, group) = match bytes.iter().position(|&byte| byte == b':') {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        if group.is_some_and(|group| group.is_empty()) {
            return Err(refuse(
                "path-owner",
                value,
                "there is no group after the colon",
            ));
        }
        let name = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string();
        Ok(Some(PathOwner {
            user: (!user.is_empty()).then(|| name(user)),
            group: group.map(name),
        }))
    }

    pub fn backlog(&self) -> Result<Option<i32>, Error> {
        let Some(number) = self.number("backlog")?.filter(|&number| number != 0) else {
            return Ok(None);
        };
        let too_large = |_| Error::option("backlog", number.to_string(), "too large a number");
        number.try_into().map(Some).map_err(too_large)
    }

    /// Refuses an empty name. Perl's chdir fails on it, in every worker.
    pub fn dir(&self) -> Result<Option<PathBuf>, Error> {
        match self.last("dir") {
            Some(dir) if dir.is_empty() => Err(needs_value("dir")),
            dir => Ok(dir.map(PathBuf::from)),
        }
    }

    pub fn log(&self) -> Result<Option<LogTarget>, Error> {
        let Some(value) = self.text("log-file") else {
            return Ok(None);
        };
        let Some(command) = value.as_bytes().trim_ascii_start().strip_prefix(b"|") else {
            return Ok(Some(LogTarget::File(value.into())));
        };
        let command = command.trim_ascii_start();
        if command.is_empty() {
            let reason = "there is no command after the bar";
            return Err(Error::option("log-file", value, reason));
        }
        Ok(Some(LogTarget::Command(OsStr::from_bytes(command).into())))
    }

    pub fn readiness(&self, ports: &[Endpoint]) -> Result<Readiness, Error> {
        let Some(value) = self.last("ready") else {
            return Ok(Readiness::Interval);
        };
        let refuse = |reason| Err(refuse("ready", value, reason));
        let text = value.to_string_lossy();
        let number = match &*text {
            "interval" => return Ok(Readiness::Interval),
            "notify" => return Ok(Readiness::Notify),
            _ => text.strip_prefix("fd=").and_then(|text| text.parse().ok()),
        };
        match number {
            None => refuse("not interval, notify or fd=N"),
            Some(..3) => refuse("the descriptor must be 3 or more"),
            Some(_) if ports.iter().any(|port| port.descriptor == number) => {
                refuse("a --port claims that descriptor too")
            }
            Some(number) => Ok(Readiness::Descriptor(number)),
        }
    }

    pub fn kill_mode(&self) -> Result<KillMode, Error> {
        let mut mode = KillMode::default();
        let Some(value) = self.last("kill-mode") else {
            return Ok(mode);
        };
        match mode.read(&value.to_string_lossy()) {
            Some(()) => Ok(mode),
            None => Err(refuse("kill-mode", value, "not process, mixed or group")),
        }
    }

    /// The options that are also environment variables, in the form of these variables. Workers get them.
    pub fn variables(&self) -> Result<Vec<(&'static str, OsString)>, Error> {
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

/// The error for a value that cannot be used. A word with two dashes was probably meant as the next option.
fn refuse(option: &'static str, value: &OsStr, reason: &'static str) -> Error {
    if value.as_bytes().starts_with(b"--") {
        let value = value.to_string_lossy();
        return Error::statement(format!("--{option} needs a value, and {value} is not one"));
    }
    Error::option(option, value, reason)
}

/// Removes a dot at the beginning. A comparison of paths ignores every other component that is a dot.
fn without_dot(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

pub fn needs_value(option: &str) -> Error {
    Error::statement(format!("--{option} needs a value"))
}
