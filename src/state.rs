//! The text in which state outlives the program: records of named fields, to text and back. Pure.
//!
//! Each line is a record: its kind, then `name=value` for each field. Bytes of a value that could be taken for
//! anything else are written `%XX`, and `-` is the value of what is not there. A time is what has gone by or what is
//! left, in microseconds, never a moment: the next program may count from another one.

use crate::policy::Time;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;
use std::time::Duration;

/// What a line of the text stands for. [`record!`] makes one.
pub trait Record: Sized {
    const KIND: &'static str;
    fn fields(&self) -> Vec<(&'static str, String)>;
    fn restore(line: &Line) -> Result<Self, String>;
}

/// Defines a struct that is a record.
macro_rules! record {
    ($(#[$about:meta])* $kind:literal $name:ident { $($(#[$what:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$what])* pub $field: $type,)* }

        impl $crate::state::Record for $name {
            const KIND: &'static str = $kind;

            fn fields(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), $crate::state::Value::text(&self.$field)),)*]
            }

            fn restore(line: &$crate::state::Line) -> Result<Self, String> {
                Ok(Self { $($field: line.field(stringify!($field))?,)* })
            }
        }
    };
}
pub(crate) use record;

/// What a field can hold.
pub trait Value: Sized {
    fn text(&self) -> String;
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! as_displayed {
    ($($type:ty)*) => { $(
        impl Value for $type {
            fn text(&self) -> String {
                self.to_string()
            }

            fn parse(text: &str) -> Option<Self> {
                FromStr::from_str(text).ok()
            }
        }
    )* };
}
as_displayed!(bool i32 u32 u64);

impl Value for Duration {
    fn text(&self) -> String {
        // More than half a million years are as good as that.
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX).text()
    }

    fn parse(text: &str) -> Option<Self> {
        u64::parse(text).map(Duration::from_micros)
    }
}

impl Value for OsString {
    fn text(&self) -> String {
        let mut text = String::new();
        for &byte in self.as_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b':' | b'_' => {
                    text.push(byte.into());
                }
                // Writing into a string does not fail.
                _ => drop(write!(text, "%{byte:02x}")),
            }
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let (byte, after) = match byte {
                b'%' => {
                    let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                    (u8::from_str_radix(digits, 16).ok()?, &after[2..])
                }
                _ => (byte, after),
            };
            bytes.push(byte);
            rest = after;
        }
        Some(OsString::from_vec(bytes))
    }
}

impl Value for String {
    fn text(&self) -> String {
        OsStr::new(self).to_os_string().text()
    }

    fn parse(text: &str) -> Option<Self> {
        OsString::parse(text)?.into_string().ok()
    }
}

impl<T: Value> Value for Option<T> {
    fn text(&self) -> String {
        self.as_ref().map_or("-".to_string(), T::text)
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "-" => Some(None),
            text => T::parse(text).map(Some),
        }
    }
}

/// What has gone by since then.
pub fn ago(then: Time, now: Time) -> Duration {
    now.saturating_sub(then)
}

/// What is left until then.
pub fn left(then: Time, now: Time) -> Duration {
    then.saturating_sub(now)
}

/// Adds a line for each of the records.
pub fn save<'a, T: Record + 'a>(text: &mut String, records: impl IntoIterator<Item = &'a T>) {
    for record in records {
        text.push_str(T::KIND);
        for (name, value) in record.fields() {
            for part in [" ", name, "=", &value] {
                text.push_str(part);
            }
        }
        text.push('\n');
    }
}

/// A line of the text.
pub struct Line<'a>(&'a str);

impl Line<'_> {
    pub fn field<T: Value>(&self, name: &str) -> Result<T, String> {
        let mut fields = self.0.split(' ').skip(1);
        let value = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value
            .and_then(T::parse)
            .ok_or_else(|| format!("{name} is not in the line {:?}", self.0))
    }
}

/// The records of one kind.
pub fn restore<T: Record>(text: &str) -> Result<Vec<T>, String> {
    let lines = text.lines();
    let ours = lines.filter(|line| line.split(' ').next() == Some(T::KIND));
    ours.map(|line| T::restore(&Line(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    record! { "thing" Thing {
        number: i32,
        name: OsString,
        time: Option<Duration>,
        on: bool,
    } }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let things = [
            Thing {
                number: -1,
                name: "a b=c%\n-".into(),
                time: None,
                on: true,
            },
            Thing {
                number: i32::MAX,
                name: OsString::from_vec((0..=255).collect()),
                time: Some(Duration::from_micros(1)),
                on: false,
            },
            Thing {
                number: 0,
                name: OsString::new(),
                time: Some(Duration::ZERO),
                on: false,
            },
        ];
        let mut text = "other number=1\n".to_string();
        save(&mut text, &things);
        assert_eq!(restore::<Thing>(&text).unwrap(), things);
        assert!(text.starts_with(
            "other number=1\nthing number=-1 name=a%20b%3dc%25%0a%2d time=- on=true\n"
        ));
    }

    #[test]
    fn a_million_nasty_records() {
        const WORDS: [&str; 14] = [
            "thing", " ", "=", "number", "name", "time", "on", "-", "%", "%4", "1", "true", "\n",
            "é",
        ];
        crate::nasty::million(&WORDS, |text| {
            let whole = format!("thing number=1 name={text} time=- on=true");
            for text in [text, whole.as_str()] {
                let Ok(things) = restore::<Thing>(text) else {
                    continue;
                };
                let mut again = String::new();
                save(&mut again, &things);
                assert_eq!(restore::<Thing>(&again).unwrap(), things, "{text:?}");
            }
        });
    }
}
