//! The command `--stop`: the wait for the end of start_server.

use super::strangers::Sockets;
use super::*;

/// Sends TERM to the start_server of `pid_file`, and waits for its end. Then names the processes that still hold its
/// sockets.
pub fn stop(pid_file: &Path, timeout: Timeout) -> Result<(), ControlError> {
    let pid_file = open_pid_file(pid_file)?;
    let own = process::id();
    progress::write(&format!(
        "stop_server (pid:{own}) stopping now (pid:{})...\n",
        pid_file.pid
    ));
    let sockets = Sockets::of(&pid_file);
    send(&pid_file, Signal::TERM)?;
    let incomplete = format!("process {} has not ended yet", pid_file.pid);
    wait_until(timeout, incomplete, || {
        (!pid_file.is_running()).then_some(())
    })?;
    for holder in sockets.holders() {
        progress::write(&format!("{holder} still holds a socket of start_server\n"));
    }
    Ok(())
}
