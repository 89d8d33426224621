//! The command line as options with their values, and the worker's program: split as Perl's Getopt::Long does. Pure.

use super::values::Given;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The names Perl's start_server has. Any unique prefix of one of these is it.
pub const PERL_OPTIONS: &[(&str, Takes)] = &[
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
pub const EXTENSIONS: &[(&str, Takes)] = &[
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Text,
    Number,
}

/// The options, and what is neither an option nor an option's value: the worker's program with its arguments.
pub fn take_apart(
    words: impl IntoIterator<Item = OsString>,
) -> Result<(Given, Vec<OsString>), String> {
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
