//! Finds the processes that hold a socket or have locked a file.
//!
//! On Linux the answer is in proc(5): `net/tcp` and its like list the inode of each socket, `PID/fd` shows the sockets
//! and files of each process, and `PID/fdinfo` and `locks` show the locks. An unprivileged caller sees only its own
//! processes. The other systems have no such files (fstat(1), sockstat(1) and pfiles(1) read kernel memory), so no
//! holder is found there.

use super::process;
#[cfg(target_os = "linux")]
use std::ffi::OsStr;
use std::ffi::OsString;
#[cfg(target_os = "linux")]
use std::fs::Metadata;
use std::fs::{self, DirEntry, File};
#[cfg(target_os = "linux")]
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process that holds a socket.
pub struct Holder {
    pub pid: libc::pid_t,
    /// The name of its program, which the kernel cuts off after 15 bytes.
    pub name: String,
    /// Its parent, grandparent and so on, as far as they can be seen.
    pub ancestors: Vec<libc::pid_t>,
    /// Its process group, if that can be seen.
    pub group: Option<libc::pid_t>,
}

/// A socket that a process holds, as `PID/fd` shows it.
#[derive(PartialEq, Eq)]
pub struct HeldSocket(OsString);

/// Whether this process has locked this file exclusively, with flock(2), and still has it open; `None` if the system
/// does not tell.
///
/// An open file with its lock can be passed to another process. But the system notes which process has locked it.
#[cfg(target_os = "linux")]
pub fn has_locked(pid: libc::pid_t, file: &File) -> Option<bool> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let wanted = identity(file.metadata().ok()?);
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(descriptors) => descriptors,
        // There is no such process, unless /proc itself is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Path::new("/proc/self").exists().then_some(false);
        }
        Err(_) => return None,
    };
    // gVisor has descriptors in its /proc, but no locks.
    let shows_locks = Path::new("/proc/locks").exists();
    let has_locked = |descriptor: DirEntry| {
        let found = fs::metadata(descriptor.path());
        let is_open = found.is_ok_and(|found| identity(found) == wanted);
        is_open && (!shows_locks || locker(pid, &descriptor.file_name()) == Some(pid))
    };
    Some(descriptors.flatten().any(has_locked))
}

/// The process that has locked the open file of a descriptor.
#[cfg(target_os = "linux")]
fn locker(pid: libc::pid_t, descriptor: &OsStr) -> Option<libc::pid_t> {
    let descriptor = descriptor.to_string_lossy();
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    let mut locks = info.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.find_map(|lock| match columns(lock)[..] {
        [_, "FLOCK", _, "WRITE", locker, ..] => locker.parse().ok(),
        _ => None,
    })
}

#[cfg(target_os = "linux")]
fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Whether this process has locked this file; `None` if the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn has_locked(_: libc::pid_t, _: &File) -> Option<bool> {
    None
}

/// A process that has locked this file with flock(2), exclusively or not. It is found if the file system has the same
/// device number everywhere, which is not so for btrfs.
#[cfg(target_os = "linux")]
pub fn any_locker(file: &File) -> Option<libc::pid_t> {
    let metadata = file.metadata().ok()?;
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| match columns(line)[..] {
        [_, "FLOCK", _, _, locker, file, ..] if file == wanted => locker.parse().ok(),
        _ => None,
    })
}

/// Here the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn any_locker(_: &File) -> Option<libc::pid_t> {
    None
}

/// The sockets that a process holds, apart from those that are its standard streams: they are its caller's.
pub fn sockets_of(pid: libc::pid_t) -> Vec<HeldSocket> {
    let folder = format!("/proc/{pid}/fd");
    let descriptors = entries(Path::new(&folder)).filter(|descriptor| {
        let number = descriptor.file_name();
        !["0", "1", "2"].iter().any(|stream| number == *stream)
    });
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let sockets = links.filter(|link| link.as_os_str().as_bytes().starts_with(b"socket:["));
    sockets.map(|link| HeldSocket(link.into())).collect()
}

/// Finds the processes that hold one of these sockets.
pub fn of_sockets(sockets: &[HeldSocket]) -> Vec<Holder> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let holder = |process: DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds = |fd: DirEntry| {
            let link = fs::read_link(fd.path());
            link.is_ok_and(|link| sockets.contains(&HeldSocket(link.into())))
        };
        let mut descriptors = entries(&process.path().join("fd"));
        descriptors.any(holds).then(|| Holder {
            pid,
            name: name(pid),
            ancestors: ancestors(pid),
            group: process::stat(pid).ok().and_then(|stat| stat.field(5)),
        })
    };
    entries(Path::new("/proc")).filter_map(holder).collect()
}

/// The name of a process; empty if it cannot be seen.
pub fn name(pid: libc::pid_t) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_string()
}

/// A variable in the environment with which a process was started.
pub fn variable(pid: libc::pid_t, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut strings = environment.split(|&byte| byte == 0);
    let value =
        strings.find_map(|string| string.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The parent of a process, its grandparent and so on, as far as they can be seen.
pub fn ancestors(pid: libc::pid_t) -> Vec<libc::pid_t> {
    iter::successors(parent(pid), |pid| parent(*pid)).collect()
}

fn parent(pid: libc::pid_t) -> Option<libc::pid_t> {
    let parent = process::stat(pid).ok()?.field(4)?;
    (parent > 0).then_some(parent)
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
    let mut sockets = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns.len() > column && is_wanted(&columns) {
            sockets.push(HeldSocket(format!("socket:[{}]", columns[column]).into()));
        }
    }
    of_sockets(&sockets)
}

/// Lists a folder. A folder that cannot be read counts as empty.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}
