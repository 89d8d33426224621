//! The table of options, and the splitting of a command line into options with their values and the worker's program.
//! Pure.
//!
//! lexopt takes the words apart. This code adds the rules of Perl's Getopt::Long: names in any case, unique prefixes,
//! and `-port=80` or `+port=80` for `--port=80`. The test `getopt_long` compares this code with Getopt::Long.

use super::nearest::nearest;
use super::values::{needs_value, ParsedOptions};
use crate::error::Error;
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    Nothing,
    Value,
}

/// The options that Perl's start_server has. Any unique prefix of a name stands for it.
pub const PERL_OPTIONS: &[(&str, Takes)] = &[
    ("port", Takes::Value),
    ("path", Takes::Value),
    ("dir", Takes::Value),
    ("interval", Takes::Value),
    ("signal-on-hup", Takes::Value),
    ("signal-on-term", Takes::Value),
    ("pid-file", Takes::Value),
    ("status-file", Takes::Value),
    ("envdir", Takes::Value),
    ("log-file", Takes::Value),
    ("daemonize", Takes::Nothing),
    ("enable-auto-restart", Takes::Nothing),
    ("auto-restart-interval", Takes::Value),
    ("kill-old-delay", Takes::Value),
    ("backlog", Takes::Value),
    ("restart", Takes::Nothing),
    ("stop", Takes::Nothing),
    ("help", Takes::Nothing),
    ("version", Takes::Nothing),
];

/// The options that Perl's start_server lacks. They are never shortened: a prefix in an old script must keep its
/// meaning.
pub const EXTENSIONS: &[(&str, Takes)] = &[
    ("ready", Takes::Value),
    ("start-timeout", Takes::Value),
    ("max-start-failures", Takes::Value),
    ("kill-timeout", Takes::Value),
    ("path-mode", Takes::Value),
    ("path-owner", Takes::Value),
    ("forward-signal", Takes::Value),
    ("kill-mode", Takes::Value),
    ("listen-fds", Takes::Nothing),
    ("upgrade", Takes::Nothing),
    ("status", Takes::Nothing),
    ("timeout", Takes::Value),
];

/// Splits the command line into the options and the worker's program with its arguments.
///
/// With `posixly_correct` the rules are those of Getopt::Long with POSIXLY_CORRECT in the environment: the options end
/// at the first word that is not an option, names must be complete, a plus sign does not start an option, and `=`
/// separates a value only after two dashes.
pub fn split(
    words: Vec<OsString>,
    posixly_correct: bool,
) -> Result<(ParsedOptions, Vec<OsString>), Error> {
    let mut parser = Parser::from_args(words);
    // The equals sign in `-port=80` ends the name `port`; it does not belong to an option `-p`.
    parser.set_short_equals(false);
    let mut splitter = Splitter {
        parser,
        posixly_correct,
    };
    let mut options = ParsedOptions::default();
    let mut program = Vec::new();
    while !splitter.take_double_dash() {
        // lexopt fails only if the option before has a value that was not taken. This loop always takes it.
        let next = splitter.parser.next();
        let argument = next.map_err(|_| Error::statement("cannot split the command line"))?;
        let (option, attached) = match argument {
            Some(Arg::Long(name)) => {
                let option = find("--", name, posixly_correct)?;
                (option, splitter.parser.optional_value())
            }
            Some(Arg::Short(first)) => {
                let mut word = OsString::from(format!("-{first}"));
                word.push(splitter.parser.optional_value().unwrap_or_default());
                divide(&word, posixly_correct)?
            }
            Some(Arg::Value(word)) if !posixly_correct && word.as_bytes().starts_with(b"+") => {
                divide(&word, posixly_correct)?
            }
            Some(Arg::Value(word)) => {
                program.push(word);
                if posixly_correct {
                    break;
                }
                continue;
            }
            None => break,
        };
        let (option, value) = splitter.complete(option, attached)?;
        options.push(option, value);
    }
    program.extend(splitter.parser.try_raw_args().into_iter().flatten());
    Ok((options, program))
}

struct Splitter {
    parser: Parser,
    posixly_correct: bool,
}

impl Splitter {
    /// Takes the next word if it is `--`. lexopt would also take it, but would not report it.
    fn take_double_dash(&mut self) -> bool {
        let rest = self.parser.try_raw_args();
        rest.is_some_and(|mut rest| rest.next_if(|word| word == "--").is_some())
    }

