//! The command line: words to a `Command`, read as Perl's Getopt::Long reads them. Pure.
//!
//! lexopt cannot be asked to read `-port`, `--PORT` or `--po`, so the words are taken apart here.

pub mod endpoint;

use crate::supervisor::policy::{parse_whole, Policy, Readiness};
use crate::supervisor::signal::Signal;
use endpoint::Endpoint;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Restart {
        pid_file: PathBuf,
        status_file: PathBuf,
        patience: Timeout,
    },
    Upgrade {
        pid_file: PathBuf,
        status_file: PathBuf,
        patience: Timeout,
    },
    Stop {
        pid_file: PathBuf,
        patience: Timeout,
    },
    Status {
        pid_file: PathBuf,
        status_file: Option<PathBuf>,
    },
    Run(Box<Options>),
}

/// How long `--restart`, `--upgrade` and `--stop` wait: `None` is for ever.
pub type Timeout = Option<Duration>;

/// What the superdaemon is to do.
#[derive(Debug)]
pub struct Options {
    pub ports: Vec<Endpoint>,
    pub paths: Vec<PathBuf>,
    /// The mode of the files at `paths`.
    pub path_mode: u32,
    /// `None` is the system's SOMAXCONN.
    pub backlog: Option<i32>,
    /// Describe the sockets as systemd does, too.
    pub listen_fds: bool,
    pub dir: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub status_file: Option<PathBuf>,
    pub log: Option<LogTarget>,
    pub daemonize: bool,
    /// The policy before environment and envdir have had their say.
    pub policy: Policy,
    /// envdir and the steering options, as the environment variables that stand in for them.
    pub variables: Vec<(&'static str, OsString)>,
    /// The worker's program and its arguments; never empty.
    pub program: Vec<OsString>,
}

/// Where `--log-file` sends standard output and standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    File(PathBuf),
    /// A command for the shell, which reads the log on its standard input.
    Command(OsString),
}

/// The names Perl's start_server has. Any unique prefix of one of these is it.
const PERL_OPTIONS: &[(&str, Takes)] = &[
    ("port", Takes::Text),
    ("path", Takes::Text),
    ("dir", Takes::Text),
    ("interval", Takes::Number),
    ("signal-on-hup", Takes::Text),
    ("signal-on-term", Takes::Text),
    ("pid-file", Takes::Text),
    ("status-file", Takes::Text),
    ("envdir", Takes::Text),
    ("log-file", Takes::Text),
    ("daemonize", Takes::Nothing),
    ("enable-auto-restart", Takes::Nothing),
    ("auto-restart-interval", Takes::Number),
    ("kill-old-delay", Takes::Number),
    ("backlog", Takes::Number),
    ("restart", Takes::Nothing),
    ("stop", Takes::Nothing),
    ("help", Takes::Nothing),
    ("version", Takes::Nothing),
];

/// The names only we have: to be given in full, so that no abbreviation in an old script changes its meaning.
const EXTENSIONS: &[(&str, Takes)] = &[
    ("ready", Takes::Text),
    ("start-timeout", Takes::Number),
    ("max-start-failures", Takes::Number),
    ("kill-timeout", Takes::Number),
    ("path-mode", Takes::Text),
    ("listen-fds", Takes::Nothing),
    ("upgrade", Takes::Nothing),
    ("status", Takes::Nothing),
    ("timeout", Takes::Number),
];

/// The default of `--start-timeout`, in seconds.
const START_TIMEOUT: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Text,
    Number,
}

pub const HELP: &str = "\
Usage: start_server [options] -- server-prog server-arg1 server-arg2 ...
       start_server --restart --pid-file=FILE --status-file=FILE
       start_server --upgrade --pid-file=FILE --status-file=FILE
       start_server --stop --pid-file=FILE
       start_server --status --pid-file=FILE [--status-file=FILE]
