//! `make demo`: runs `hello` under start_server, makes one connection after another, and restarts `hello` three times
//! meanwhile.
//!
//! usage: demo START_SERVER HELLO PORT
#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "the standard library can neither catch nor send a signal, and this client has its own clock"
)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SECONDS: u32 = 10;
const RESTARTS: [u32; 3] = [2, 5, 8];

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

fn main() -> ExitCode {
    match demonstrate() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of failed requests.
fn demonstrate() -> Result<usize> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [start_server, hello, port] = words.as_slice() else {
        return Err("usage: demo START_SERVER HELLO PORT".into());
    };
    // SAFETY: the handler only stores into an atomic variable.
    unsafe { libc::signal(libc::SIGINT, interrupt as *const () as libc::sighandler_t) };
    writeln!(
        io::stdout(),
        "start_server --port=127.0.0.1:{port} -- hello"
    )?;
    // Ctrl-C shall reach this program alone, which then ends the others in order.
    let mut server = Command::new(start_server)
        .arg(format!("--port=127.0.0.1:{port}"))
        .args(["--", hello])
        .process_group(0)
        .spawn()?;
    let result = load(&mut server, port);
    if server.try_wait()?.is_none() {
        signal(&server, libc::SIGTERM);
        server.wait()?;
    }
    let (requests, failed) = result?;
    writeln!(io::stdout(), "{requests} requests, {failed} failed")?;
    Ok(failed)
}

/// Makes requests for some seconds, each by a new connection, with restarts between them. Returns the number of
/// requests and of those that failed.
fn load(server: &mut Child, port: &str) -> Result<(usize, usize)> {
    // The first request waits in the queue of the socket until hello is up. It fails before the socket is bound.
    while request(port).is_err() {
        check_running(server)?;
    }
    let (mut requests, mut failed) = (0, 0);
    for second in 1..=SECONDS {
        let end = Instant::now() + Duration::from_secs(1);
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        while Instant::now() < end && !INTERRUPTED.load(Ordering::SeqCst) {
            requests += 1;
            match request(port) {
                Ok(generation) => *answers.entry(generation).or_default() += 1,
                Err(error) => {
                    check_running(server)?;
                    failed += 1;
                    writeln!(io::stdout(), "a request failed: {error}")?;
                }
            }
        }
        for (generation, count) in &answers {
            writeln!(io::stdout(), "{count:8} answers from {generation}")?;
        }
        if INTERRUPTED.load(Ordering::SeqCst) {
            break;
        }
        if RESTARTS.contains(&second) {
            writeln!(io::stdout(), "kill -HUP {}", server.id())?;
            signal(server, libc::SIGHUP);
        }
    }
    Ok((requests, failed))
}

fn check_running(server: &mut Child) -> Result<()> {
    match server.try_wait()? {
        None => Ok(()),
        Some(_) => Err("to use another port: make demo PORT=18080".into()),
    }
}

/// Returns the generation that has answered.
fn request(port: &str) -> Result<String> {
    let mut connection = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let generation = answer
        .split_once("hello from ")
        .and_then(|(_, rest)| rest.split_once(','));
    match generation {
        Some((generation, _)) => Ok(generation.to_string()),
        None => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not from hello").into())
        }
    }
}

fn signal(server: &Child, signal: libc::c_int) {
    // SAFETY: the child has not been waited for, so this is its process ID.
    unsafe { libc::kill(server.id() as libc::pid_t, signal) };
}
