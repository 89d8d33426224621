//! Lines of the log that name the usual reasons why a worker does not come up. Each is logged once, but
//! [`BACKGROUND`] once more after an upgrade.

use super::policy::Readiness;

/// For the first worker that exits with status 0 during its check.
pub const BACKGROUND: &str =
    "a worker must stay in the foreground: when it exits during its check, even with status 0, its start has failed";

/// For [`FAILURES`] failed starts, if no worker has come up yet and the last one has exited by itself.
pub const NEVER_UP: &str = "no worker has come up so far; the lines of the server may say why; the usual reasons: \
    the server binds its port by itself instead of using the socket in SERVER_STARTER_PORT, or it goes into the background";

/// For [`FAILURES`] failed starts, if no worker has come up yet and the last one was not ready in time.
pub fn never_ready(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Descriptor(_) => {
            "no worker has come up so far; the usual reason: \
            the server writes no newline to the descriptor in SERVER_STARTER_READY_FD"
        }
        Readiness::Notify | Readiness::Interval => {
            "no worker has come up so far; the usual reason: \
            the server sends no READY=1 to the socket in NOTIFY_SOCKET"
        }
    }
}

/// One or two failures may have a passing reason.
pub const FAILURES: u32 = 3;
