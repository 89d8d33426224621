//! What the tests share: start_server in a scratch folder, the worker that it runs, and waiting for facts.
//!
//! `START_SERVER` names the program to test; otherwise it is the one that cargo built.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub mod clients;
pub mod kernel;
pub mod worker;

/// How long a fact may take. It is generous: it only keeps a failing test from lasting for ever.
const LIMIT: Duration = Duration::from_secs(60);

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where tests look at the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until there is an answer, and panics with `explain` after the limit.
pub fn eventually<T>(mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    let start = now();
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for {}", explain());
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place where tests sleep: between two looks"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program under test.
pub fn program() -> OsString {
    std::env::var_os("START_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_start_server").into())
}

/// How C libraries word the errors that tests look for: glibc and the BSDs, musl.
const WORDINGS: [(&str, &str); 6] = [
    ("Address already in use", "Address in use"),
    ("Cannot allocate memory", "Out of memory"),
    ("Device or resource busy", "Resource busy"),
    ("Input/output error", "I/O error"),
    ("Too many levels of symbolic links", "Symbolic link loop"),
    ("Too many open files", "No file descriptors available"),
];

/// A text with its errors in one wording, whichever C library the program under test has.
fn in_one_wording(text: String) -> String {
    WORDINGS
        .iter()
        .fold(text, |text, (ours, other)| text.replace(other, ours))
}

/// Whether the program under test needs no loader: another one's would tell of the libraries and not run it.
pub fn is_static() -> bool {
    let mut command = Command::new(program());
    command.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1");
    let printed = command.output().unwrap().stdout;
    printed.starts_with(b"start_server ")
}

/// A folder of the test's own, removed in the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "start_server-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        // A short path, since a socket's address has room for 103 bytes on some systems.
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The text of a file; none is empty.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read(self.path(name)).map_or(String::new(), |text| {
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A worker that has just begun may write into it meanwhile.
        // What it renames meanwhile is not found.
        while self.0.exists()
            && fs::remove_dir_all(&self.0)
                .is_err_and(|error| [DirectoryNotEmpty, NotFound].contains(&error.kind()))
        {}
    }
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
        setup.command.current_dir(&folder.0);
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
            .current_dir(&scratch.0)
            .env("WORKER_DIR", &scratch.0)
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

    /// What the worker is to be: see [`worker::Role`]. Without it envdir is to say so.
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
        let worker = std::env::current_exe().unwrap();
        self.args(["--".as_ref(), worker.as_os_str()])
            .args(worker::ARGUMENTS)
            .launch()
    }

    /// Starts it with the test binary as a worker that writes nothing into the log; `line` is shell to run before.
    pub fn start_silent(self, line: &str) -> Server {
        let line = format!("{line}; exec \"$0\" \"$@\" >silence 2>&1");
        let worker = std::env::current_exe().unwrap();
        let setup = self.args(["--", "sh", "-c", &line]).args([worker]);
        setup.args(worker::ARGUMENTS).launch()
    }

    /// Starts it as it stands.
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

/// A start_server that runs.
pub struct Server {
    child: Child,
    pub scratch: Scratch,
}

/// What a worker has told of itself.
pub struct Report {
    pub generation: u64,
    pub pid: i32,
    lines: Vec<Vec<u8>>,
}

impl Server {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal; to a program of somebody else's only while it sleeps, since Perl's misses one that
    /// comes between its last look and its wait.
    pub fn signal(&self, signal: i32) {
        if std::env::var_os("START_SERVER").is_some() {
            self.idle();
        }
        kernel::kill(self.pid(), signal);
    }

    /// Waits until it sleeps.
    pub fn idle(&self) {
        self.eventually("start_server to sleep", || {
            is_asleep(self.pid()).then_some(())
        });
    }

    pub fn hup(&self) {
        self.signal(libc::SIGHUP);
    }

    pub fn term(&self) {
        self.signal(libc::SIGTERM);
    }

    pub fn log(&self) -> String {
        in_one_wording(self.scratch.read("log"))
    }

