//! The environment: what start_server inherited, its options on top of that, envdir on top of both.

use crate::saved::record;
use crate::sys::reason;
use crate::variable::{self, assignment};
use crate::worker::envdir;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::PathBuf;

pub struct Environment {
    /// Inherited variables and the options that stand for variables, `NAME=value` each.
    base: Vec<Cow<'static, CStr>>,
    envdir: Option<PathBuf>,
    /// What envdir said when it was read last.
    overlay: Overlay,
}

/// Each variable's name, and the whole as execve wants it.
type Overlay = BTreeMap<OsString, CString>;

record! {
    "variable" SavedVariable {
        name: OsString,
        value: OsString,
    }
}

impl Environment {
    /// What envdir said: it may be unreadable just when another program goes on.
    pub fn save(&self) -> Vec<SavedVariable> {
        let variables = self.overlay.iter();
        variables
            .map(|(name, string)| SavedVariable {
                name: name.clone(),
                value: variable::value(string, name).unwrap_or_default().into(),
            })
            .collect()
    }

    pub fn restore(&mut self, saved: &[SavedVariable]) {
        for variable in saved {
            assign(&mut self.overlay, &variable.name, &variable.value);
        }
    }

    pub fn new(
        inherited: impl Iterator<Item = &'static CStr>,
        options: &[(&str, OsString)],
    ) -> Environment {
        let is_option = |string: &CStr| {
            options
                .iter()
                .any(|(name, _)| variable::value(string, name).is_some())
        };
        // A caller may hand over anything, but what has no = is no variable.
        let inherited = inherited.filter(|string| string.to_bytes().contains(&b'='));
        let inherited = inherited.filter(|string| !is_option(string));
        let options = options.iter().map(|(name, value)| assignment(name, value));
        let mut base = Vec::with_capacity(inherited.size_hint().1.unwrap_or(0) + options.len());
        base.extend(inherited.map(Cow::from).chain(options.map(Cow::from)));
        let mut environment = Environment {
            base,
            envdir: None,
            overlay: Overlay::new(),
        };
        let envdir = environment.get("ENVDIR").filter(|dir| !dir.is_empty());
        environment.envdir = envdir.map(PathBuf::from);
        environment
    }

    /// Reads envdir again, and for the first time. `warn` is as for [`envdir::read`].
    pub fn refresh(&mut self, mut warn: impl FnMut(String)) {
        if let Some(dir) = &self.envdir {
            match envdir::read(dir, &mut warn) {
                Ok(variables) => {
                    self.overlay.clear();
                    for (name, value) in variables {
                        assign(&mut self.overlay, &name, &value);
                    }
                }
                // A worker without its variables would be worse than one with those of before.
                Err(error) => warn(format!(
                    "{}: {}; keeping the values read before",
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
        let find = |string| variable::value(string, name);
        match self.overlay.get(OsStr::new(name)) {
            Some(string) => find(string),
            None => self.base.iter().find_map(|string| find(string)),
        }
    }

    /// The whole, with `ours` on top. It borrows: a restart writes to none of the pages that the strings lie in, which
    /// the kernel would have to copy after every fork.
    pub fn render<'a>(&'a self, ours: &'a [&'a CStr]) -> impl Iterator<Item = &'a CStr> {
        let names: Vec<_> = ours.iter().map(|string| variable::name(string)).collect();
        let is_ours = move |string: &CStr| names.contains(&variable::name(string));
        let base = self.base.iter().map(AsRef::as_ref);
        // Mostly there is none.
        let covers = !self.overlay.is_empty();
        let base = base
            .filter(move |string| !(covers && self.overlay.contains_key(variable::name(string))));
        let theirs = base.chain(self.overlay.values().map(CString::as_c_str));
        let theirs = theirs.filter(move |string| !is_ours(string));
        theirs.chain(ours.iter().copied())
    }
}

fn assign(overlay: &mut Overlay, name: &OsStr, value: &OsStr) {
    overlay.insert(name.to_os_string(), assignment(name, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envdir_covers_options_which_cover_what_was_inherited_and_ours_cover_all() {
        let pair = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let inherited = [
            c"A=inherited",
            c"KILL_OLD_DELAY=1",
            c"B=b",
            c"P=p",
            c"no variable",
            // Given twice: getenv(3) finds the first.
            c"B=again",
            c"KILL_OLD_DELAY=3",
        ];
        let mut environment =
            Environment::new(inherited.into_iter(), &[("KILL_OLD_DELAY", "2".into())]);
        for (name, value) in [("A", "envdir"), ("P", "envdir")].map(pair) {
            assign(&mut environment.overlay, &name, &value);
        }
        let rendered: Vec<_> = environment.render(&[c"P=ours"]).collect();
        let expected = [
            c"B=b",
            c"B=again",
            c"KILL_OLD_DELAY=2",
            c"A=envdir",
            c"P=ours",
        ];
        assert_eq!(rendered, expected);
        for (name, value) in [("A", "envdir"), ("B", "b"), ("KILL_OLD_DELAY", "2")] {
            assert_eq!(environment.get(name), Some(OsStr::new(value)));
        }
    }
}
