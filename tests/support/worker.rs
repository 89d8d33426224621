//! The worker: what start_server runs in these tests.
//!
//! It writes down what it was given into `report.GENERATION`, says so in `notes`, and is then what
//! `WORKER_ROLE` says.

use super::{eventually, kernel};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;

/// These arguments make the test binary a worker.
pub const ARGUMENTS: [&str; 3] = ["--exact", "worker", "--nocapture"];

/// Shell workers end with this line. They live until TERM, or until the folder of a failed test is gone.
pub const LIVE: &str = "while test -d \"$WORKER_DIR\"; do sleep 1; done";

/// Signals that tell a worker to finish, other than a "plain" one.
const FINISH: [i32; 5] = [
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGINT,
    libc::SIGUSR1,
    libc::SIGHUP,
];

/// Is what `role` says.
pub fn run(role: &str) {
    if let Some(words) = role.strip_prefix("messenger:") {
        return deliver(words);
    }
    let parent = kernel::parent();
    let generation = std::env::var("SERVER_STARTER_GENERATION").unwrap();
    report(&generation);
    let (role, value) = role.split_once(':').unwrap_or((role, ""));
    let (reader, writer) = UnixStream::pair().unwrap();
    if role != "plain" {
        kernel::catch(&FINISH, writer.into_raw_fd());
    }
    note(&format!("began {generation} {}", std::process::id()));
    match role {
        // Fails with an exit status, at once or when the file `fail` is there.
        "exit" => kernel::exit(value.parse().unwrap()),
        "fail" => {
            eventually(
                || path("fail").exists().then_some(()),
                || "the file fail".to_string(),
            );
            kernel::exit(1);
        }
        // Has a child that only a signal ends, and is what the value says: "parent:serve".
        "parent" => {
            #[allow(clippy::zombie_processes, reason = "nobody waits for it")]
            let _child = Command::new("sh").args(["-c", LIVE]).spawn().unwrap();
            match value.split_once(':') {
                Some((_, status)) => kernel::exit(status.parse().unwrap()),
                None => serve(value, &generation, parent, reader),
            }
        }
        // Cannot start while the file `bad` is there.
        "picky" if path("bad").exists() => kernel::exit(3),
        "picky" => serve("serve", &generation, parent, reader),
        // Writes into the log all the time, and has no protection against SIGPIPE.
        "flood" => {
            kernel::set_disposition(libc::SIGPIPE, libc::SIG_DFL);
            // Whole lines, which a pipe takes all at once.
            let lines = b"flood\n".repeat(512);
            std::thread::spawn(move || while std::io::stderr().write_all(&lines).is_ok() {});
            serve("serve", &generation, parent, reader)
        }
        "plain" | "serve" | "linger" | "stubborn" | "orphan" | "shuts" => {
            serve(role, &generation, parent, reader)
        }
        // Says that it is ready, and dies.
        "crash" => {
            say(ready());
            kernel::exit(1);
        }
        // Says that it is ready, and then serves as the value says: "ready:serve".
        "ready" => {
            say(ready());
            serve(value, &generation, parent, reader)
        }
        // Serves as the value says, and meanwhile says what the test writes into the file `say.GENERATION`.
        "talk" => {
            let generation_of_words = generation.clone();
            std::thread::spawn(move || say_what_comes(&generation_of_words));
            serve(value, &generation, parent, reader)
        }
        // Says without end that it is ready.
        "chatter" => {
            std::thread::spawn(|| loop {
                say(ready());
            });
            serve(value, &generation, parent, reader)
        }
        _ => panic!("no such role: {role}"),
    }
}

/// Says each text that appears in the file, and removes it: it was said. `MESSENGER` is who says it: the worker
/// itself, a "grandchild" of it, or "nobody", the user without privileges.
fn say_what_comes(generation: &str) {
    let name = format!("say.{generation}");
    loop {
        eventually(|| path(&name).exists().then_some(()), || name.clone());
        match std::env::var_os("MESSENGER") {
            None => say(&fs::read(path(&name)).unwrap()),
            Some(_) => {
                // Something behind it keeps the shell from becoming the messenger.
                let mut shell = Command::new("sh");
                shell.args(["-c", "\"$0\" \"$@\"; true"]);
                shell
                    .arg(std::env::current_exe().unwrap())
                    .args(ARGUMENTS)
                    .env("WORKER_ROLE", format!("messenger:{name}"));
                shell.status().unwrap();
            }
        }
        fs::remove_file(path(&name)).unwrap();
    }
}

/// The messenger: says what is in a file. "nobody" then lives until it was heard: start_server looks at whose child it
/// is.
fn deliver(name: &str) {
    let words = fs::read(path(name)).unwrap();
    let is_nobody = std::env::var_os("MESSENGER").is_some_and(|who| who == "nobody");
    if is_nobody {
        kernel::become_nobody();
    }
    say(&words);
    if is_nobody {
        let is_heard = || path("heard").exists() || !path("notes").exists();
        eventually(|| is_heard().then_some(()), || "the file heard".to_string());
    }
}

fn ready() -> &'static [u8] {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(_) => b"READY=1",
        None => b"\n",
    }
}