    /// How often the log has a text.
    pub fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// The log with a letter for each worker's number, A for the first, and PID for start_server's.
    pub fn story(&self) -> String {
        let log = self.log();
        let mut workers = Vec::new();
        let mut story = String::new();
        for line in log.lines() {
            workers.extend(line.strip_prefix("starting new worker "));
            let mut rest = line;
            while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
                let end = rest[start..]
                    .find(|c: char| !c.is_ascii_digit())
                    .map_or(rest.len(), |end| start + end);
                story.push_str(&rest[..start]);
                let number = &rest[start..end];
                match workers.iter().position(|worker| *worker == number) {
                    Some(index) => story.push(char::from(b'A' + index as u8)),
                    None if number == self.pid().to_string() => story.push_str("PID"),
                    None => story.push_str(number),
                }
                rest = &rest[end..];
            }
            story.push_str(rest);
            story.push('\n');
        }
        story
    }

    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        eventually(look, || {
            let (log, notes, output) = (
                self.log(),
                self.scratch.read("notes"),
                self.scratch.read("output"),
            );
            format!(
                "{what}\n--- log\n{log}--- workers' notes\n{notes}--- standard output\n{output}"
            )
        })
    }

    /// Waits for a line of the log that contains `text`.
    pub fn says(&self, text: &str) {
        self.says_times(text, 1);
    }

    pub fn says_times(&self, text: &str, times: usize) {
        self.eventually(text, || {
            (self.log().matches(text).count() >= times).then_some(())
        });
    }

    /// Waits for a line in the notes that the workers write.
    pub fn notes(&self, text: &str) {
        self.eventually(text, || {
            self.scratch
                .read("notes")
                .lines()
                .any(|line| line == text)
                .then_some(())
        });
    }

    /// Generation and process of every worker that has begun, oldest first.
    pub fn started(&self) -> Vec<(u64, i32)> {
        let notes = self.scratch.read("notes");
        let begun = notes.lines().filter_map(|line| line.strip_prefix("began "));
        begun.map(|line| pair(line, ' ')).collect()
    }

    /// Waits until the worker of a generation has begun, and gives its report.
    pub fn worker(&self, generation: u64) -> Report {
        let pid = self.eventually(&format!("worker {generation}"), || {
            self.started()
                .into_iter()
                .find(|(found, _)| *found == generation)
                .map(|(_, pid)| pid)
        });
        let report = fs::read(self.scratch.path(format!("report.{generation}"))).unwrap();
        let lines = report
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect();
        Report {
            generation,
            pid,
            lines,
        }
    }

    /// Has the worker of a generation, which is a "talk", say something, and waits until it has.
    pub fn has_said(&self, generation: u64, words: impl AsRef<[u8]>) {
        let name = format!("say.{generation}");
        let is_said = || {
            self.eventually(&format!("worker {generation} to say it"), || {
                (!self.scratch.path(&name).exists()).then_some(())
            });
        };
        // It may have something else to say first.
        is_said();
        // Renamed into place, so that it says all or nothing.
        let new = self.scratch.write(format!("{name}.new"), words);
        fs::rename(new, self.scratch.path(&name)).unwrap();
        is_said();
    }

    /// The status file, read by the test's own eyes.
    pub fn status(&self) -> Vec<(u64, i32)> {
        let text = self.scratch.read("status");
        let workers = text.lines().filter(|line| !line.starts_with("upgrade"));
        workers.map(|line| pair(line, ':')).collect()
    }

    /// Waits until the status file tells of exactly these generations.
    pub fn standing(&self, generations: &[u64]) {
        self.eventually(
            &format!("generations {generations:?} in the status file"),
            || {
                let found: Vec<u64> = self
                    .status()
                    .iter()
                    .map(|(generation, _)| *generation)
                    .collect();
                (found == generations).then_some(())
            },
        );
    }

    /// The lines of the status file, in one line and without processes: "1 2 failed:3".
    pub fn outline(&self) -> String {
        let text = self.scratch.read("status");
        let lines = text.lines().map(|line| match line.split_once(':') {
            Some((generation, _)) if generation.parse::<u64>().is_ok() => generation,
            Some(_) | None => line,
        });
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Waits until the status file is like that.
    pub fn shows(&self, outline: &str) {
        self.eventually(&format!("{outline:?} in the status file"), || {
            (self.outline() == outline).then_some(())
        });
    }

    /// Restarts, and waits until the worker of this generation stands alone.
    pub fn restart(&self, generation: u64) {
        self.hup();
        self.worker(generation);
        self.standing(&[generation]);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let Server { child, scratch } = self;
        eventually(
            || child.try_wait().unwrap(),
            || format!("the end of start_server\n{}", scratch.read("log")),
        )
    }

    /// Sends TERM, and expects the proper end.
    pub fn stop(&mut self) {
        self.term();
        let ended = self.end();
        assert_eq!(ended.into_raw(), 0, "{}", self.log());
    }
}

