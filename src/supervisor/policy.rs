//! The times, signals and limits of the supervisor, from options and environment. Pure.

use crate::saved::words;
use crate::supervisor::signal::Signal;
use std::ffi::OsStr;
use std::time::Duration;

/// A point in time, as the time since a fixed point, on a clock that never goes back.
pub type Time = Duration;

/// The times, signals and limits. Those that are also variables can change while start_server runs, because the daemon
/// reads envdir again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The time for which a new worker must live to pass its check without `--ready`. It is also the shortest time from
    /// a failed start to the next one.
    pub interval: Duration,
    pub signal_on_hup: Signal,
    pub signal_on_term: Signal,
    /// The signals that are passed on to the worker that serves.
    pub forwarded: Vec<Signal>,
    /// The time for which a new worker and the old ones serve side by side.
    pub kill_old_delay: Duration,
    /// The age at which a worker is replaced; `None` means never.
    pub auto_restart: Option<Duration>,
    pub readiness: Readiness,
    /// The time after which a new worker that is not ready is killed; `None` means never.
    pub start_timeout: Option<Duration>,
    /// A restart is given up after this many failed starts in a row; 0 means never.
    pub max_start_failures: u32,
    /// The time after which a worker that was signalled to finish is killed; `None` means never.
    pub kill_timeout: Option<Duration>,
    pub kill_mode: KillMode,
}

/// The defaults, with which start_server behaves as Perl's does.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            interval: Duration::from_secs(1),
            signal_on_hup: Signal::TERM,
            signal_on_term: Signal::TERM,
            forwarded: Vec::new(),
            kill_old_delay: Duration::ZERO,
            auto_restart: None,
            readiness: Readiness::Interval,
            start_timeout: None,
            max_start_failures: 0,
            kill_timeout: None,
            kill_mode: KillMode::Process,
        }
    }
}

/// The check that a new worker must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It lives for the interval.
    Interval,
    /// It sends `READY=1` as sd_notify(3) does.
    Notify,
    /// It writes a newline to the pipe at this descriptor.
    Descriptor(i32),
}

impl Readiness {
    /// Whether the worker itself says that it is ready.
    pub fn is_announced(self) -> bool {
        self != Readiness::Interval
    }
}

words! {
    /// The processes that are signalled with a worker. The words are those of systemd.
    pub enum KillMode {
        /// The worker alone.
        #[default]
        Process = "process",
        /// The worker alone. When it has exited, the rest of its process group is killed. SIGKILL goes to the group.
        Mixed = "mixed",
        /// The process group of the worker.
        Group = "group",
    }
}

/// The default of `--auto-restart-interval`. The value 0 also means this.
const AUTO_RESTART_INTERVAL: Duration = Duration::from_secs(360);

/// The default of `--kill-old-delay` with auto-restart.
const AUTO_RESTART_KILL_OLD_DELAY: Duration = Duration::from_secs(5);

impl Policy {
    /// Returns this policy with the values of `auto_restart`, `kill_old_delay` and `kill_timeout` that the variables
    /// give. Options, the inherited environment and envdir set the variables. A variable that is not set means the
    /// default.
    ///
    /// `variable` looks up one variable. If its value is not a number of seconds, the variable counts as not set,
    /// and `warnings` get a sentence about it.
    pub fn with_overrides<'a>(
        &self,
        variable: impl Fn(&str) -> Option<&'a OsStr>,
        warnings: &mut Vec<String>,
    ) -> Policy {
        let mut seconds = |name: &str| {
            let text = variable(name)?.to_string_lossy();
            // Perl reads the empty string as 0 here.
            let number = if text.is_empty() {
                Ok(0)
            } else {
                parse_whole(&text)
            };
            if let Err(reason) = number {
                warnings.push(format!("{name}={text}: {reason}"));
            }
            Some(Duration::from_secs(number.ok()?.into()))
        };
        let enabled = variable("ENABLE_AUTO_RESTART");
        let is_enabled = enabled.is_some_and(|value| !value.is_empty() && value != "0");
        let default_delay = is_enabled.then_some(AUTO_RESTART_KILL_OLD_DELAY);
        let delay = seconds("KILL_OLD_DELAY").or(default_delay);
        let interval = seconds("AUTO_RESTART_INTERVAL").filter(|interval| !interval.is_zero());
        Policy {
            kill_old_delay: delay.unwrap_or_default(),
            auto_restart: is_enabled.then(|| interval.unwrap_or(AUTO_RESTART_INTERVAL)),
            kill_timeout: seconds("KILL_TIMEOUT").filter(|timeout| !timeout.is_zero()),
            ..self.clone()
        }
    }
}

