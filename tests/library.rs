//! The library crate, as a worker under start_server uses it.

use crate::support::reading::rest;
use crate::support::{kernel, worker::ARGUMENTS, Scratch, Server, Setup};
use server_starter::{generation, listeners, ready, Error};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const TCP: &str = "127.0.0.1:0";
const UDP: &str = "localhost:0";
const UNIX: &str = "socket";

/// The worker of these tests: the role "library:serve" is the task "serve".
pub fn act(task: &str) {
    let result = match task {
        "serve" => serve(),
        "kinds" => kinds(),
        "list" => list(),
        "first" => first(),
        "ready" => say_ready(),
        "generation" => generation().map(|generation| tell(&generation.to_string())),
        other => panic!("no such task: {other}"),
    };
    if let Err(error) = result {
        tell(&format!("{error:?}"));
    }
}

/// Tells the test, which finds all or nothing.
fn tell(text: &str) {
    let folder = PathBuf::from(std::env::var_os("WORKER_DIR").unwrap());
    let generation = std::env::var("SERVER_STARTER_GENERATION").unwrap_or_default();
    fs::write(folder.join("told.new"), text).unwrap();
    fs::rename(
        folder.join("told.new"),
        folder.join(format!("told{generation}")),
    )
    .unwrap();
}

/// Says twice that it is ready, and lives on.
fn say_ready() -> Result<(), Error> {
    tell(&format!("{} {}", ready()?, ready()?));
    let parent = kernel::parent();
    while kernel::parent() == parent {
        kernel::readable(&[]);
    }
    Ok(())
}

/// Answers with its generation on each kind of socket, until SIGTERM kills it.
fn serve() -> Result<(), Error> {
    let mut all = listeners()?;
    // The order is not that of the command line.
    let udp = all.take(UDP)?.into_udp()?;
    let unix = all.take(UNIX)?.into_unix()?;
    let tcp = all.take(TCP)?.into_tcp()?;
    let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
    tell(&format!(
        "{} {}",
        port(tcp.local_addr()),
        port(udp.local_addr())
    ));
    let answer = format!("generation {}", generation()?);
    let fds = [tcp.as_raw_fd(), udp.as_raw_fd(), unix.as_raw_fd()];
    let parent = kernel::parent();
    while kernel::parent() == parent {
        let Some(ready) = kernel::readable(&fds) else {
            continue;
        };
        if ready == fds[0] {
            let (mut connection, _) = tcp.accept().unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
        } else if ready == fds[1] {
            let (_, peer) = udp.recv_from(&mut [0; 8]).unwrap();
            udp.send_to(answer.as_bytes(), peer).unwrap();
        } else {
            let (mut connection, _) = unix.accept().unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
        }
    }
    Ok(())
}

/// Takes each socket as what it is not.
fn kinds() -> Result<(), Error> {
    let mut told = String::new();
    let mut note = |error: Option<Error>| match error {
        Some(error @ Error::Unusable(..)) => writeln!(told, "{error}").unwrap(),
        other => writeln!(told, "{other:?}").unwrap(),
    };
    let mut all = listeners()?;
    note(all.take(TCP)?.into_udp().err());
    note(all.take(UDP)?.into_unix().err());
    note(all.take(UNIX)?.into_tcp().err());
    tell(&told);
    Ok(())
}

/// Tells what it was given, in its order, what it is not given, and what is left.
fn list() -> Result<(), Error> {
    let mut told = String::new();
    let mut all = listeners()?;
    for listener in all.iter() {
        let name = listener.name().to_string_lossy();
        let (close_on_exec, _) = kernel::flags(listener.as_fd().as_raw_fd()).unwrap();
        writeln!(told, "{name} close-on-exec:{close_on_exec}").unwrap();
    }
    let missing = all.take("8080").unwrap_err();
    writeln!(told, "{missing}").unwrap();
    let again = listeners().unwrap_err();
    writeln!(told, "{again}").unwrap();
    drop(all.take(UDP)?);
    // Once taken it is not there a second time.
    let taken = all.take(UDP).unwrap_err();
    writeln!(told, "{taken}").unwrap();
    let rest: Vec<OwnedFd> = all.into_iter().map(OwnedFd::from).collect();
    writeln!(told, "left:{}", rest.len()).unwrap();
    tell(&told);
    Ok(())
}

/// Takes the first socket, if there is one.
fn first() -> Result<(), Error> {
    match listeners()?.into_iter().next() {
        Some(listener) => drop(listener.into_tcp()?),
        None => tell("none"),
    }
    Ok(())
}

/// start_server with a socket of each kind and this test binary as worker.
fn start(task: &str) -> Server {
    Setup::new([
        "--interval=0",
        "--port=127.0.0.1:0",
        "--port=localhost:u0",
        "--path=socket",
    ])
    .role(&format!("library:{task}"))
    .start()
}

fn told(server: &Server, generation: u64) -> String {
    let name = format!("told{generation}");
    server.eventually(&name, || {
        fs::read_to_string(server.scratch.path(&name)).ok()
    })
}

