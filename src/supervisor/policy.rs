//! The timings and signals that steer the supervisor, and how they follow from options and environment. Pure.

use crate::supervisor::signal::Signal;
use std::ffi::OsStr;
use std::time::Duration;

/// A moment: the time since a fixed but arbitrary one, on a clock that only goes forward.
pub type Time = Duration;

/// Read afresh for every turn of the loop, since envdir can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a new worker must live to count as started.
    pub interval: Duration,
    pub signal_on_hup: Signal,
    pub signal_on_term: Signal,
    /// How long a new worker and the old ones serve side by side.
    pub kill_old_delay: Duration,
    /// The age at which a worker is replaced, if ever.
    pub auto_restart: Option<Duration>,
    pub readiness: Readiness,
    /// How long a new worker may take to say that it is ready, if not for ever.
    pub start_timeout: Option<Duration>,
    /// After so many failed attempts in a row a restart is given up; 0 is never.
    pub max_start_failures: u32,
    /// How long a worker may take to finish before it is killed, if not for ever.
    pub kill_timeout: Option<Duration>,
}

/// Perl's defaults.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            interval: Duration::from_secs(1),
            signal_on_hup: Signal::TERM,
            signal_on_term: Signal::TERM,
            kill_old_delay: Duration::ZERO,
            auto_restart: None,
            readiness: Readiness::Interval,
            start_timeout: None,
            max_start_failures: 0,
            kill_timeout: None,
        }
    }
}

/// How a new worker is known to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has lived for the interval.
    Interval,
    /// It says so by the protocol of sd_notify(3).
    Notify,
    /// It writes a newline to the pipe at this descriptor.
    Descriptor(i32),
}

impl Readiness {
    /// Whether the worker itself says so.
    pub fn is_announced(self) -> bool {
        self != Readiness::Interval
    }
}

/// The default of `--auto-restart-interval`; also what 0 stands for there.
const AUTO_RESTART_INTERVAL: u32 = 360;

/// The default of `--kill-old-delay` with auto-restart.
const AUTO_RESTART_KILL_OLD_DELAY: u32 = 5;

impl Policy {
    /// Whether the status file tells of failed attempts: not as long as all is as under Perl.
    pub fn tells_failures(&self) -> bool {
        self.readiness.is_announced() || self.max_start_failures != 0
    }

    /// Applies the steering variables, as `variable` knows them, to `self`, the policy of the options alone.
    ///
    /// A value that is no number of seconds counts as not set; `warn` is told a sentence about it.
    pub fn with_overrides<'a>(
        &self,
        variable: impl Fn(&str) -> Option<&'a OsStr>,
        mut warn: impl FnMut(String),
    ) -> Policy {
        let mut seconds = |name: &str| -> Option<u32> {
            let text = variable(name)?.to_string_lossy();
            // Perl takes the empty string for 0 here.
            if text.is_empty() {
                return Some(0);
            }
            let number = parse_whole(&text);
            if let Err(reason) = number {
                warn(format!("{name}={text}: {reason}"));
            }
            number.ok()
        };
        let enabled =
            variable("ENABLE_AUTO_RESTART").is_some_and(|value| !value.is_empty() && value != "0");
        let kill_old_delay = seconds("KILL_OLD_DELAY");
        let interval = seconds("AUTO_RESTART_INTERVAL").filter(|&seconds| seconds != 0);
        let kill_timeout = seconds("KILL_TIMEOUT").filter(|&seconds| seconds != 0);
        let default_delay = if enabled {
            AUTO_RESTART_KILL_OLD_DELAY
        } else {
            0
        };
        Policy {
            kill_old_delay: Duration::from_secs(kill_old_delay.unwrap_or(default_delay).into()),
            auto_restart: enabled
                .then(|| Duration::from_secs(interval.unwrap_or(AUTO_RESTART_INTERVAL).into())),
            kill_timeout: kill_timeout.map(|seconds| Duration::from_secs(seconds.into())),
            ..self.clone()
        }
    }
}

/// Reads a whole number as Getopt::Long does: a sign, digits, and `_` anywhere among them.
pub fn parse_whole(text: &str) -> Result<u32, &'static str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits: String = unsigned.chars().filter(|&c| c != '_').collect();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a whole number");
    }
    let number = digits.parse().map_err(|_| "too large a number")?;
    match number {
        1.. if text.starts_with('-') => Err("a negative number"),
        _ => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steer(variables: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let options = Policy {
            interval: Duration::from_secs(1),
            signal_on_hup: Signal::TERM,
            signal_on_term: Signal::TERM,
            kill_old_delay: Duration::ZERO,
            auto_restart: None,
            readiness: Readiness::Interval,
            start_timeout: None,
            max_start_failures: 0,
            kill_timeout: None,
        };
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| OsStr::new(*value))
        };
        let mut warnings = Vec::new();
        let policy = options.with_overrides(lookup, |warning| warnings.push(warning));
        (policy, warnings)
    }

    #[test]
    fn variables_steer() {
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
            let (policy, warnings) = steer(variables);
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
    fn a_bad_value_is_told_and_counts_as_not_set() {
        let (policy, warnings) = steer(&[
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
