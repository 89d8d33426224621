//! The text in which the state survives an upgrade: records of named fields, written and read again. Pure.
//!
//! Each line is one record: its kind, then `name=value` for each field. A byte that could have a meaning in the
//! line is written as `%XX`, and `-` means that a value is absent. A time is written as the microseconds that
//! have passed or are left, never as a moment, because the next program may read another clock.

use crate::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// One line of the text. [`record!`] defines one. Reading starts with the default and overwrites every field.
pub trait Record: Default {
    const KIND: &'static str;
    fn fields(&mut self) -> Vec<Field<'_>>;
}

/// The name of a field in the text, and its value for writing or reading.
pub type Field<'a> = (&'static str, &'a mut dyn Value);

/// Defines a struct that is a record. `field as "name"` gives a field another name in the text.
macro_rules! record {
    ($(#[$attribute:meta])* $kind:literal $type:ident {
        $($(#[$field_attribute:meta])* $field:ident $(as $name:literal)?: $field_type:ty,)*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $type { $($(#[$field_attribute])* pub $field: $field_type,)* }

        impl $crate::saved::Record for $type {
            const KIND: &'static str = $kind;

            fn fields(&mut self) -> Vec<$crate::saved::Field<'_>> {
                // The first of these names counts.
                vec![$(([$($name,)? stringify!($field)][0], &mut self.$field)),*]
            }
        }
    };
}
pub(crate) use record;

/// Defines an enum that can be the value of a field. Each variant has one word in the text, for writing and reading.
macro_rules! words {
    ($(#[$attribute:meta])* pub enum $type:ident {
        $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_attribute])* $variant,)* }

        impl $crate::saved::Value for $type {
            fn write(&self, text: &mut String) {
                *text += match self { $($type::$variant => $word,)* };
            }

            fn read(&mut self, text: &str) -> Option<()> {
                *self = match text { $($word => $type::$variant,)* _ => return None };
                Some(())
            }
        }
    };
}
pub(crate) use words;

/// A type that a field can have.
pub trait Value {
    fn write(&self, text: &mut String);
    /// Returns `None` if the text is not a value of this type.
    fn read(&mut self, text: &str) -> Option<()>;
    /// The text that stands for a field which is missing, because an older version wrote the line.
    fn if_missing(&self) -> Option<&'static str> {
        None
    }
}

/// Implements [`Value`] by `Display` and `FromStr`.
macro_rules! displayed {
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
displayed!(bool i32 u32 u64);

impl Value for Duration {
    fn write(&self, text: &mut String) {
        // A time of more than half a million years is cut to that.
        let microseconds = u64::try_from(self.as_micros());
        microseconds.unwrap_or(u64::MAX).write(text);
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
        let mut rest = text.bytes();
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        while let Some(byte) = rest.next() {
            bytes.push(if byte == b'%' {
                (digit(rest.next())? << 4 | digit(rest.next())?) as u8
            } else {
                byte
            });
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
        if text == "-" {
            return Some(());
        }
        self.insert(T::default()).read(text)
    }

    fn if_missing(&self) -> Option<&'static str> {
        Some("-")
    }
}

/// Appends one line for each record, and leaves the records as they are.
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

/// Reads all records of one kind.
pub fn restore<T: Record>(text: &str) -> Result<Vec<T>, Error> {
    let mut records = Vec::new();
    for line in text.lines() {
        if line.split(' ').next() == Some(T::KIND) {
            let mut record = T::default();
            read_line(T::KIND, line, record.fields())?;
            records.push(record);
        }
    }
    Ok(records)
}

fn read_line(kind: &str, line: &str, fields: Vec<Field>) -> Result<(), Error> {
    for (name, value) in fields {
        let mut texts = line.split(' ').skip(1);
        let text = texts.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let text = text.or(value.if_missing());
        if text.and_then(|text| value.read(text)).is_none() {
            let found = text.unwrap_or("the field is missing");
            return Err(Error::statement(format!(
                "the saved {kind} has no valid value for {name}: {found}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    words! { pub enum Colour {
        #[default]
        Red = "red",
        Green = "verde",
    } }

    record! { "thing" Thing {
        number: i32,
        name: OsString,
        time: Option<Duration>,
        is_on as "on": bool,
        colour: Colour,
    } }

    #[test]
    fn a_record_is_restored_as_it_was_saved() {
        let mut things = [
            Thing {
                number: -1,
                name: "a b=c%\n-".into(),
                time: None,
                is_on: true,
                colour: Colour::Red,
            },
            Thing {
                number: i32::MAX,
                name: OsString::from_vec((0..=255).collect()),
                time: Some(Duration::from_micros(1)),
                is_on: false,
                colour: Colour::Green,
            },
            Thing {
                number: 0,
                name: OsString::new(),
                time: Some(Duration::ZERO),
                is_on: false,
                colour: Colour::Red,
            },
        ];
        let mut text = "other number=1\n".to_string();
        save(&mut text, &mut things);
        assert_eq!(restore::<Thing>(&text).unwrap(), things);
        let expected =
            "other number=1\nthing number=-1 name=a%20b%3dc%25%0a%2d time=- on=true colour=red\n";
        assert_eq!(text[..expected.len()], *expected);
        assert!(text.contains(" colour=verde\n"), "{text}");
    }

    #[test]
    fn a_field_that_is_missing_or_invalid_is_refused_by_name() {
        let whole = "thing number=1 name=a time=- on=true colour=red\n";
        let thing = restore::<Thing>(whole);
        assert!(thing.is_ok());
        // An older version may not have had a field that can be absent.
        assert_eq!(restore::<Thing>(&whole.replace(" time=-", "")), thing);
        let table = [
            (
                "colour=red",
                "colour=blue",
                "the saved thing has no valid value for colour: blue",
            ),
            (
                "number=1",
                "number=one",
                "the saved thing has no valid value for number: one",
            ),
            (
                "name=a",
                "name=%4",
                "the saved thing has no valid value for name: %4",
            ),
            (
                "name=a",
                "name=%+4",
                "the saved thing has no valid value for name: %+4",
            ),
            (
                " on=true",
                " is_on=true",
                "the saved thing has no valid value for on: the field is missing",
            ),
        ];
        for (from, to, message) in table {
            let error = restore::<Thing>(&whole.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_million_random_records() {
        const WORDS: [&str; 14] = [
            "thing", " ", "=", "number", "name", "time", "on", "-", "%", "%4", "1", "true", "\n",
            "é",
        ];
        crate::fuzz::random_texts(&WORDS, |text| {
            let whole = format!("thing number=1 name={text} time=- on=true colour=red");
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
