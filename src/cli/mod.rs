//! The command line. This folder owns the options and the rules for combining them. The words of the command line come
//! in, and a `Command` or an error goes out. Pure.
//!
//! `splitting` finds the options and the program, `values` reads the values, and `parse` applies the rules.

pub mod endpoint;
#[cfg(test)]
mod getopt_long;
mod help;
mod nearest;
mod splitting;
mod values;

pub use help::HELP;

use crate::error::Error;
use crate::supervisor::policy::Policy;
use endpoint::Endpoint;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::ParsedOptions;

/// The task that the command line asks for.
#[derive(Debug)]
pub enum Command {
    Help,
    Version,
    Restart(Target),
    Upgrade(Target),
    Stop {
        pid_file: PathBuf,
        timeout: Timeout,
    },
    Status {
        pid_file: PathBuf,
        status_file: Option<PathBuf>,
    },
    Run(Box<Options>),
}

/// The running start_server that `--restart` or `--upgrade` controls.
#[derive(Debug)]
pub struct Target {
    pub pid_file: PathBuf,
    pub status_file: PathBuf,
    pub timeout: Timeout,
}

/// The longest time that `--restart`, `--upgrade` and `--stop` wait. `None` means for ever.
pub type Timeout = Option<Duration>;

/// The program that start_server runs, and its options.
#[derive(Debug)]
pub struct Options {
    pub ports: Vec<Endpoint>,
    pub paths: Vec<PathBuf>,
    /// The mode of the files at `paths`.
    pub path_mode: u32,
    pub path_owner: Option<PathOwner>,
    /// `None` means the longest backlog that the system allows.
    pub backlog: Option<i32>,
    /// Whether workers get systemd's description of the sockets in addition to Perl's.
    pub listen_fds: bool,
    pub dir: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub status_file: Option<PathBuf>,
    pub log: Option<LogTarget>,
    pub daemonize: bool,
    /// The policy of the options that are not variables. Those that are, and the variables of the environment and of
    /// envdir, change it later.
    pub policy: Policy,
    /// The options that are also environment variables, in the form of these variables.
    pub variables: Vec<(&'static str, OsString)>,
    /// The worker's program and its arguments; never empty.
    pub program: Vec<OsString>,
}

/// The owner of the files at `paths`: names or numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOwner {
    pub user: Option<OsString>,
    pub group: Option<OsString>,
}

/// The destination of standard output and standard error that `--log-file` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    File(PathBuf),
    /// A shell command that reads the log on its standard input.
    Command(OsString),
}

/// The default of `--start-timeout`.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads the command line, without the program's own name.
///
/// `posixly_correct` says whether POSIXLY_CORRECT is in the environment.
pub fn parse(words: Vec<OsString>, posixly_correct: bool) -> Result<Command, Error> {
    let (options, program) = splitting::split(words, posixly_correct)?;
    if options.has("help") {
        return Ok(Command::Help);
    }
    if options.has("version") {
        return Ok(Command::Version);
    }
    if let Some(command) = control_command(&options)? {
        return Ok(command);
    }
    if options.has("timeout") {
        let text = "--timeout works only with --restart, --upgrade or --stop";
        return Err(Error::statement(text));
    }
    if program.is_empty() {
        let text = "server program not specified; see start_server --help";
        return Err(Error::statement(text));
    }
    Ok(Command::Run(Box::new(run_options(&options, program)?)))
}

