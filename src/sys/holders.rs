//! Finds the processes that hold a socket, for the message that the socket is in use.
//!
//! On Linux the answer is in proc(5): `net/tcp` and its like list the inode of each socket, and `PID/fd` shows the
//! sockets of each process. An unprivileged caller sees only its own processes. The other systems have no such files
//! (fstat(1), sockstat(1) and pfiles(1) read kernel memory), so no holder is found there.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::net::SocketAddr;
use std::path::Path;

/// A process that holds a socket.
pub struct Holder {
    pub pid: libc::pid_t,
    /// The name of its program, which the kernel cuts off after 15 bytes.
    pub name: String,
}

/// Finds the processes that listen on a TCP port, or have bound a UDP port.
pub fn of_port(address: &SocketAddr, stream: bool) -> Vec<Holder> {
    let table = match (stream, address.is_ipv4()) {
        (true, true) => "tcp",
        (true, false) => "tcp6",
        (false, true) => "udp",
        (false, false) => "udp6",
    };
    // The columns are number, local address, remote address, state (0A listens) and others. The tenth is the inode.
    let port = format!(":{:04X}", address.port());
    find(table, 9, |columns| {
        columns[1].ends_with(&port) && (!stream || columns[3] == "0A")
    })
}

/// Finds the processes that hold the Unix socket at a path, if it was bound under exactly this path.
pub fn of_path(path: &Path) -> Vec<Holder> {
    // The table has paths as they were bound, and a relative one may belong to a process in any folder.
    if path.is_relative() {
        return Vec::new();
    }
    // The columns are number, references, protocol, flags, type, state, inode and path.
    find("unix", 6, |columns| {
        columns.get(7).is_some_and(|found| Path::new(found) == path)
    })
}

/// Finds the processes that hold a socket of a table. `is_wanted` selects the lines by their columns, and `column` has
/// the inode.
fn find(table: &str, column: usize, is_wanted: impl Fn(&[&str]) -> bool) -> Vec<Holder> {
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let mut links: Vec<OsString> = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns.len() > column && is_wanted(&columns) {
            links.push(format!("socket:[{}]", columns[column]).into());
        }
    }
    if links.is_empty() {
        return Vec::new();
    }
    let holder = |process: DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds =
            |fd: DirEntry| fs::read_link(fd.path()).is_ok_and(|link| links.contains(&link.into()));
        if !entries(&process.path().join("fd")).any(holds) {
            return None;
        }
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(Holder {
            pid,
            name: name.trim_end().to_string(),
        })
    };
    entries(Path::new("/proc")).filter_map(holder).collect()
}

/// Lists a folder. A folder that cannot be read counts as empty.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}
