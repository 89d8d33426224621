//! The one error type: the reason for a failure, as one line for the operator. Pure.
//!
//! An error is made where the failure is understood and printed once, in `main` or in the log.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::{fmt, io};

/// Names the thing that failed and the reason. The box keeps every `Result` small, which saves a twentieth of the
/// program.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(Box<Kind>);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The value of an option cannot be used: `--port=x: the port must be a number`.
    Option {
        /// Without its dashes.
        option: &'static str,
        value: OsString,
        reason: Reason,
    },
    /// Something could not be done: `cannot execute ./app: No such file or directory`. The object may be empty.
    Action {
        action: &'static str,
        object: OsString,
        reason: Reason,
    },
    /// Anything else that names its subject by itself: `--daemonize needs --log-file`.
    Statement(Cow<'static, str>),
}

impl Error {
    pub fn option(
        option: &'static str,
        value: impl AsRef<OsStr>,
        reason: impl Into<Reason>,
    ) -> Error {
        Error(Box::new(Kind::Option {
            option,
            value: value.as_ref().to_os_string(),
            reason: reason.into(),
        }))
    }

    pub fn action(
        action: &'static str,
        object: impl AsRef<OsStr>,
        reason: impl Into<Reason>,
    ) -> Error {
        Error(Box::new(Kind::Action {
            action,
            object: object.as_ref().to_os_string(),
            reason: reason.into(),
        }))
    }

    pub fn statement(text: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Kind::Statement(text.into())))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match &*self.0 {
            Kind::Option {
                option,
                value,
                reason,
            } => write!(out, "--{option}={}: {reason}", value.to_string_lossy()),
            Kind::Action {
                action,
                object,
                reason,
            } if object.is_empty() => write!(out, "cannot {action}: {reason}"),
            Kind::Action {
                action,
                object,
                reason,
            } => write!(
                out,
                "cannot {action} {}: {reason}",
                object.to_string_lossy()
            ),
            Kind::Statement(text) => out.write_str(text),
        }
    }
}

/// The part of an error after the colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Reason {
        Reason(text.into())
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason(text.into())
    }
}

/// An error can be the reason of another one: `--path=x: cannot bind: Permission denied`.
impl From<Error> for Reason {
    fn from(error: Error) -> Reason {
        Reason(error.to_string().into())
    }
}

/// The system's own words, without the number that Rust appends.
impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Reason {
        let mut text = error.to_string();
        if let (Some(_), Some(end)) = (error.raw_os_error(), text.rfind('(')) {
            text.truncate(end - 1);
        }
        Reason(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_names_thing_and_reason() {
        let missing = || io::Error::from_raw_os_error(2);
        let table = [
            (
                Error::option("port", "x", "the port must be a number"),
                "--port=x: the port must be a number",
            ),
            (
                Error::option("dir", "d", missing()),
                "--dir=d: No such file or directory",
            ),
            (
                Error::action("execute", "./app", missing()),
                "cannot execute ./app: No such file or directory",
            ),
            (
                Error::action("catch signals", "", missing()),
                "cannot catch signals: No such file or directory",
            ),
            (
                Error::statement("--daemonize needs --log-file"),
                "--daemonize needs --log-file",
            ),
        ];
        for (error, line) in table {
            assert_eq!(error.to_string(), line);
        }
    }
}
