//! A whole life in a root folder that has nothing but start_server and a worker: no /etc, no /proc, no /tmp, no
//! /dev/null, no shell.
//!
//! Both must be static: `START_SERVER` names the one, `HELLO` the other, the example `hello`. `.ci/targets` builds
//! them and runs this.

use crate::support::reading::rest;
use crate::support::{
    free_port, is_static, kernel, program, skipped, Finished, Scratch, Server, Setup,
};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// The root folder.
struct Root {
    folder: Scratch,
    port: u16,
}

/// The files that are in it before the life and after it.
const NAMES: [&str; 3] = ["envdir", "hello", "start_server"];

impl Root {
    /// `None` where there can be none, which is said.
    fn make() -> Option<Root> {
        if !is_static() {
            skipped("a static start_server");
            return None;
        }
        let Some(hello) = std::env::var_os("HELLO") else {
            skipped("a static worker");
            return None;
        };
        let folder = Scratch::new();
        folder.program("start_server", fs::read(program()).unwrap());
        folder.program("hello", fs::read(hello).unwrap());
        folder.write("envdir/COLOUR", "blue\n");
        let root = Root {
            folder,
            port: free_port(),
        };
        if !root.run(&["--version"]).status.success() {
            skipped("the right to change the root folder");
            return None;
        }
        Some(root)
    }

    /// A command line of the start_server in it. What it says goes to files outside.
    fn command(&self, options: &[&str]) -> Setup {
        let mut command = match kernel::is_root() {
            true => Command::new("chroot"),
            false => Command::new("unshare"),
        };
        if !kernel::is_root() {
            command.args(["--map-root-user", "chroot"]);
        }
        command.arg(self.folder.path("")).arg("/start_server");
        // No folder of the test's is in it.
        Setup::by(command, options).with(|command| {
            command.env_remove("TMPDIR");
        })
    }

    fn run(&self, options: &[&str]) -> Finished {
        self.command(options).finish()
    }

    /// The service, with these options among its own.
    fn service(&self, options: &[&str]) -> Setup {
        let port = format!("--port=127.0.0.1:{}", self.port);
        let usual = [
            &port,
            "--path=/socket",
            "--pid-file=/pid",
            "--status-file=/status",
            "--envdir=/envdir",
            "--interval=0",
        ];
        self.command(&usual).args(options).args(["--", "/hello"])
    }

    /// Waits until the worker of this generation serves alone, and gives its process.
    fn serves(&self, server: &Server, generation: u64) -> i32 {
        let status = || self.folder.read("status");
        let pid = server.eventually(&format!("generation {generation}"), || {
            let pid = status()
                .trim_end()
                .split_once(':')
                .and_then(|(at, pid)| (at == generation.to_string()).then(|| pid.parse().unwrap()));
            pid
        });
        // An old worker may still accept what comes before it is told to finish.
        let greeting = format!("hello from generation {generation}, process {pid}\n");
        server.eventually(&greeting, || self.ask().ends_with(&greeting).then_some(()));
        pid
    }

    /// An answer on the port.
    fn ask(&self) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        rest(connection)
    }

    /// There is nothing more in it than in the beginning, but perhaps a log.
    fn is_clean(&self) {
        let mut names = self.folder.names();
        names.retain(|name| name != "log");
        assert_eq!(names, NAMES);
    }
}

/// A test that fails leaves nobody behind.
impl Drop for Root {
    fn drop(&mut self) {
        let (pid, status) = (self.folder.read("pid"), self.folder.read("status"));
        let workers = status.lines().filter_map(|line| line.split_once(':'));
        for pid in workers.map(|worker| worker.1).chain(pid.lines()) {
            kernel::kill_if_there(pid.parse().unwrap(), libc::SIGKILL);
        }
    }
}

/// Expects one line on standard error, exit status 1, and nothing done.
fn is_refused(root: &Root, options: &[&str], line: &str) {
    let ended = root.service(options).finish();
    assert_eq!(ended.said, format!("start_server: {line}\n"));
    assert_eq!(ended.status.code(), Some(1));
    root.is_clean();
}