/// Says something in the way that start_server asks for; saying nothing on the pipe is to close it. That a word
/// cannot be said is noted: some tests say what has no room in a datagram.
fn say(words: &[u8]) {
    let told = match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => UnixDatagram::unbound()
            .unwrap()
            .send_to(words, socket)
            .map(drop),
        None => {
            let number = std::env::var("SERVER_STARTER_READY_FD").unwrap();
            kernel::write_or_close(number.parse().unwrap(), words)
        }
    };
    if let Err(error) = told {
        note(&format!("could not say it: {error}"));
    }
}

/// Answers on every stream socket. "serve" ends on the first signal, "linger" when the file `leave` is there
/// after it, "stubborn" on none; "plain" catches nothing; "orphan" outlives start_server, but not the test's
/// folder; "shuts" shuts the shared sockets down on a signal, and then ends if that was TERM.
fn serve(role: &str, generation: &str, parent: i32, mut signals: UnixStream) -> ! {
    let listeners: Vec<i32> = ports()
        .into_iter()
        .filter(|&fd| {
            kernel::option(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
        })
        .collect();
    listeners.iter().for_each(|&fd| kernel::set_nonblocking(fd));
    let signalled = std::os::fd::AsRawFd::as_raw_fd(&signals);
    let mut leaving = false;
    // An orphan is what a failed test leaves behind. One that was born an orphan sees it by its folder.
    while (role == "orphan" || kernel::parent() == parent) && path("notes").exists() {
        let mut wanted = vec![signalled];
        if !leaving {
            wanted.extend(&listeners);
        } else if path("leave").exists() {
            kernel::exit(0);
        }
        match kernel::readable(&wanted) {
            None => {}
            Some(fd) if fd == signalled => {
                let mut signal = [0];
                signals.read_exact(&mut signal).unwrap();
                note(&format!("signal {generation} {}", signal[0]));
                match role {
                    "serve" | "orphan" => kernel::exit(0),
                    "linger" => leaving = true,
                    "shuts" => {
                        listeners.iter().for_each(|&fd| kernel::shut_down(fd));
                        if i32::from(signal[0]) == libc::SIGTERM {
                            kernel::exit(0);
                        }
                        note(&format!("shut {generation}"));
                        leaving = true;
                    }
                    _ => {}
                }
            }
            Some(fd) => answer(fd, generation),
        }
    }
    kernel::exit(0)
}

#[allow(
    unsafe_code,
    reason = "accept has handed the descriptor to nobody else"
)]
fn answer(listener: i32, generation: &str) {
    if let Some(connection) = kernel::accept(listener) {
        // SAFETY: accept has just returned it.
        let connection = unsafe { OwnedFd::from_raw_fd(connection) };
        let mut connection = fs::File::from(connection);
        // The question first: to close a socket with unread bytes in it would reset the connection.
        let _ = connection.read(&mut [0; 64]);
        let _ = writeln!(connection, "{generation} {}", std::process::id());
    }
}

fn ports() -> Vec<i32> {
    let value = std::env::var_os("SERVER_STARTER_PORT").unwrap();
    let entries = value
        .as_bytes()
        .split(|&byte| byte == b';')
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| entry.rsplit(|&byte| byte == b'=').next().unwrap())
        .map(|digits| std::str::from_utf8(digits).unwrap().parse().unwrap())
        .collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("WORKER_DIR").unwrap()).join(name)
}

pub fn note(line: &str) {
    let mut notes = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path("notes"))
        .unwrap();
    notes.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Lines, each ended by a NUL since names and values may have newlines in them.
fn report(generation: &str) {
    let mut report = Vec::new();
    let mut line = |key: &str, value: &[u8]| {
        report.extend_from_slice(key.as_bytes());
        report.push(b' ');
        report.extend_from_slice(value);
        report.push(0);
    };
    for fd in 0..256 {
        let Some((close_on_exec, flags)) = kernel::flags(fd) else {
            continue;
        };
        let kind = match kernel::option(fd, libc::SOL_SOCKET, libc::SO_TYPE) {
            Some(libc::SOCK_STREAM) => format!("stream {}", kernel::address(fd)),
            Some(libc::SOCK_DGRAM) => format!("datagram {}", kernel::address(fd)),
            Some(other) => format!("socket {other}"),
            None => "file -".to_string(),
        };
        let blocking = if flags & libc::O_NONBLOCK == 0 {
            "blocking"
        } else {
            "nonblocking"
        };
        let inherited = if close_on_exec {
            "closed-on-exec"
        } else {
            "kept"
        };
        line(
            "fd",
            format!("{fd} {kind} {blocking} {inherited}").as_bytes(),
        );
        #[cfg(target_os = "linux")]
        if let Some(backlog) = kernel::backlog(fd) {
            line("backlog", backlog.to_string().as_bytes());
        }
    }
    for argument in std::env::args_os() {
        line("arg", argument.as_bytes());
    }
    for (name, value) in std::env::vars_os() {
        line("env", &[name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    line(
        "cwd",
        std::env::current_dir().unwrap().as_os_str().as_bytes(),
    );
    for signal in 1..=64 {
        if let Some(disposition) = kernel::disposition(signal) {
            line(&format!("signal {signal}"), disposition.as_bytes());
        }
    }
    line("blocked", format!("{:?}", kernel::blocked()).as_bytes());
    // Renamed into place, so that a reader finds all or nothing.
    fs::write(path(&format!("report.{generation}.new")), report).unwrap();
    fs::rename(
        path(&format!("report.{generation}.new")),
        path(&format!("report.{generation}")),
    )
    .unwrap();
}
