//! The environment: what start_server inherited, its options on top of that, envdir on top of both.

use crate::envdir::{self, Variables};
use crate::state::record;
use crate::sys::reason;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

pub struct Environment {
    /// Inherited variables and the options that stand for variables.
    base: Variables,
    envdir: Option<PathBuf>,
    /// What envdir said when it was read last.
    overlay: Variables,
}

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
            .map(|(name, value)| Saved {
                name: name.clone(),
                value: value.clone(),
            })
            .collect()
    }

    pub fn restore(&mut self, saved: &[Saved]) {
        let pairs = saved.iter();
        let pairs = pairs.map(|variable| (variable.name.clone(), variable.value.clone()));
        self.overlay.extend(pairs);
    }

    pub fn new(
        inherited: impl Iterator<Item = (OsString, OsString)>,
        options: &[(&str, OsString)],
    ) -> Environment {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()));
        let mut base = Variables::new();
        base.extend(inherited.chain(options));
        let envdir = base
            .get(OsStr::new("ENVDIR"))
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        Environment {
            base,
            envdir,
            overlay: Variables::new(),
        }
    }

    /// Reads envdir again, and for the first time. `complain` is as for [`envdir::read`].
    pub fn refresh(&mut self, mut complain: impl FnMut(String)) {
        if let Some(dir) = &self.envdir {
            match envdir::read(dir, &mut complain) {
                Ok(variables) => self.overlay = variables,
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
        self.overlay
            .get(name)
            .or_else(|| self.base.get(name))
            .map(OsString::as_os_str)
    }

    /// The whole as `NAME=value` strings, with `ours` on top.
    pub fn render(&self, ours: &[(&str, OsString)]) -> Vec<CString> {
        let is_ours = |name: &OsStr| ours.iter().any(|(known, _)| OsStr::new(known) == name);
        let base = self
            .base
            .iter()
            .filter(|(name, _)| !self.overlay.contains_key(*name));
        let theirs = base.chain(&self.overlay).filter(|(name, _)| !is_ours(name));
        let mut strings: Vec<CString> = theirs
            .filter_map(|(name, value)| assign(name, value))
            .collect();
        strings.extend(
            ours.iter()
                .filter_map(|(name, value)| assign(OsStr::new(name), value)),
        );
        strings
    }
}

/// Neither the inherited environment nor envdir, as it is read, can have a NUL in it.
pub fn assign(name: &OsStr, value: &OsStr) -> Option<CString> {
    let mut text = OsString::with_capacity(name.len() + value.len() + 2);
    text.push(name);
    text.push("=");
    text.push(value);
    CString::new(text.into_vec()).ok()
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
        environment.overlay = [("A", "envdir"), ("P", "envdir")]
            .map(pair)
            .into_iter()
            .collect();
        let rendered = environment.render(&[("P", "ours".into())]);
        let expected = [c"B=b", c"KILL_OLD_DELAY=2", c"A=envdir", c"P=ours"];
        assert_eq!(rendered, expected.map(CString::from));
        assert_eq!(environment.get("A"), Some(OsStr::new("envdir")));
    }
}