fn variable_of(pid: i32, variable: &str) -> bool {
    let variables = fs::read(format!("/proc/{pid}/environ")).unwrap();
    variables
        .split(|&byte| byte == 0)
        .any(|found| found == variable.as_bytes())
}

#[test]
fn a_life_from_the_start_to_the_stop() {
    let Some(root) = Root::make() else { return };
    let mut server = root.service(&["--log-file=/log"]).launch();
    let first = root.serves(&server, 1);
    assert!(variable_of(first, "COLOUR=blue"));
    assert!(Path::new(&root.folder.path("socket")).exists());
    assert_eq!(root.folder.read("pid"), format!("{}\n", server.pid()));

    root.folder.write("envdir/COLOUR", "red\n");
    server.hup();
    let second = root.serves(&server, 2);
    assert!(variable_of(second, "COLOUR=red"));

    kernel::kill(second, libc::SIGKILL);
    root.serves(&server, 3);

    let control = ["--pid-file=/pid", "--status-file=/status"];
    let restarted = root.run(&[&["--restart"], &control[..]].concat());
    assert!(restarted.status.success(), "{}", restarted.said);
    let last = root.serves(&server, 4);

    let told = root.run(&[&["--status"], &control[..]].concat());
    assert!(told.status.success(), "{}", told.said);
    assert!(told.printed.contains(&last.to_string()), "{}", told.printed);

    let stopped = root.run(&["--stop", "--pid-file=/pid"]);
    assert!(stopped.status.success(), "{}", stopped.said);
    assert!(server.end().success());
    root.is_clean();
    let log = root.folder.read("log");
    for line in [
        &format!("worker {second} died unexpectedly with status:9, restarting"),
        "received HUP, spawning a new worker",
        "exiting",
    ] {
        assert!(log.lines().any(|found| found == line), "{line}\n{log}");
    }
}

#[test]
fn a_life_in_the_background() {
    let Some(root) = Root::make() else { return };
    let began = root.service(&["--daemonize", "--log-file=/log"]).finish();
    assert!(began.status.success(), "{}", began.said);
    root.serves(&began.server, 1);
    let stopped = root.run(&["--stop", "--pid-file=/pid"]);
    assert!(stopped.status.success(), "{}", stopped.said);
    root.is_clean();
}

#[test]
fn a_life_without_standard_descriptors() {
    let Some(root) = Root::make() else { return };
    let close = |command: &mut Command| {
        kernel::on_fork(command, || (0..3).for_each(kernel::close));
    };
    let mut server = root.service(&["--log-file=/log"]).with(close).launch();
    let worker = root.serves(&server, 1);
    // Standard input is no socket of ours. It is a pipe that reads as end-of-file.
    let input = fs::read_link(format!("/proc/{worker}/fd/0")).unwrap();
    assert!(input.to_str().unwrap().starts_with("pipe:"), "{input:?}");
    server.stop();
    root.is_clean();
}

#[test]
fn a_command_for_the_log_needs_a_shell() {
    let Some(root) = Root::make() else { return };
    let line = "--log-file=| needs a shell, /bin/sh: No such file or directory";
    is_refused(&root, &["--log-file=| cat"], line);
}

#[test]
fn readiness_by_datagram_needs_a_folder_for_its_socket() {
    let Some(root) = Root::make() else { return };
    let line = "--ready=notify: cannot make a socket in /tmp: No such file or directory";
    is_refused(&root, &["--ready=notify"], line);
    // None of these workers would be up without a word.
    let words: [(&[&str], &str); 2] = [(&["--ready=notify"], "/"), (&["--ready=fd=9"], "/tmp")];
    for (options, folder) in words {
        let mut server = root.service(options).env("TMPDIR", folder).launch();
        root.serves(&server, 1);
        server.hup();
        root.serves(&server, 2);
        server.stop();
        root.is_clean();
    }
}
