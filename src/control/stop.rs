//! The command `--stop`: the wait for the end of start_server.

use super::*;

/// Sends TERM to the start_server of `pid_file`, and waits for its end.
pub fn stop(pid_file: &Path, timeout: Timeout) -> Result<(), ControlError> {
    let held = hold(pid_file)?;
    let own = process::id();
    progress::write(&format!(
        "stop_server (pid:{own}) stopping now (pid:{})...\n",
        held.pid
    ));
    send(&held, Signal::TERM)?;
    let incomplete = format!("process {} has not ended yet", held.pid);
    wait_until(timeout, incomplete, || (!held.is_held()).then_some(()))
}
