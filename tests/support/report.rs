//! A worker's report: what start_server has given it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The report of a worker about itself.
pub struct Report {
    pub generation: u64,
    pub pid: i32,
    pub(super) lines: Vec<Vec<u8>>,
}

impl Report {
    /// The values of the lines that begin with `key` and a blank.
    pub fn all(&self, key: &str) -> Vec<String> {
        let prefix = format!("{key} ");
        let lines = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix(prefix.as_bytes()));
        lines
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    pub fn one(&self, key: &str) -> String {
        self.all(key)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {key} in the report"))
    }

    /// The value of a variable, if it is set.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let prefix = format!("env {name}=");
        let found = self
            .lines
            .iter()
            .find_map(|line| line.strip_prefix(prefix.as_bytes()));
        found.map(|value| OsStr::from_bytes(value).to_os_string())
    }

    /// The entries of `SERVER_STARTER_PORT`.
    pub fn ports(&self) -> Vec<(String, i32)> {
        let value = self
            .variable("SERVER_STARTER_PORT")
            .unwrap()
            .into_string()
            .unwrap();
        let entries = value.split(';').filter(|entry| !entry.is_empty());
        entries
            .map(|entry| entry.rsplit_once('=').unwrap())
            .map(|(name, fd)| (name.into(), fd.parse().unwrap()))
            .collect()
    }

    /// A descriptor as the worker saw it: kind, address, flags.
    pub fn descriptor(&self, number: i32) -> Option<String> {
        let prefix = format!("{number} ");
        self.all("fd")
            .into_iter()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_string))
    }

    /// The TCP port that a descriptor is bound to.
    pub fn tcp_port(&self, number: i32) -> u16 {
        let seen = self.descriptor(number).unwrap();
        let address = seen.split(' ').nth(1).unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The TCP port that its first listener is bound to.
    pub fn port(&self) -> u16 {
        self.tcp_port(self.ports()[0].1)
    }
}

/// Two numbers, told apart by `separator`.
pub fn pair(text: &str, separator: char) -> (u64, i32) {
    let (generation, pid) = text
        .split_once(separator)
        .unwrap_or_else(|| panic!("{text:?}"));
    (generation.parse().unwrap(), pid.parse().unwrap())
}
