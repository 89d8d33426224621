//! The names and numbers of signals, as `--signal-on-hup` takes them and the log shows them. Pure.

use std::fmt;

/// The number of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    pub const HUP: Signal = Signal(libc::SIGHUP);
    pub const INT: Signal = Signal(libc::SIGINT);
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    pub const TERM: Signal = Signal(libc::SIGTERM);
    pub const KILL: Signal = Signal(libc::SIGKILL);
    pub const CONT: Signal = Signal(libc::SIGCONT);
    pub const STOP: Signal = Signal(libc::SIGSTOP);
    pub const CHLD: Signal = Signal(libc::SIGCHLD);
    pub const ALRM: Signal = Signal(libc::SIGALRM);
    pub const PIPE: Signal = Signal(libc::SIGPIPE);
    pub const SEGV: Signal = Signal(libc::SIGSEGV);
    pub const BUS: Signal = Signal(libc::SIGBUS);
    pub const ILL: Signal = Signal(libc::SIGILL);
    pub const FPE: Signal = Signal(libc::SIGFPE);
    pub const TRAP: Signal = Signal(libc::SIGTRAP);

    pub fn number(self) -> i32 {
        self.0
    }

    pub fn of_number(number: i32) -> Option<Signal> {
        (1..=LAST).contains(&number).then_some(Signal(number))
    }

    /// Reads a name in any case, with or without `SIG`, or a number from 1 to [`LAST`].
    pub fn parse(text: &str) -> Option<Signal> {
        if let Ok(number) = text.parse() {
            return Signal::of_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let (_, number) = NAMES.iter().find(|(known, _)| *known == name)?;
        Some(Signal(*number))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => out.write_str(name),
            None => write!(out, "{}", self.0),
        }
    }
}

/// The highest signal number that is accepted: the last real-time signal of Linux.
pub const LAST: i32 = 64;

/// The names and their numbers. The log shows the first name of a number, so the usual one comes first.
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("SYS", libc::SIGSYS),
    #[cfg(target_os = "linux")]
    ("STKFLT", libc::SIGSTKFLT),
    #[cfg(target_os = "linux")]
    ("PWR", libc::SIGPWR),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_in_any_case_with_or_without_sig() {
        for (name, number) in NAMES {
            for text in [
                name.to_string(),
                format!("SIG{name}"),
                name.to_lowercase(),
                format!("sig{name}"),
            ] {
                assert_eq!(Signal::parse(&text), Some(Signal(*number)), "{text}");
            }
        }
    }

    #[test]
    fn every_number_is_displayed_as_text_that_parses_to_it() {
        for number in 1..=LAST {
            let signal = Signal::parse(&number.to_string()).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal));
        }
        assert_eq!(Signal(libc::SIGABRT).to_string(), "ABRT");
        assert_eq!(Signal(64).to_string(), "64");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "1.5",
            "SIG",
            "SIGSIGTERM",
            "TERMINATE",
            " TERM",
            "TERM ",
            "99999999999",
            "Ŧ",
        ] {
            assert_eq!(Signal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_million_random_texts() {
        const WORDS: [&str; 12] = [
            "",
            "SIG",
            "sig",
            "TERM",
            "hup",
            "1",
            "0",
            "-",
            "+",
            " ",
            "é",
            "99999999999",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Some(signal) = Signal::parse(text) {
                assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{text:?}");
            }
        });
    }
}
