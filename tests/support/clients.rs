//! The other side of the sockets: questions to a worker, and clients that connect without pause.

use super::report::pair;
use super::waiting::LIMIT;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, Ordering::SeqCst};
use std::time::Duration;

/// Asks a serving worker: the generation and process that answered on a fresh connection.
pub fn ask(port: u16) -> io::Result<(u64, i32)> {
    let connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(LIMIT))?;
    answer(connection)
}

/// Asks a worker behind a Unix socket.
pub fn ask_path(path: &Path) -> io::Result<(u64, i32)> {
    let connection = UnixStream::connect(path)?;
    connection.set_read_timeout(Some(LIMIT))?;
    answer(connection)
}

fn answer(mut connection: impl Read + Write) -> io::Result<(u64, i32)> {
    let mut answer = String::new();
    connection.write_all(b"?")?;
    connection.read_to_string(&mut answer)?;
    match answer.strip_suffix('\n') {
        Some(answer) => Ok(pair(answer, ' ')),
        None => Err(io::Error::other(format!("cut off: {answer:?}"))),
    }
}

/// A port that nobody listens on. It is below those that systems give out for port 0 and to clients, since
/// another test may be given one of these at any moment; and nothing is bound to find out, since a child that is
/// just being forked would keep it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        let hosts = ["127.0.0.1", "::1"];
        hosts
            .iter()
            .all(|host| TcpStream::connect((*host, *port)).is_err())
    };
    let candidate = || {
        let number = std::process::id() * 16 + NEXT.fetch_add(1, Ordering::SeqCst);
        10000 + (number % 20000) as u16
    };
    std::iter::repeat_with(candidate).find(is_free).unwrap()
}

const CLIENTS: usize = 8;

/// They connect again for each question. A worker that is killed may break its connections, but none is refused.
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
                    let _ = connection.set_read_timeout(Some(Duration::from_millis(100)));
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
