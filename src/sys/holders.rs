//! Who holds a socket: for the message that it is in use, no more.
//!
//! Linux tells it in proc(5): `net/tcp` and the like give the inode of each socket, `PID/fd` who has it open.
//! Other systems have no such files (fstat(1), sockstat(1) and pfiles(1) read the kernel instead), and a caller without
//! privileges sees only processes of its own: then nobody is found.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A process that holds a socket.
pub struct Holder {
    pub pid: libc::pid_t,
    /// The beginning of its program's name.
    pub name: String,
}

/// Who listens on a port of an address, or has bound it for UDP.
pub fn of_port(address: &SocketAddr, stream: bool) -> Vec<Holder> {
    let table = match (stream, address.is_ipv4()) {
        (true, true) => "tcp",
        (true, false) => "tcp6",
        (false, true) => "udp",
        (false, false) => "udp6",
    };
    // Columns: number, local address, remote address, state (0A listens), …, the tenth the inode.
    let port = format!(":{:04X}", address.port());
    of_inodes(&inodes(table, 9, |columns| {
        columns[1].ends_with(&port) && (!stream || columns[3] == "0A")
    }))
}

/// Who listens on the Unix socket at a path, if it was bound by that name.
pub fn of_path(path: &Path) -> Vec<Holder> {
    // Any process in any folder may have bound a socket of this relative name.
    if path.is_relative() {
        return Vec::new();
    }
    // Columns: number, references, protocol, flags, type, state, inode, path.
    of_inodes(&inodes("unix", 6, |columns| {
        columns.get(7).is_some_and(|found| Path::new(found) == path)
    }))
}

/// The inodes of the sockets in a table whose line is wanted.
fn inodes(table: &str, column: usize, is_wanted: impl Fn(&[&str]) -> bool) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let lines = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|columns| columns.len() > column && is_wanted(columns))
        .map(|columns| columns[column].to_string())
        .collect()
}

fn of_inodes(inodes: &[String]) -> Vec<Holder> {
    let mut holders = Vec::new();
    if inodes.is_empty() {
        return holders;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let mut targets =
            descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        if targets.any(|target| {
            socket_inode(&target).is_some_and(|inode| inodes.iter().any(|known| known == inode))
        }) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.push(Holder {
                pid,
                name: name.trim_end().to_string(),
            });
        }
    }
    holders
}

fn socket_inode(target: &Path) -> Option<&str> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}
