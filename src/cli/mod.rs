//! The command line: words to a `Command`, read as Perl's Getopt::Long reads them. Pure.
//!
//! lexopt cannot be asked to read `-port`, `--PORT` or `--po`, so the words are taken apart here.

pub mod endpoint;
mod help;
mod splitting;
mod values;

pub use help::HELP;

use crate::supervisor::policy::Policy;
use crate::supervisor::signal::Signal;
use endpoint::Endpoint;
use splitting::take_apart;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::{log_target, seconds};

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

/// The default of `--start-timeout`, in seconds.
const START_TIMEOUT: u32 = 60;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::policy::Readiness;

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
