//! A start_server in the background.

use super::{kernel, Finished, Server};
use std::fs::File;

/// It is ended with its folder, as all that was started for a test, and elsewhere than on Linux by the number in its
/// pid file.
pub struct Daemon {
    /// The process that has put it there.
    pub server: Server,
    pid: i32,
}

impl Daemon {
    /// The one that this process has put there. Perl's may write its pid file later than its caller ends.
    pub fn of(caller: Finished) -> Daemon {
        assert_eq!(caller.status.code(), Some(0), "{}", caller.said);
        let server = caller.server;
        let pid = server.eventually("the pid file", || pid_in_file(&server));
        Daemon { server, pid }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends TERM, and waits until it has let the pid file go.
    pub fn stop(&self) {
        let file = File::open(self.server.scratch.path("pid")).unwrap();
        assert!(kernel::is_locked(&file));
        kernel::kill(self.pid, libc::SIGTERM);
        self.server.eventually("the end of the lock", || {
            (!kernel::is_locked(&file)).then_some(())
        });
    }
}

/// The process whose pid file is there. While the file is locked the number in it is that of its process, and nobody
/// else's.
pub fn pid_in_file(server: &Server) -> Option<i32> {
    let file = File::open(server.scratch.path("pid")).ok()?;
    if !kernel::is_locked(&file) {
        return None;
    }
    let text = server.scratch.read("pid");
    text.strip_suffix('\n')?.parse().ok()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = pid_in_file(&self.server) {
            kernel::kill_if_there(pid, libc::SIGKILL);
        }
    }
}