Runs a server under sockets bound once. On HUP it starts a new one and, if and
only if that comes up, tells the old one to finish.
  --port=[HOST:][u]PORT[=FD]  listen on a TCP port, with u on UDP; repeatable
  --path=PATH                 listen on a Unix socket; repeatable
  --path-mode=MODE            the mode of the files of all --path (0777)
  --backlog=N                 length of the listen queue (SOMAXCONN)
  --listen-fds                describe the sockets as systemd does, too
  --dir=DIR                   working directory of the server
  --interval=SECONDS          how long a new server must live to count as up (1)
  --ready=interval|notify|fd=N  or that it says so: by sd_notify(3), on a pipe
  --start-timeout=SECONDS     how long that may take (60; 0: for ever)
  --max-start-failures=N      give a restart up after N failed starts (0: never)
  --signal-on-hup=SIGNAL      what tells old servers to finish after HUP (TERM)
  --signal-on-term=SIGNAL     what tells all servers to finish after TERM (TERM)
  --kill-old-delay=SECONDS    let new and old serve side by side this long (0; 5
                              with --enable-auto-restart)
  --kill-timeout=SECONDS      kill what takes longer to finish (0: never)
  --enable-auto-restart       restart the server by time
  --auto-restart-interval=SECONDS  how often (360)
  --pid-file=FILE             hold the pid of start_server in FILE, locked
  --status-file=FILE          hold a line GENERATION:PID for each server in FILE
  --envdir=DIR                environment variables: the files in DIR
  --log-file=FILE             append standard output and standard error to FILE
  --log-file='| COMMAND'      ... or pipe them into COMMAND
  --daemonize                 go into the background; needs --log-file
  --restart                   restart the server of --pid-file; wait until the
                              old one is gone (exit status 3: given up)
  --upgrade                   replace it by the program now at its path; wait
  --stop                      end the start_server of --pid-file; wait
  --timeout=SECONDS           wait no longer (0: for ever); exit status 2
  --status                    tell about the start_server of --pid-file
  --help, --version           print this, or the version
See start_server(1).
";

/// Reads the command line, without the program's own name. The error is one line, fit to be printed.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let (given, program) = take_apart(words)?;
    if given.has("help") {
        return Ok(Command::Help);
    }
    if given.has("version") {
        return Ok(Command::Version);
    }
    let pid_file = given.path("pid-file");
    let status_file = given.path("status-file");
    let patience = given.number("timeout")?.filter(|&n| n != 0).map(seconds);
    if given.has("restart") {
        let (Some(pid_file), Some(status_file)) = (pid_file, status_file) else {
            return Err("--restart needs --pid-file and --status-file".to_string());
        };
        return Ok(Command::Restart {
            pid_file,
            status_file,
            patience,
        });
    }
    if given.has("upgrade") {
        let (Some(pid_file), Some(status_file)) = (pid_file, status_file) else {
            return Err("--upgrade needs --pid-file and --status-file".to_string());
        };
        return Ok(Command::Upgrade {
            pid_file,
            status_file,
            patience,
        });
    }
    if given.has("stop") {
        let pid_file = pid_file.ok_or("--stop needs --pid-file")?;
        return Ok(Command::Stop { pid_file, patience });
    }
    if given.has("status") {
        let pid_file = pid_file.ok_or("--status needs --pid-file")?;
        return Ok(Command::Status {
            pid_file,
            status_file,
        });
    }
    if given.has("timeout") {
        return Err("--timeout works only with --restart, --upgrade or --stop".to_string());
    }
    if program.is_empty() {
        return Err("server program not specified".to_string());
    }
    let daemonize = given.has("daemonize");
    let log = given.text("log-file").map(log_target).transpose()?;
    if daemonize && log.is_none() {
        return Err("--daemonize needs --log-file".to_string());
    }
    let interval = given.number("interval")?.unwrap_or(1);
    let readiness = given.readiness()?;
    let start_timeout = given.number("start-timeout")?;
    if start_timeout.is_some() && !readiness.is_announced() {
        return Err("--start-timeout works only with --ready=notify or --ready=fd=N".to_string());
    }
    let start_timeout = start_timeout.unwrap_or(START_TIMEOUT);
    Ok(Command::Run(Box::new(Options {
        ports: given.ports()?,
        paths: given.paths()?,
        path_mode: given.path_mode()?,
        backlog: given.backlog()?,
        listen_fds: given.has("listen-fds"),
        dir: given.dir()?,
        pid_file,
        status_file,
        log,
        daemonize,
        policy: Policy {
            interval: seconds(interval),
            signal_on_hup: given.signal("signal-on-hup")?.unwrap_or(Signal::TERM),
            signal_on_term: given.signal("signal-on-term")?.unwrap_or(Signal::TERM),
            kill_old_delay: Duration::ZERO,
            auto_restart: None,
            readiness,
            start_timeout: (start_timeout != 0).then(|| seconds(start_timeout)),
            max_start_failures: given.number("max-start-failures")?.unwrap_or(0),
            kill_timeout: None,
        },
        variables: given.variables()?,
        program,
    })))
}

