//! A start_server in the making: its command line, its environment and its files.

use super::{worker, Scratch, Server};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::process::{Command, ExitStatus, Stdio};

/// The program under test.
pub fn program() -> OsString {
    std::env::var_os("START_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_start_server").into())
}

/// Tells whether the program under test needs no loader. A loader would tell of the libraries and not run the program.
pub fn is_static() -> bool {
    let mut command = Command::new(program());
    command.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1");
    let printed = command.output().unwrap().stdout;
    printed.starts_with(b"start_server ")
}

/// A command line of start_server, in the making. It is run in its scratch folder, so that names of files can
/// be relative.
pub struct Setup {
    pub scratch: Scratch,
    command: Command,
}

impl Setup {
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(options: I) -> Setup {
        Setup::by(Command::new(program()), options)
    }

    /// In the folder of another, whose files it can name.
    pub fn beside<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        folder: &Scratch,
        options: I,
    ) -> Setup {
        let mut setup = Setup::new(options);
        setup.command.current_dir(folder.folder());
        setup
    }

    /// `command` is start_server, or what becomes it.
    pub fn by<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        mut command: Command,
        options: I,
    ) -> Setup {
        let scratch = Scratch::new();
        command
            .args(options)
            .current_dir(scratch.folder())
            .env("WORKER_DIR", scratch.folder())
            // A start_server that is killed leaves the sockets of --ready=notify behind.
            .env("TMPDIR", scratch.folder())
            .stdin(Stdio::null());
        for steering in [
            "ENVDIR",
            "ENABLE_AUTO_RESTART",
            "AUTO_RESTART_INTERVAL",
            "KILL_OLD_DELAY",
            "WORKER_ROLE",
        ] {
            command.env_remove(steering);
        }
        Setup { scratch, command }
    }

    /// Gives the workers a role: see [`worker::run`]. Without it envdir is to give them one.
    pub fn role(mut self, role: &str) -> Setup {
        self.command.env("WORKER_ROLE", role);
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Setup {
        self.command.env(name, value);
        self
    }

    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Setup {
        self.scratch.write(name, text);
        self
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Setup {
        self.command.args(args);
        self
    }

    /// Lets `change` do what only a `Command` can.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Setup {
        change(&mut self.command);
        self
    }

    /// Starts it with the test binary as worker.
    pub fn start(self) -> Server {
        self.worker_at(std::env::current_exe().unwrap()).launch()
    }

    /// Starts it, and waits until its first worker has begun and is up.
    pub fn up(self) -> Server {
        let server = self.start();
        server.worker(1);
        server.up(&[1]);
        server
    }

    /// The test binary as worker, by way of a link to it or of its name alone.
    pub fn worker_at(self, program: impl AsRef<OsStr>) -> Setup {
        self.args(["--".as_ref(), program.as_ref()])
            .args(worker::ARGUMENTS)
    }

    /// The test binary as worker, which a shell becomes after this line.
    pub fn worker_after(self, line: &str) -> Setup {
        self.by_shell(&format!("{line}; exec \"$0\" \"$@\""))
    }

    fn by_shell(self, line: &str) -> Setup {
        let worker = std::env::current_exe().unwrap();
        self.args(["--", "sh", "-c", line])
            .args([worker])
            .args(worker::ARGUMENTS)
    }

    /// Starts it with the test binary as a worker that writes nothing into the log; `line` is shell to run before.
    pub fn start_silent(self, line: &str) -> Server {
        self.by_shell(&format!("{line}; exec \"$0\" \"$@\" >silence 2>&1"))
            .launch()
    }

    /// Starts this command line.
    pub fn launch(mut self) -> Server {
        let log = fs::File::create(self.scratch.path("log")).unwrap();
        let output = fs::File::create(self.scratch.path("output")).unwrap();
        let child = self.command.stdout(output).stderr(log).spawn().unwrap();
        Server {
            child,
            scratch: self.scratch,
        }
    }

    /// Runs a command line that is to end by itself: its exit status, and what it said on standard error.
    pub fn finish(self) -> Finished {
        let mut server = self.launch();
        let status = server.end();
        Finished {
            status,
            said: server.log(),
            printed: server.scratch.read("output"),
            server,
        }
    }
}

/// A start_server that has ended.
pub struct Finished {
    pub status: ExitStatus,
    /// On standard error.
    pub said: String,
    /// On standard output.
    pub printed: String,
    pub server: Server,
}

/// Runs a command in a folder to its end: its exit status, and what it said.
pub fn run_beside(folder: &Scratch, arguments: &[&str]) -> (Option<i32>, String) {
    let ended = Setup::beside(folder, arguments).finish();
    (ended.status.code(), ended.said)
}
