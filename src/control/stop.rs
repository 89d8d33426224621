//! `--stop`.

use super::*;

/// Has the start_server of `pid_file` end, and waits for its end.
pub fn stop(pid_file: &Path, patience: Timeout) -> Result<(), ControlError> {
    let held = hold(pid_file)?;
    let line = format!(
        "stop_server (pid:{}) stopping now (pid:{})...\n",
        process::id(),
        held.pid
    );
    // The stop does not depend on somebody reading about it.
    let _ = io::stderr().write_all(line.as_bytes());
    send(&held, Signal::TERM)?;
    let stopped = wait_until(patience, || (!held.is_held()).then_some(()));
    stopped.ok_or_else(|| ControlError::TimedOut(format!("process {} has not ended yet", held.pid)))
}