/// Returns the command to a running start_server, if the options contain one.
fn control_command(options: &ParsedOptions) -> Result<Option<Command>, Error> {
    let timeout = options.seconds("timeout")?.filter(|time| !time.is_zero());
    let needs = |command, files| Error::statement(format!("--{command} needs {files}"));
    let pid_file = |command| {
        let pid_file = options.path("pid-file");
        pid_file.ok_or_else(|| needs(command, "--pid-file"))
    };
    let target = |command| match (options.path("pid-file"), options.path("status-file")) {
        (Some(pid_file), Some(status_file)) => Ok(Target {
            pid_file,
            status_file,
            timeout,
        }),
        _ => Err(needs(command, "--pid-file and --status-file")),
    };
    let commands = ["restart", "upgrade", "stop", "status"];
    let mut commands = commands.into_iter().filter(|name| options.has(name));
    let command = match (commands.next(), commands.next()) {
        (Some(first), Some(second)) => {
            let text = format!("--{first} and --{second} cannot be given together");
            return Err(Error::statement(text));
        }
        (command, _) => command,
    };
    Ok(Some(match command {
        None => return Ok(None),
        Some("restart") => Command::Restart(target("restart")?),
        Some("upgrade") => Command::Upgrade(target("upgrade")?),
        Some("stop") => Command::Stop {
            pid_file: pid_file("stop")?,
            timeout,
        },
        Some(_) => Command::Status {
            pid_file: pid_file("status")?,
            status_file: options.path("status-file"),
        },
    }))
}

fn run_options(options: &ParsedOptions, program: Vec<OsString>) -> Result<Options, Error> {
    let log = options.log()?;
    let daemonize = options.has("daemonize");
    if daemonize && log.is_none() {
        return Err(Error::statement("--daemonize needs --log-file"));
    }
    let ports = options.ports()?;
    Ok(Options {
        policy: policy(options, &ports)?,
        ports,
        paths: options.paths()?,
        path_mode: options.path_mode()?,
        path_owner: options.path_owner()?,
        backlog: options.backlog()?,
        listen_fds: options.has("listen-fds"),
        dir: options.dir()?,
        pid_file: options.path("pid-file"),
        status_file: options.path("status-file"),
        log,
        daemonize,
        variables: options.variables()?,
        program,
    })
}