/// Reads a whole number as Getopt::Long does: an optional sign, then digits with `_` anywhere among them.
pub fn parse_whole(text: &str) -> Result<u32, &'static str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits: String = unsigned.chars().filter(|&c| c != '_').collect();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a whole number");
    }
    match digits.parse() {
        Ok(1..) if text.starts_with('-') => Err("a negative number"),
        Ok(number) => Ok(number),
        Err(_) => Err("too large a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_with(variables: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| OsStr::new(*value))
        };
        let mut warnings = Vec::new();
        let policy = Policy::default().with_overrides(lookup, &mut warnings);
        (policy, warnings)
    }

    #[test]
    fn variables_override_the_options() {
        type Case<'a> = (&'a [(&'a str, &'a str)], u64, Option<u64>);
        let table: [Case; 8] = [
            (&[], 0, None),
            (&[("KILL_OLD_DELAY", "3")], 3, None),
            (&[("KILL_OLD_DELAY", "")], 0, None),
            (&[("ENABLE_AUTO_RESTART", "")], 0, None),
            (
                &[("ENABLE_AUTO_RESTART", "0"), ("AUTO_RESTART_INTERVAL", "5")],
                0,
                None,
            ),
            (&[("ENABLE_AUTO_RESTART", "1")], 5, Some(360)),
            (
                &[
                    ("ENABLE_AUTO_RESTART", "yes"),
                    ("AUTO_RESTART_INTERVAL", "0"),
                ],
                5,
                Some(360),
            ),
            (
                &[
                    ("ENABLE_AUTO_RESTART", "1"),
                    ("AUTO_RESTART_INTERVAL", "7"),
                    ("KILL_OLD_DELAY", "0"),
                ],
                0,
                Some(7),
            ),
        ];
        for (variables, delay, auto_restart) in table {
            let (policy, warnings) = default_with(variables);
            assert_eq!(policy.kill_old_delay.as_secs(), delay, "{variables:?}");
            assert_eq!(
                policy.auto_restart.map(|interval| interval.as_secs()),
                auto_restart,
                "{variables:?}"
            );
            assert_eq!(warnings, [""; 0], "{variables:?}");
        }
    }

    #[test]
    fn an_invalid_value_is_reported_and_counts_as_not_set() {
        let (policy, warnings) = default_with(&[
            ("ENABLE_AUTO_RESTART", "1"),
            ("KILL_OLD_DELAY", "soon"),
            ("AUTO_RESTART_INTERVAL", "-7"),
        ]);
        assert_eq!(
            (
                policy.kill_old_delay.as_secs(),
                policy.auto_restart.unwrap().as_secs()
            ),
            (5, 360)
        );
        assert_eq!(
            warnings,
            [
                "KILL_OLD_DELAY=soon: not a whole number",
                "AUTO_RESTART_INTERVAL=-7: a negative number"
            ]
        );
    }

    #[test]
    fn whole_numbers() {
        let table = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("+5", Ok(5)),
            ("1_000", Ok(1000)),
            ("_1_", Ok(1)),
            ("4294967295", Ok(u32::MAX)),
            ("4294967296", Err("too large a number")),
            ("-1", Err("a negative number")),
            ("", Err("not a whole number")),
            ("_", Err("not a whole number")),
            ("+", Err("not a whole number")),
            ("+-1", Err("not a whole number")),
            ("1.5", Err("not a whole number")),
            ("1e3", Err("not a whole number")),
            (" 1", Err("not a whole number")),
            ("0x10", Err("not a whole number")),
        ];
        for (text, number) in table {
            assert_eq!(parse_whole(text), number, "{text:?}");
        }
    }

    #[test]
    fn a_million_random_numbers() {
        const WORDS: [&str; 12] = [
            "",
            "+",
            "-",
            "_",
            "0",
            "7",
            "4294967295",
            ".",
            " ",
            "e",
            "é",
            "0x",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Ok(number) = parse_whole(text) {
                assert_eq!(parse_whole(&number.to_string()), Ok(number), "{text:?}");
            }
        });
    }
}
