//! What the system tells of processes.

use super::{kernel, Server};
use std::fs;
use std::path::Path;

/// What Linux says of a process; elsewhere every process is taken for one that sleeps.
pub fn is_asleep(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// The open descriptors of start_server, and what they are. Linux only.
pub fn descriptors(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!(
                "{} -> {}",
                entry.file_name().to_string_lossy(),
                target.display()
            )
        })
        .collect();
    found.sort();
    found
}

/// Whether a process is a worker of this test binary, as far as the system tells.
pub fn is_worker(pid: i32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    match program {
        Ok(program) => std::env::current_exe().is_ok_and(|ours| ours == program),
        Err(_) => !Path::new("/proc/self/exe").exists() && kernel::exists(pid),
    }
}