/// Runs a worker without start_server, with this variable of its and nothing on standard input, and gives its words.
fn told_alone(task: &str, variable: Option<(&str, &str)>) -> String {
    let scratch = Scratch::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(ARGUMENTS)
        .env_remove("SERVER_STARTER_PORT")
        .env_remove("SERVER_STARTER_GENERATION")
        .envs(variable)
        .env("WORKER_ROLE", format!("library:{task}"))
        .env("WORKER_DIR", scratch.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let generation = match variable {
        Some(("SERVER_STARTER_GENERATION", generation)) => generation,
        _ => "",
    };
    scratch.read(format!("told{generation}"))
}

#[test]
fn sockets_are_taken_by_name_and_serve_in_every_generation() {
    let server = start("serve");
    let ports = told(&server, 1);
    for expected in 1..=2 {
        assert_eq!(told(&server, expected), ports);
        let (tcp, udp) = ports.split_once(' ').unwrap();
        let (tcp, udp): (u16, u16) = (tcp.parse().unwrap(), udp.parse().unwrap());
        let answer = format!("generation {expected}");

        assert_eq!(
            rest(TcpStream::connect(("127.0.0.1", tcp)).unwrap()),
            answer
        );
        let path = server.scratch.path(UNIX);
        assert_eq!(rest(UnixStream::connect(path).unwrap()), answer);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"?", ("127.0.0.1", udp)).unwrap();
        let mut text = [0; 64];
        kernel::set_nonblocking(socket.as_raw_fd());
        let length = server.eventually("an answer over UDP", || socket.recv(&mut text).ok());
        assert_eq!(&text[..length], answer.as_bytes());

        if expected == 1 {
            server.hup();
            // Until the first worker is gone it could answer too.
            server.says("old worker ");
            server.says("died, status:15");
        }
    }
}

#[test]
fn a_socket_is_refused_as_what_it_is_not() {
    let expected = "\
cannot use the socket 127.0.0.1:0 of start_server: not a UDP socket
cannot use the socket localhost:0 of start_server: not a Unix listener
cannot use the socket socket of start_server: not a TCP listener
";
    assert_eq!(told(&start("kinds"), 1), expected);
}

#[test]
fn they_are_listed_in_order_close_on_exec_and_can_be_taken_only_once() {
    let expected = "\
127.0.0.1:0 close-on-exec:true
localhost:0 close-on-exec:true
socket close-on-exec:true
start_server has no --port or --path named 8080
the sockets of start_server were taken before
start_server has no --port or --path named localhost:0
left:2
";
    assert_eq!(told(&start("list"), 1), expected);
}

#[test]
fn without_start_server_the_error_says_so() {
    for (role, variable) in [
        ("list", "SERVER_STARTER_PORT"),
        ("generation", "SERVER_STARTER_GENERATION"),
    ] {
        let expected = format!("{variable} is not set: this program is to be run by start_server");
        assert_eq!(told_alone(role, None), expected);
    }
}

#[test]
fn a_start_server_without_listeners_gives_none() {
    let told = told_alone("first", Some(("SERVER_STARTER_PORT", "")));
    assert_eq!(told, "none");
}

#[test]
fn variables_that_start_server_would_not_set_are_errors_and_no_panic() {
    const PORT: &str = "SERVER_STARTER_PORT";
    const GENERATION: &str = "SERVER_STARTER_GENERATION";
    const UNUSABLE: &str = "cannot use the socket 127.0.0.1:0 of start_server: ";
    for (role, variable, value, expected) in [
        (
            "list",
            PORT,
            "8080",
            "SERVER_STARTER_PORT is malformed: 8080",
        ),
        (
            "list",
            PORT,
            "8080=-1",
            "SERVER_STARTER_PORT is malformed: 8080=-1",
        ),
        // The first is not open, and the second is open but no socket.
        ("list", PORT, "127.0.0.1:0=250", UNUSABLE),
        ("first", PORT, "127.0.0.1:0=0", UNUSABLE),
        (
            "generation",
            GENERATION,
            "x",
            "SERVER_STARTER_GENERATION is malformed: x",
        ),
        (
            "generation",
            GENERATION,
            "",
            "SERVER_STARTER_GENERATION is malformed: ",
        ),
        (
            "generation",
            GENERATION,
            "-1",
            "SERVER_STARTER_GENERATION is malformed: -1",
        ),
    ] {
        let told = told_alone(role, Some((variable, value)));
        assert!(
            told.lines().any(|line| line.starts_with(expected)),
            "{value:?}: {told}"
        );
    }
    let told = told_alone("generation", Some((GENERATION, "18446744073709551615")));
    assert_eq!(told, u64::MAX.to_string());
}

#[test]
fn ready_is_said_once_in_the_way_that_start_server_asks_for() {
    let table: [(&[&str], &str); 3] = [
        (&["--ready=notify", "--interval=30"], "true false"),
        (&["--ready=fd=9", "--interval=30"], "true false"),
        (&["--interval=0"], "false false"),
    ];
    for (options, answers) in table {
        let mut server = Setup::new(options)
            .args(["--status-file=status"])
            .role("library:ready")
            .start();
        for generation in 1..=2 {
            server.eventually("a worker that is up", || {
                let newest = server.status().last().copied();
                newest.filter(|(found, _)| *found == generation)
            });
            assert_eq!(told(&server, generation), answers, "{options:?}");
            server.hup();
        }
        server.stop();
    }
}

#[test]
fn ready_without_a_reader_is_an_error_and_no_panic() {
    let table = [
        (("NOTIFY_SOCKET", "/nowhere/at/all"), "cannot notify"),
        (
            ("SERVER_STARTER_READY_FD", "x"),
            "SERVER_STARTER_READY_FD is malformed",
        ),
        (("SERVER_STARTER_READY_FD", "200"), "cannot notify"),
    ];
    for (variable, error) in table {
        let found = told_alone("ready", Some(variable));
        assert!(found.starts_with(error), "{variable:?}: {found}");
    }
}
