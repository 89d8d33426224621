//! The worker of `make demo`: a small HTTP server that answers with its generation and pid.
//!
//! It shows everything that a server has to do under start_server: take the listener, notify start_server that it is
//! ready, serve, and stop accepting connections on SIGTERM. Connections that it has not accepted stay in the queue of
//! the shared socket, and the next generation accepts them.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

static WAKER: AtomicI32 = AtomicI32::new(-1);

#[allow(
    unsafe_code,
    reason = "a signal handler must make the system call itself"
)]
extern "C" fn wake(_signal: libc::c_int) {
    // SAFETY: write is async-signal-safe, and the byte is static.
    unsafe { libc::write(WAKER.load(Ordering::SeqCst), b"!".as_ptr().cast(), 1) };
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let first = server_starter::listeners()?.into_iter().next();
    let listener = first.ok_or("start_server has no --port")?.into_tcp()?;
    // accept must not block: a worker of another generation may accept the connection first.
    listener.set_nonblocking(true)?;
    let body = format!(
        "hello from generation {}, process {}\n",
        server_starter::generation()?,
        process::id()
    );
    let terminated = catch_sigterm()?;
    server_starter::ready()?;
    while wait(&listener, &terminated)? {
        match listener.accept() {
            // If the answer fails, that concerns this client only.
            Ok((connection, _)) => drop(answer(connection, &body)),
            // Another worker was faster, or the client has hung up.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Catches SIGTERM and returns a stream that becomes readable when it comes.
#[allow(unsafe_code, reason = "the standard library cannot catch a signal")]
fn catch_sigterm() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    WAKER.store(writer.into_raw_fd(), Ordering::SeqCst);
    // SAFETY: wake only makes async-signal-safe calls.
    unsafe { libc::signal(libc::SIGTERM, wake as *const () as libc::sighandler_t) };
    Ok(reader)
}

/// Waits for a connection or for SIGTERM. Returns true for a connection.
#[allow(
    unsafe_code,
    reason = "the standard library cannot wait for two descriptors"
)]
fn wait(listener: &TcpListener, terminated: &UnixStream) -> io::Result<bool> {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [entry(listener.as_raw_fd()), entry(terminated.as_raw_fd())];
    loop {
        // SAFETY: entries is an array of that many pollfd and outlives the call.
        match unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) } {
            -1 if io::Error::last_os_error().kind() == ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok(entries[1].revents == 0),
        }
    }
}

fn answer(mut connection: TcpStream, body: &str) -> io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = BufReader::new(&connection).lines();
    for line in request {
        if line?.is_empty() {
            break;
        }
    }
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
