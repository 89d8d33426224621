//! Processes as the system knows them.

use super::{kernel, Server};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Tells whether a process sleeps, on Linux; elsewhere every process is taken for one that does.
pub fn is_asleep(pid: i32) -> bool {
    is_in_state(pid, 'S')
}

/// Tells whether a process has exited and was not reaped, on Linux; elsewhere every process is taken for one.
pub fn is_zombie(pid: i32) -> bool {
    is_in_state(pid, 'Z')
}

/// Tells whether a process has not exited. On Linux one that nobody has reaped counts as exited.
pub fn is_alive(pid: i32) -> bool {
    let has_proc = Path::new("/proc/self/stat").exists();
    kernel::exists(pid) && !(has_proc && is_zombie(pid))
}

fn is_in_state(pid: i32, state: char) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(state))
    })
}

/// The targets of the open descriptors of start_server, without their numbers: the status file and the spare descriptor
/// get new numbers with every write. Linux only.
pub fn descriptors(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            target.display().to_string()
        })
        .collect();
    found.sort();
    found
}

/// Ends all processes that were started for the test with this folder: `WORKER_DIR` in their environment names it.
/// Elsewhere than on Linux nothing tells, and workers end when their parent or the folder is gone.
pub fn end_all(folder: &Path) {
    while of_folder(folder)
        .inspect(|pid| kernel::kill_if_there(*pid, libc::SIGKILL))
        .count()
        > 0
    {
        // A process that has its signal ends as soon as it runs.
        std::thread::yield_now();
    }
}

/// The processes that were started for the test with this folder and have not exited. Elsewhere than on Linux nothing
/// tells.
pub fn alive_in(folder: &Path) -> Vec<i32> {
    of_folder(folder).collect()
}

fn of_folder(folder: &Path) -> impl Iterator<Item = i32> + use<'_> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| has_folder(*pid, folder))
}

fn has_folder(pid: i32, folder: &Path) -> bool {
    let variable = [b"WORKER_DIR=", folder.as_os_str().as_bytes()].concat();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|found| found == variable)
}

/// Tells whether a process is a worker of the test with this folder, as far as the system knows: its number may be that
/// of another process by now.
pub fn is_worker(pid: i32, folder: &Path) -> bool {
    if !Path::new("/proc/self/exe").exists() {
        return kernel::exists(pid);
    }
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    let is_ours =
        program.is_ok_and(|program| std::env::current_exe().is_ok_and(|ours| ours == program));
    is_ours && has_folder(pid, folder)
}