fn policy(options: &ParsedOptions, ports: &[Endpoint]) -> Result<Policy, Error> {
    let readiness = options.readiness(ports)?;
    let start_timeout = options.seconds("start-timeout")?;
    if start_timeout.is_some() && !readiness.is_announced() {
        let text = "--start-timeout works only with --ready=notify or --ready=fd=N";
        return Err(Error::statement(text));
    }
    let start_timeout = start_timeout.unwrap_or(START_TIMEOUT);
    let default = Policy::default();
    Ok(Policy {
        interval: options.seconds("interval")?.unwrap_or(default.interval),
        signal_on_hup: options.signal("signal-on-hup", default.signal_on_hup)?,
        signal_on_term: options.signal("signal-on-term", default.signal_on_term)?,
        forwarded: options.forwarded()?,
        readiness,
        start_timeout: Some(start_timeout).filter(|time| !time.is_zero()),
        max_start_failures: options.number("max-start-failures")?.unwrap_or(0),
        kill_mode: options.kill_mode()?,
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::policy::{KillMode, Readiness};
    use crate::supervisor::signal::Signal;

    fn read(line: &[&str]) -> Result<Command, Error> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        parse(words, false)
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
        assert!(read(&["--s", "x"])
            .unwrap_err()
            .to_string()
            .contains("ambiguous"));
        assert!(read(&["--p=80", "x"])
            .unwrap_err()
            .to_string()
            .contains("ambiguous"));
        assert!(matches!(read(&["--h"]), Ok(Command::Help)));
        // The options that Perl lacks are not abbreviated.
        assert!(read(&["--t=1", "x"])
            .unwrap_err()
            .to_string()
            .contains("not an option"));
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
    fn an_empty_value_counts_as_no_option() {
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
    fn options_that_workers_see_become_variables() {
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
        let table: [(&[&str], &str); 53] = [
            (&["--path-owner=", "prog"], "--path-owner needs a value"),
            (
                &["--path-owner=a:", "prog"],
                "--path-owner=a:: there is no group after the colon",
            ),
            (
                &["--path-owner=:", "prog"],
                "--path-owner=:: there is no group after the colon",
            ),
            (
                &["--kill-mode=all", "prog"],
                "--kill-mode=all: not process, mixed or group",
            ),
            (
                &["--forward-signal=HUP", "prog"],
                "--forward-signal=HUP: start_server does not forward this signal",
            ),
            (
                &["--forward-signal=14", "prog"],
                "--forward-signal=14: start_server does not forward this signal",
            ),
            (
                &["--forward-signal=KILL", "prog"],
                "--forward-signal=KILL: no process can catch this signal",
            ),
            (
                &["--forward-signal=40", "prog"],
                "--forward-signal=40: not one of the signals 1 to 31",
            ),
            (
                &["--forward-signal=SOON", "prog"],
                "--forward-signal=SOON: not a signal of this system",
            ),
            (&[], "server program not specified; see start_server --help"),
            (
                &["--prot=80", "prog"],
                "--prot is not an option; did you mean --port?",
            ),
            (
                &["--workers=8", "prog"],
                "--workers is not an option; see start_server --help, or put -- before a program that has it",
            ),
            (
                &["--interval", "--", "prog"],
                "--interval needs a value, and -- is not one",
            ),
            (
                &["--interval", "--port=80", "prog"],
                "--interval needs a value, and --port=80 is not one",
            ),
            (
                &["--port", "--", "prog"],
                "--port needs a value, and -- is not one",
            ),
            (
                &["--signal-on-hup", "--port", "prog"],
                "--signal-on-hup needs a value, and --port is not one",
            ),
            (
                &["--ready", "--", "prog"],
                "--ready needs a value, and -- is not one",
            ),
            (
                &["--port=127.0.0.1", "prog"],
                "--port=127.0.0.1: the port is missing",
            ),
            (&["--port=http://a:80", "prog"], "--port=http://a:80: a URL"),
            (
                &["--path=a", "--path=./a", "prog"],
                "--path=./a: the same path is given twice",
            ),
            (
                &["--path=b//a", "--path=b/./a", "prog"],
                "--path=b/./a: the same path is given twice",
            ),
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
            (
                &["--path=a", "--path=a", "prog"],
                "--path=a: the same path is given twice",
            ),
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
            let error = read(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{line:?}: {error}");
        }
    }

    #[test]
    fn owners() {
        let owner = |value: &str| run(&["--path-owner", value, "prog"]).path_owner.unwrap();
        let names = |user: &str, group: &str| {
            let name = |name: &str| (!name.is_empty()).then(|| name.into());
            PathOwner {
                user: name(user),
                group: name(group),
            }
        };
        assert_eq!(owner("app"), names("app", ""));
        assert_eq!(owner(":www"), names("", "www"));
        assert_eq!(owner("1000:33"), names("1000", "33"));
        assert_eq!(owner("a:b:c"), names("a", "b:c"));
    }

    #[test]
    fn the_kill_mode_is_a_word_of_systemd() {
        let table = [
            (&["prog"][..], KillMode::Process),
            (&["--kill-mode=process", "prog"], KillMode::Process),
            (&["--kill-mode=mixed", "prog"], KillMode::Mixed),
            (&["--kill-mode", "group", "prog"], KillMode::Group),
        ];
        for (line, mode) in table {
            assert_eq!(run(line).policy.kill_mode, mode, "{line:?}");
        }
    }

    #[test]
    fn forwarded_signals_are_collected() {
        let line = [
            "--forward-signal=ttin",
            "--forward-signal",
            "SIGUSR1",
            "prog",
        ];
        let expected = ["TTIN", "USR1"].map(|name| Signal::parse(name).unwrap());
        assert_eq!(run(&line).policy.forwarded, expected);
    }

    #[test]
    fn two_control_commands_are_refused() {
        let commands = ["restart", "upgrade", "stop", "status"];
        for (index, first) in commands.iter().enumerate() {
            for second in &commands[index + 1..] {
                for pair in [[first, second], [second, first]] {
                    let words = pair.map(|name| format!("--{name}"));
                    let line = [&words[0], &words[1], "--pid-file=p", "--status-file=s"];
                    let message = format!("--{first} and --{second} cannot be given together");
                    assert_eq!(read(&line).unwrap_err().to_string(), message);
                }
            }
        }
    }

    #[test]
    fn a_million_random_lines() {
        const WORDS: [&str; 23] = [
            "",
            "-",
            "--",
            "+",
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
            if let Err(error) = read(&text.split(' ').collect::<Vec<_>>()) {
                assert!(!error.to_string().is_empty(), "{text:?}");
            }
        });
    }
}
