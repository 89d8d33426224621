//! The text in which state outlives the program: records of named fields, to text and back. Pure.
//!
//! Each line is a record: its kind, then `name=value` for each field. Bytes of a value that could be taken for
//! anything else are written `%XX`, and `-` is the value of what is not there. A time is what has gone by or what is
//! left, in microseconds, never a moment: the next program may count from another one.

use crate::supervisor::policy::Time;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// What a line of the text stands for. [`record!`] makes one.
pub trait Record: Default {
    const KIND: &'static str;
    fn fields(&mut self) -> Vec<Field<'_>>;
}

/// Its name, and what is to be written or read.
pub type Field<'a> = (&'static str, &'a mut dyn Value);

/// Defines a struct that is a record.
macro_rules! record {
    ($(#[$about:meta])* $kind:literal $name:ident { $($(#[$what:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$what])* pub $field: $type,)* }

        impl $crate::saved::Record for $name {
            const KIND: &'static str = $kind;

            fn fields(&mut self) -> Vec<$crate::saved::Field<'_>> {
                vec![$((stringify!($field), &mut self.$field)),*]
            }
        }
    };
}
pub(crate) use record;

/// What a field can hold.
pub trait Value {
    fn write(&self, text: &mut String);
    /// `None` if the text is none of these.
    fn read(&mut self, text: &str) -> Option<()>;
}

macro_rules! as_displayed {
    ($($type:ty)*) => { $(
        impl Value for $type {
            fn write(&self, text: &mut String) {
                *text += &self.to_string();
            }

            fn read(&mut self, text: &str) -> Option<()> {
                *self = text.parse().ok()?;
                Some(())
            }
        }
    )* };
}
as_displayed!(bool i32 u32 u64);

impl Value for Duration {
    fn write(&self, text: &mut String) {
        // More than half a million years are as good as that.
        u64::try_from(self.as_micros())
            .unwrap_or(u64::MAX)
            .write(text);
    }

    fn read(&mut self, text: &str) -> Option<()> {
        *self = Duration::from_micros(text.parse().ok()?);
        Some(())
    }
}

impl Value for OsString {
    fn write(&self, text: &mut String) {
        for &byte in self.as_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b':' | b'_' => {
                    text.push(byte.into());
                }
                _ => *text += &format!("%{byte:02x}"),
            }
        }
    }

    fn read(&mut self, text: &str) -> Option<()> {
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
        *self = OsString::from_vec(bytes);
        Some(())
    }
}

impl Value for String {
    fn write(&self, text: &mut String) {
        OsString::from(self).write(text);
    }

    fn read(&mut self, text: &str) -> Option<()> {
        let mut read = OsString::new();
        read.read(text)?;
        *self = read.into_string().ok()?;
        Some(())
    }
}

impl<T: Value + Default> Value for Option<T> {
    fn write(&self, text: &mut String) {
        match self {
            Some(value) => value.write(text),
            None => text.push('-'),
        }
    }

    fn read(&mut self, text: &str) -> Option<()> {
        *self = None;
        match text {
            "-" => Some(()),
            text => self.insert(T::default()).read(text),
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

/// Adds a line for each of the records, which are only looked at.
pub fn save<T: Record>(text: &mut String, records: &mut [T]) {
    for record in records {
        write_line(text, T::KIND, &record.fields());
    }
}

fn write_line(text: &mut String, kind: &str, fields: &[Field]) {
    *text += kind;
    for (name, value) in fields {
        text.push(' ');
        *text += name;
        text.push('=');
        value.write(text);
    }
    text.push('\n');
}

/// The records of one kind. The error is a sentence.
pub fn restore<T: Record>(text: &str) -> Result<Vec<T>, String> {
    let mut records = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.split(' ').next() == Some(T::KIND))
    {
        let mut record = T::default();
        read_line(line, record.fields())?;
        records.push(record);
    }
    Ok(records)
}

fn read_line(line: &str, fields: Vec<Field>) -> Result<(), String> {
    for (name, value) in fields {
        let mut found = line.split(' ').skip(1);
        let found = found.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        if found.and_then(|text| value.read(text)).is_none() {
            return Err(format!("{name} is not in the line {line}"));
        }
    }
    Ok(())
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
        let mut things = [
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
        save(&mut text, &mut things);
        assert_eq!(restore::<Thing>(&text).unwrap(), things);
        assert!(text.starts_with(
            "other number=1\nthing number=-1 name=a%20b%3dc%25%0a%2d time=- on=true\n"
        ));
    }

    #[test]
    fn a_million_random_records() {
        const WORDS: [&str; 14] = [
            "thing", " ", "=", "number", "name", "time", "on", "-", "%", "%4", "1", "true", "\n",
            "é",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            let whole = format!("thing number=1 name={text} time=- on=true");
            for text in [text, whole.as_str()] {
                let Ok(mut things) = restore::<Thing>(text) else {
                    continue;
                };
                let mut again = String::new();
                save(&mut again, &mut things);
                assert_eq!(restore::<Thing>(&again).unwrap(), things, "{text:?}");
            }
        });
    }
}
