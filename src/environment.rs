//! The environment: what start_server inherited, its options on top of that, envdir on top of both.

use crate::envdir;
use crate::state::record;
use crate::sys::reason;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub struct Environment {
    /// Inherited variables and the options that stand for variables.
    base: Strings,
    envdir: Option<PathBuf>,
    /// What envdir said when it was read last.
    overlay: Strings,
}

/// Each variable as the string `NAME=value` that execve wants: put together once, and not at every restart.
type Strings = BTreeMap<OsString, CString>;

record! {
    "variable" Saved {
        name: OsString,
        value: OsString,
    }
}

impl Environment {
    /// What envdir said: it may be unreadable just when another program goes on.
    pub fn save(&self) -> Vec<Saved> {
        let variables = self.overlay.iter();
        variables
            .map(|(name, string)| Saved {
                name: name.clone(),
                value: value(name, string).into(),
            })
            .collect()
    }

    pub fn restore(&mut self, saved: &[Saved]) {
        for variable in saved {
            assign(&mut self.overlay, &variable.name, &variable.value);
        }
    }

    pub fn new(
        inherited: impl Iterator<Item = (OsString, OsString)>,
        options: &[(&str, OsString)],
    ) -> Environment {
        let mut base = Strings::new();
        for (name, value) in inherited {
            assign(&mut base, &name, &value);
        }
        for (name, value) in options {
            assign(&mut base, OsStr::new(name), value);
        }
        let mut environment = Environment {
            base,
            envdir: None,
            overlay: Strings::new(),
        };
        let envdir = environment.get("ENVDIR").filter(|dir| !dir.is_empty());
        environment.envdir = envdir.map(PathBuf::from);
        environment
    }

    /// Reads envdir again, and for the first time. `complain` is as for [`envdir::read`].
    pub fn refresh(&mut self, mut complain: impl FnMut(String)) {
        if let Some(dir) = &self.envdir {
            match envdir::read(dir, &mut complain) {
                Ok(variables) => {
                    self.overlay.clear();
                    for (name, value) in variables {
                        assign(&mut self.overlay, &name, &value);
                    }
                }
                // A worker without its variables would be worse than one with those of before.
                Err(error) => complain(format!(
                    "{}: {}; what it said before holds",
                    dir.display(),
                    reason(&error)
                )),
            }
        }
    }

    /// Whether `refresh` can find anything new.
    pub fn can_change(&self) -> bool {
        self.envdir.is_some()
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let name = OsStr::new(name);
        let string = self.overlay.get(name).or_else(|| self.base.get(name))?;
        Some(value(name, string))
    }

    /// The whole, with `ours` on top. It borrows: a restart writes to none of the pages that the strings lie in, which
    /// the kernel would have to copy after every fork.
    pub fn render<'a>(&'a self, ours: &[&'a CStr]) -> Vec<&'a CStr> {
        let is_ours = |name: &OsStr| ours.iter().any(|string| is_of(name, string));
        let base = self
            .base
            .iter()
            .filter(|(name, _)| !self.overlay.contains_key(*name));
        let theirs = base.chain(&self.overlay).filter(|(name, _)| !is_ours(name));
        let most = self.base.len() + self.overlay.len() + ours.len();
        let mut strings = Vec::with_capacity(most);
        strings.extend(theirs.map(|(_, string)| string.as_c_str()));
        strings.extend(ours);
        strings
    }
}

fn assign(strings: &mut Strings, name: &OsStr, value: &OsStr) {
    strings.insert(name.to_os_string(), string(name, value));
}

/// Neither can have a NUL in it: what we have inherited came as C strings, and envdir is refused one.
pub fn string(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> CString {
    let (name, value) = (name.as_ref(), value.as_ref());
    // With room for the NUL at the end.
    let mut text = Vec::with_capacity(name.len() + value.len() + 2);
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    CString::new(text).unwrap_or_default()
}

/// Whether a string is the variable of this name.
fn is_of(name: &OsStr, string: &CStr) -> bool {
    let value = string.to_bytes().strip_prefix(name.as_bytes());
    value.is_some_and(|rest| rest.starts_with(b"="))
}

fn value<'a>(name: &OsStr, string: &'a CStr) -> &'a OsStr {
    OsStr::from_bytes(&string.to_bytes()[name.len() + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envdir_covers_options_which_cover_what_was_inherited_and_ours_cover_all() {
        let pair = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let inherited = [
            ("A", "inherited"),
            ("KILL_OLD_DELAY", "1"),
            ("B", "b"),
            ("P", "p"),
        ]
        .map(pair);
        let mut environment =
            Environment::new(inherited.into_iter(), &[("KILL_OLD_DELAY", "2".into())]);
        for (name, value) in [("A", "envdir"), ("P", "envdir")].map(pair) {
            assign(&mut environment.overlay, &name, &value);
        }
        let rendered = environment.render(&[c"P=ours"]);
        let expected = [c"B=b", c"KILL_OLD_DELAY=2", c"A=envdir", c"P=ours"];
        assert_eq!(rendered, expected);
        assert_eq!(environment.get("A"), Some(OsStr::new("envdir")));
    }
}