/// The options as given, in order. A flag's value is empty.
struct Given(Vec<(&'static str, OsString)>);

/// The options, and what is neither an option nor an option's value: the worker's program with its arguments.
fn take_apart(words: impl IntoIterator<Item = OsString>) -> Result<(Given, Vec<OsString>), String> {
    let mut words = words.into_iter().peekable();
    let mut given = Vec::new();
    let mut free = Vec::new();
    while let Some(word) = words.next() {
        let Some(option) = word
            .as_bytes()
            .strip_prefix(b"-")
            .filter(|rest| !rest.is_empty())
        else {
            free.push(word);
            continue;
        };
        let option = option.strip_prefix(b"-").unwrap_or(option);
        if option.is_empty() {
            free.extend(words);
            break;
        }
        let mut halves = option.splitn(2, |&byte| byte == b'=');
        let typed = String::from_utf8_lossy(halves.next().unwrap_or_default());
        let attached = halves
            .next()
            .map(|value| OsStr::from_bytes(value).to_os_string());
        let (mut name, mut takes) = find(&typed)?;
        let mut value_follows = || {
            words
                .peek()
                .is_some_and(|next| !next.as_bytes().starts_with(b"-"))
        };
        if name == "status" && (attached.is_some() || value_follows()) {
            // With a value it is what it is to Perl's start_server: an abbreviation.
            (name, takes) = ("status-file", Takes::Text);
        }
        let value = match (takes, attached) {
            (Takes::Nothing, None) => OsString::new(),
            (Takes::Nothing, Some(value)) => {
                return Err(format!(
                    "--{name}={} takes no value",
                    value.to_string_lossy()
                ))
            }
            (Takes::Text | Takes::Number, Some(value)) if value.is_empty() => {
                return Err(format!("--{name} needs a value"))
            }
            (Takes::Text | Takes::Number, Some(value)) => value,
            // The next word is the value even if it begins with a dash.
            (Takes::Text | Takes::Number, None) => words
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?,
        };
        given.push((name, value));
    }
    Ok((Given(given), free))
}

/// Finds the option that a word, without its dashes and its value, means.
fn find(typed: &str) -> Result<(&'static str, Takes), String> {
    let lower = typed.to_ascii_lowercase();
    if let Some(option) = PERL_OPTIONS
        .iter()
        .chain(EXTENSIONS)
        .find(|(name, _)| *name == lower)
    {
        return Ok(*option);
    }
    let mut matches = PERL_OPTIONS
        .iter()
        .filter(|(name, _)| name.starts_with(&lower) && !lower.is_empty());
    match (matches.next(), matches.next()) {
        (Some(option), None) => Ok(*option),
        (Some((first, _)), Some((second, _))) => Err(format!(
            "--{typed} is ambiguous: it may be --{first} or --{second}"
        )),
        (None, _) => Err(format!(
            "--{typed} is not an option; see start_server --help"
        )),
    }
}

impl Given {
    fn has(&self, name: &'static str) -> bool {
        self.last(name).is_some()
    }

    /// The values of an option that accumulates.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &OsString> {
        self.0
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value)
    }

    /// The value of an option that doesn't: the last one given.
    fn last(&self, name: &'static str) -> Option<&OsString> {
        self.all(name).last()
    }

    /// A text that is given and not empty: `--pid-file "$UNSET"` is no pid file, as under Perl.
    fn text(&self, name: &'static str) -> Option<&OsString> {
        self.last(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Not even Perl takes an empty one for none.
    fn dir(&self) -> Result<Option<PathBuf>, String> {
        match self.last("dir") {
            Some(dir) if dir.is_empty() => Err("--dir needs a value".to_string()),
            dir => Ok(dir.map(PathBuf::from)),
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, String> {
        let mut last = None;
        for value in self.all(name) {
            let number = parse_whole(&value.to_string_lossy());
            last = Some(number.map_err(|reason| refuse(name, value, reason))?);
        }
        Ok(last)
    }

    fn backlog(&self) -> Result<Option<i32>, String> {
        match self.number("backlog")? {
            None | Some(0) => Ok(None),
            Some(number) => match number.try_into() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("--backlog={number}: too large a number")),
            },
        }
    }

    fn readiness(&self) -> Result<Readiness, String> {
        let Some(value) = self.last("ready") else {
            return Ok(Readiness::Interval);
        };
        match value.as_bytes() {
            b"interval" => return Ok(Readiness::Interval),
            b"notify" => return Ok(Readiness::Notify),
            _ => {}
        }
        let text = value.to_string_lossy();
        let number = text
            .strip_prefix("fd=")
            .and_then(|number| number.parse().ok());
        let number =
            number.ok_or_else(|| refuse("ready", value, "not interval, notify or fd=N"))?;
        // Descriptors 0 to 2 are the standard streams of the worker.
        if !(3..=i32::MAX).contains(&number) {
            return Err(refuse("ready", value, "the descriptor must be 3 or more"));
        }
        if self
            .ports()?
            .iter()
            .any(|port| port.descriptor == Some(number))
        {
            return Err(refuse(
                "ready",
                value,
                "a --port claims that descriptor too",
            ));
        }
        Ok(Readiness::Descriptor(number))
    }

    fn path_mode(&self) -> Result<u32, String> {
        let Some(value) = self.last("path-mode") else {
            return Ok(0o777);
        };
        let text = value.to_string_lossy();
        let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(&text, 8).ok();
        mode.filter(|&mode| is_octal && mode <= 0o777)
            .ok_or_else(|| refuse("path-mode", value, "not an octal mode from 0 to 0777"))
    }

    fn signal(&self, name: &'static str) -> Result<Option<Signal>, String> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let signal = Signal::parse(&value.to_string_lossy());
        Ok(Some(signal.ok_or_else(|| {
            refuse(name, value, "not a signal of this system")
        })?))
    }

    fn ports(&self) -> Result<Vec<Endpoint>, String> {
        let mut claimed = BTreeSet::new();
        let mut ports = Vec::new();
        for value in self.all("port") {
            let text = value.to_str().ok_or("that is not a host name");
            let port = text
                .and_then(Endpoint::parse)
                .map_err(|reason| refuse("port", value, reason))?;
            if port
                .descriptor
                .is_some_and(|number| !claimed.insert(number))
            {
                return Err(refuse(
                    "port",
                    value,
                    "another --port claims that descriptor too",
                ));
            }
            ports.push(port);
        }
        Ok(ports)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, String> {
        let mut seen = BTreeSet::new();
        for path in self.all("path") {
            if path.is_empty() {
                return Err("--path needs a value".to_string());
            }
            if !seen.insert(path) {
                return Err(refuse("path", path, "given twice"));
            }
        }
        Ok(self.all("path").map(PathBuf::from).collect())
    }

    fn variables(&self) -> Result<Vec<(&'static str, OsString)>, String> {
        let mut variables = Vec::new();
        if let Some(dir) = self.last("envdir") {
            variables.push(("ENVDIR", dir.clone()));
        }
        if self.has("enable-auto-restart") {
            variables.push(("ENABLE_AUTO_RESTART", "1".into()));
        }
        for (option, variable) in [
            ("kill-old-delay", "KILL_OLD_DELAY"),
            ("auto-restart-interval", "AUTO_RESTART_INTERVAL"),
            ("kill-timeout", "KILL_TIMEOUT"),
        ] {
            if let Some(number) = self.number(option)? {
                variables.push((variable, number.to_string().into()));
            }
        }
        Ok(variables)
    }
}

fn log_target(value: &OsString) -> Result<LogTarget, String> {
    match value.as_bytes().trim_ascii_start().strip_prefix(b"|") {
        None => Ok(LogTarget::File(PathBuf::from(value))),
        Some(command) if command.trim_ascii().is_empty() => Err(refuse(
            "log-file",
            value,
            "there is no command after the bar",
        )),
        Some(command) => Ok(LogTarget::Command(
            OsStr::from_bytes(command.trim_ascii_start()).to_os_string(),
        )),
    }
}

fn refuse(name: &str, value: &OsStr, reason: &str) -> String {
    format!("--{name}={}: {reason}", value.to_string_lossy())
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn read(line: &[&str]) -> Result<Command, String> {
        parse(line.iter().map(OsString::from))
    }

    fn run(line: &[&str]) -> Options {
        match read(line) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn a_value_may_be_attached_or_follow_and_the_last_scalar_wins() {
        let options = run(&[
            "--dir",
            "a",
            "--dir=b",
            "--interval",
            "+1_0",
            "--path",
            "--x",
            "--path=c=d",
            "prog",
        ]);
        assert_eq!(options.dir, Some("b".into()));
        assert_eq!(options.policy.interval, Duration::from_secs(10));
        assert_eq!(options.paths, [PathBuf::from("--x"), PathBuf::from("c=d")]);
        assert_eq!(options.program, ["prog"]);
    }

    #[test]
    fn names_may_be_short_single_dashed_and_in_any_case() {
        for name in ["--port", "-port", "--PORT", "--po", "-Po"] {
            assert_eq!(run(&[name, "80", "prog"]).ports[0].port, 80, "{name}");
        }
        assert!(read(&["--s", "x"]).unwrap_err().contains("ambiguous"));
        assert!(read(&["--p=80", "x"]).unwrap_err().contains("ambiguous"));
        assert!(matches!(read(&["--h"]), Ok(Command::Help)));
        // Ours are not abbreviated, and `--t` would be Perl's next such name, if it ever had one.
        assert!(read(&["--t=1", "x"]).unwrap_err().contains("not an option"));
    }

    #[test]
    fn status_with_a_value_is_perls_abbreviation_and_alone_it_is_ours() {
        for line in [&["--status=s", "prog"][..], &["--status", "s", "prog"]] {
            assert_eq!(run(line).status_file, Some("s".into()));
        }
        let line = ["--pid-file=p", "--status"];
        assert!(matches!(
            read(&line),
            Ok(Command::Status {
                status_file: None,
                ..
            })
        ));
        let line = ["--status", "--pid-file=p", "--stat=s"];
        assert!(matches!(
            read(&line),
            Ok(Command::Status {
                status_file: Some(_),
                ..
            })
        ));
    }

    #[test]
    fn readiness_is_read_with_its_deadline() {
        let policy = |line: &[&str]| run(line).policy;
        let sixty = Some(Duration::from_secs(60));
        assert_eq!(policy(&["prog"]).readiness, Readiness::Interval);
        let notify = policy(&["--ready=notify", "prog"]);
        assert_eq!(
            (notify.readiness, notify.start_timeout),
            (Readiness::Notify, sixty)
        );
        let descriptor = policy(&["--ready", "fd=7", "--start-timeout=0", "prog"]);
        assert_eq!(
            (descriptor.readiness, descriptor.start_timeout),
            (Readiness::Descriptor(7), None)
        );
    }

    #[test]
    fn options_may_follow_the_program_until_two_dashes() {
        assert_eq!(
            run(&["prog", "--interval=3", "arg"]).program,
            ["prog", "arg"]
        );
        assert_eq!(
            run(&["prog", "-", "--", "--interval=3", "--"]).program,
            ["prog", "-", "--interval=3", "--"]
        );
        assert!(read(&["prog", "--unknown"]).is_err());
    }

    #[test]
    fn an_empty_word_is_as_good_as_no_option() {
        let options = run(&[
            "--pid-file",
            "",
            "--status-file",
            "",
            "--log-file",
            "",
            "--signal-on-hup",
            "",
            "prog",
        ]);
        assert!(
            options.pid_file.is_none() && options.status_file.is_none() && options.log.is_none()
        );
        assert_eq!(options.policy.signal_on_hup, Signal::TERM);
    }

    #[test]
    fn log_targets() {
        let log = |value: &str| run(&["--log-file", value, "prog"]).log.unwrap();
        assert_eq!(log("a b"), LogTarget::File("a b".into()));
        assert_eq!(log("|cat -n "), LogTarget::Command("cat -n ".into()));
        assert_eq!(log(" |  cat"), LogTarget::Command("cat".into()));
    }

    #[test]
    fn steering_options_become_variables() {
        let options = run(&[
            "--envdir=e",
            "--enable-auto-restart",
            "--kill-old-delay=+1_0",
            "prog",
        ]);
        let expected = [
            ("ENVDIR", "e"),
            ("ENABLE_AUTO_RESTART", "1"),
            ("KILL_OLD_DELAY", "10"),
        ];
        assert_eq!(
            options.variables,
            expected.map(|(name, value)| (name, value.into()))
        );
    }

    #[test]
    fn refusals_name_option_value_and_reason() {
        let table: [(&[&str], &str); 33] = [
            (&[], "server program not specified"),
            (&["--port=80"], "server program not specified"),
            (&["--port"], "--port needs a value"),
            (&["--port=", "prog"], "--port needs a value"),
            (&["--port", "", "prog"], "--port=: the port must be"),
            (&["--path", "", "prog"], "--path needs a value"),
            (&["--dir", "", "prog"], "--dir needs a value"),
            (
                &["--interval", "", "prog"],
                "--interval=: not a whole number",
            ),
            (&["--port=x", "prog"], "--port=x: the port must be"),
            (
                &["--port=80=3", "--port=81=3", "prog"],
                "--port=81=3: another --port claims",
            ),
            (&["--path=a", "--path=a", "prog"], "--path=a: given twice"),
            (
                &["--interval=1.5", "prog"],
                "--interval=1.5: not a whole number",
            ),
            (
                &["--interval=x", "--interval=1", "prog"],
                "--interval=x: not a whole number",
            ),
            (
                &["--kill-old-delay=-1", "prog"],
                "--kill-old-delay=-1: a negative number",
            ),
            (
                &["--auto-restart-interval=9999999999", "prog"],
                "--auto-restart-interval=9999999999: too large",
            ),
            (
                &["--backlog=3000000000", "prog"],
                "--backlog=3000000000: too large",
            ),
            (
                &["--signal-on-hup=NONE", "prog"],
                "--signal-on-hup=NONE: not a signal",
            ),
            (&["--daemonize=1", "prog"], "--daemonize=1 takes no value"),
            (&["--daemonize", "prog"], "--daemonize needs --log-file"),
            (
                &["--log-file=| ", "prog"],
                "--log-file=| : there is no command",
            ),
            (
                &["--restart", "--pid-file=p"],
                "--restart needs --pid-file and --status-file",
            ),
            (&["--stop"], "--stop needs --pid-file"),
            (&["--timeout=3", "prog"], "--timeout works only with"),
            (&["--status"], "--status needs --pid-file"),
            (&["--ready=soon", "prog"], "--ready=soon: not interval"),
            (&["--ready=fd=x", "prog"], "--ready=fd=x: not interval"),
            (&["--ready=fd=2", "prog"], "--ready=fd=2: the descriptor"),
            (
                &["--ready=fd=9", "--port=80=9", "prog"],
                "--ready=fd=9: a --port claims",
            ),
            (
                &["--start-timeout=3", "prog"],
                "--start-timeout works only with",
            ),
            (&["--path-mode=", "prog"], "--path-mode needs a value"),
            (
                &["--path-mode=0888", "prog"],
                "--path-mode=0888: not an octal",
            ),
            (
                &["--path-mode=1777", "prog"],
                "--path-mode=1777: not an octal",
            ),
            (
                &["--path-mode", "+7", "prog"],
                "--path-mode=+7: not an octal",
            ),
        ];
        for (line, message) in table {
            let error = read(line).unwrap_err();
            assert!(error.starts_with(message), "{line:?}: {error}");
        }
    }

    #[test]
    fn help_names_every_option_and_no_other() {
        let shown: BTreeSet<&str> = HELP
            .split(|c: char| !c.is_ascii_lowercase() && c != '-')
            .filter_map(|word| word.strip_prefix("--"))
            .filter(|name| !name.is_empty())
            .collect();
        let known: BTreeSet<&str> = PERL_OPTIONS
            .iter()
            .chain(EXTENSIONS)
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(shown, known);
        assert!(HELP.lines().all(|line| line.len() <= 80) && HELP.lines().count() <= 40);
    }

    #[test]
    fn a_million_random_lines() {
        const WORDS: [&str; 22] = [
            "",
            "-",
            "--",
            "=",
            " ",
            "port",
            "P",
            "path",
            "interval",
            "restart",
            "pid-file",
            "log-file",
            "1",
            "|",
            "\n",
            "é",
            "timeout",
            "x",
            "ready",
            "fd=",
            "status",
            "path-mode",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Err(message) = read(&text.split(' ').collect::<Vec<_>>()) {
                assert!(!message.is_empty(), "{text:?}");
            }
        });
    }
}