/// The workers end by themselves when their parent is gone.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Report {
    /// The values of the lines that begin with `key` and a blank.
    pub fn all(&self, key: &str) -> Vec<String> {
        let prefix = format!("{key} ");
        let lines = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix(prefix.as_bytes()));
        lines
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    pub fn one(&self, key: &str) -> String {
        self.all(key)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {key} in the report"))
    }

    /// The value of a variable, if it is set.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let prefix = format!("env {name}=");
        let found = self
            .lines
            .iter()
            .find_map(|line| line.strip_prefix(prefix.as_bytes()));
        found.map(|value| OsStr::from_bytes(value).to_os_string())
    }

    /// The entries of `SERVER_STARTER_PORT`.
    pub fn ports(&self) -> Vec<(String, i32)> {
        let value = self
            .variable("SERVER_STARTER_PORT")
            .unwrap()
            .into_string()
            .unwrap();
        let entries = value.split(';').filter(|entry| !entry.is_empty());
        entries
            .map(|entry| entry.rsplit_once('=').unwrap())
            .map(|(name, fd)| (name.into(), fd.parse().unwrap()))
            .collect()
    }

    /// What the worker saw of a descriptor: kind, address, flags.
    pub fn descriptor(&self, number: i32) -> Option<String> {
        let prefix = format!("{number} ");
        self.all("fd")
            .into_iter()
            .find_map(|line| line.strip_prefix(&prefix).map(str::to_string))
    }

    /// The TCP port that a descriptor is bound to.
    pub fn tcp_port(&self, number: i32) -> u16 {
        let seen = self.descriptor(number).unwrap();
        let address = seen.split(' ').nth(1).unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The TCP port that its first listener is bound to.
    pub fn port(&self) -> u16 {
        self.tcp_port(self.ports()[0].1)
    }
}

/// Asks a serving worker: the generation and process that answered on a fresh connection.
pub fn ask(port: u16) -> std::io::Result<(u64, i32)> {
    let mut answer = String::new();
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(LIMIT))?;
    connection.write_all(b"?")?;
    connection.read_to_string(&mut answer)?;
    match answer.strip_suffix('\n') {
        Some(answer) => Ok(pair(answer, ' ')),
        None => Err(std::io::Error::other(format!("cut off: {answer:?}"))),
    }
}

/// What Linux says of a process; elsewhere every process is taken for one that sleeps.
pub fn is_asleep(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'))
    })
}

/// The open descriptors of start_server, and what they are. Linux only.
pub fn descriptors(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            format!(
                "{} -> {}",
                entry.file_name().to_string_lossy(),
                target.display()
            )
        })
        .collect();
    found.sort();
    found
}

/// Whether a process is a worker of this test binary, as far as the system tells.
pub fn is_worker(pid: i32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    match program {
        Ok(program) => std::env::current_exe().is_ok_and(|ours| ours == program),
        Err(_) => !Path::new("/proc/self/exe").exists() && kernel::exists(pid),
    }
}

/// Whether a program that is to heed permissions does: see [`kernel::heed_permissions`].
pub fn permissions_count() -> bool {
    let folder = Scratch::new();
    let closed = folder.write("closed", "");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let mut cat = Command::new("cat");
    cat.arg(closed).stderr(Stdio::null());
    kernel::on_fork(&mut cat, kernel::heed_permissions);
    !cat.status().unwrap().success()
}

/// Says, past the harness, that a test needs what is not here.
pub fn skipped(need: &str) {
    let test = std::thread::current()
        .name()
        .unwrap_or_default()
        .to_string();
    let _ = writeln!(std::io::stderr(), "{test}: skipped, for want of {need}");
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

fn pair(text: &str, separator: char) -> (u64, i32) {
    let (generation, pid) = text
        .split_once(separator)
        .unwrap_or_else(|| panic!("{text:?}"));
    (generation.parse().unwrap(), pid.parse().unwrap())
}