    /// Returns an option with its value, which is empty for an option that takes none.
    fn complete(
        &mut self,
        (mut option, mut takes): (&'static str, Takes),
        attached: Option<OsString>,
    ) -> Result<(&'static str, OsString), Error> {
        let has_value = attached.is_some() || self.value_follows();
        if option == "status" && has_value && !self.posixly_correct {
            // With a value, `--status` is a prefix of --status-file, as in Perl's start_server.
            (option, takes) = ("status-file", Takes::Value);
        }
        let value = match (takes, attached) {
            (Takes::Nothing, None) => OsString::new(),
            (Takes::Nothing, Some(value)) => {
                let text = format!("--{option}={} takes no value", value.to_string_lossy());
                return Err(Error::statement(text));
            }
            (Takes::Value, Some(value)) if value.is_empty() => return Err(needs_value(option)),
            (Takes::Value, Some(value)) => value,
            // The next word is the value even if it begins with a dash.
            (Takes::Value, None) => self.parser.value().map_err(|_| needs_value(option))?,
        };
        Ok((option, value))
    }

    /// Whether there is a next word that does not begin with a dash.
    fn value_follows(&mut self) -> bool {
        let is_value = |word: &OsStr| !word.as_bytes().starts_with(b"-");
        let rest = self.parser.try_raw_args();
        rest.is_some_and(|rest| rest.peek().is_some_and(is_value))
    }
}

/// Divides an option with one dash or a plus sign at its `=`, and finds the option. Returns also the value.
fn divide(
    word: &OsStr,
    posixly_correct: bool,
) -> Result<((&'static str, Takes), Option<OsString>), Error> {
    let (sign, rest) = word.as_bytes().split_at(1);
    let (name, value) = match rest.iter().position(|&byte| byte == b'=') {
        Some(at) if !posixly_correct => (&rest[..at], Some(&rest[at + 1..])),
        _ => (rest, None),
    };
    let (sign, name) = (String::from_utf8_lossy(sign), String::from_utf8_lossy(name));
    let option = find(&sign, &name, posixly_correct)?;
    Ok((option, value.map(|value| OsStr::from_bytes(value).into())))
}

/// Finds the option that a name stands for. `sign` is what was typed before the name.
fn find(sign: &str, name: &str, posixly_correct: bool) -> Result<(&'static str, Takes), Error> {
    let mut all = PERL_OPTIONS.iter().chain(EXTENSIONS);
    if let Some(option) = all.find(|(option, _)| option.eq_ignore_ascii_case(name)) {
        return Ok(*option);
    }
    let prefix = name.to_ascii_lowercase();
    let may_be_prefix = !posixly_correct && !prefix.is_empty();
    let is_match = |(option, _): &&(&str, _)| may_be_prefix && option.starts_with(&prefix);
    let mut matches = PERL_OPTIONS.iter().filter(is_match);
    let text = match (matches.next(), matches.next()) {
        (Some(option), None) => return Ok(*option),
        (Some((first, _)), Some((second, _))) => {
            format!("{sign}{name} is ambiguous: it may be --{first} or --{second}")
        }
        (None, _) => match nearest(&prefix) {
            Some(option) => format!("{sign}{name} is not an option; did you mean --{option}?"),
            None => format!("{sign}{name} is not an option; see start_server --help, or put -- before a program that has it"),
        },
    };
    Err(Error::statement(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ports, and the words of the program.
    fn ports(line: &str, posixly_correct: bool) -> Result<(Vec<OsString>, Vec<OsString>), Error> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (options, program) = split(words, posixly_correct)?;
        Ok((options.all("port").cloned().collect(), program))
    }

    #[test]
    fn a_plus_sign_starts_an_option() {
        for line in [
            "+port=80 a b",
            "+Po 80 a b",
            "a +port=80 b",
            "+port=80 a -- b",
        ] {
            let expected = (vec!["80".into()], vec!["a".into(), "b".into()]);
            assert_eq!(ports(line, false), Ok(expected), "{line}");
        }
        for line in ["+", "+-port=80", "++port=80", "-+port=80", "a +%s"] {
            let error = ports(line, false).unwrap_err().to_string();
            assert!(error.contains("is not an option"), "{line}: {error}");
        }
        assert_eq!(
            ports("-- +port=80", false),
            Ok((vec![], vec!["+port=80".into()]))
        );
    }

    #[test]
    fn posixly_correct_options_end_at_the_first_other_word() {
        let table: [(&str, &[&str]); 6] = [
            ("--port=80 a --port=81", &["a", "--port=81"]),
            ("-PORT 80 a -- b", &["a", "--", "b"]),
            ("--port=80 -- a -- b", &["a", "--", "b"]),
            ("--port=80 - -x", &["-", "-x"]),
            ("--port=80 +port=81", &["+port=81"]),
            ("--port 80 + a", &["+", "a"]),
        ];
        for (line, program) in table {
            let program = program.iter().map(OsString::from).collect();
            assert_eq!(
                ports(line, true),
                Ok((vec!["80".into()], program)),
                "{line}"
            );
        }
        for line in ["--po=80 a", "-port=80 a", "--status=s a"] {
            assert!(ports(line, true).is_err(), "{line}");
        }
    }
}
