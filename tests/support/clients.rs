//! Clients that connect without pause, to notice the slightest gap.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const CLIENTS: usize = 8;

/// They connect anew for each question. A worker that is killed may break its connections, but none is refused.
#[derive(Default)]
pub struct Clients {
    port: u16,
    enough: AtomicBool,
    pub connected: AtomicUsize,
    pub refused: AtomicUsize,
}

impl Clients {
    pub fn of(port: u16) -> Clients {
        Clients {
            port,
            ..Clients::default()
        }
    }

    /// They connect while `happenings` happen.
    pub fn connect_during(&self, happenings: impl FnOnce()) {
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| self.connect_without_pause());
            }
            // Also when what happens is that a test fails.
            let _ends = Ends(&self.enough);
            happenings();
        });
    }

    fn connect_without_pause(&self) {
        while !self.enough.load(SeqCst) {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(mut connection) => {
                    self.connected.fetch_add(1, SeqCst);
                    let _ = connection.set_read_timeout(Some(Duration::from_millis(500)));
                    let _ = connection.write_all(b"?");
                    let _ = connection.read(&mut [0; 64]);
                }
                Err(_) => drop(self.refused.fetch_add(1, SeqCst)),
            }
        }
    }
}

/// Tells at its end, however that comes, that it is enough.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
