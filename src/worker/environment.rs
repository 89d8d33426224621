//! The environment of workers: inherited variables, the options that are also variables, and envdir. A later one of
//! these overrides an earlier one.

use crate::error::Reason;
use crate::saved::record;
use crate::variable::{self, assignment, has_same_name};
use crate::worker::envdir;
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::PathBuf;

pub struct Environment {
    /// The inherited variables, and the options that are also variables.
    base: Vec<Cow<'static, CStr>>,
    envdir: Option<PathBuf>,
    /// The variables that envdir held when it was last read. No name is there twice.
    overlay: Vec<CString>,
}

record! {
    "variable" SavedVariable {
        name: OsString,
        value: OsString,
    }
}

impl Environment {
    pub fn new(
        inherited: impl Iterator<Item = &'static CStr>,
        options: &[(&str, OsString)],
    ) -> Environment {
        let is_option = |name: &OsStr| options.iter().any(|(option, _)| name == *option);
        let mut base = Vec::with_capacity(inherited.size_hint().1.unwrap_or(0) + options.len());
        for string in inherited {
            // A caller can pass anything. A string without = is not a variable.
            if string.to_bytes().contains(&b'=') && !is_option(variable::name(string)) {
                base.push(Cow::from(string));
            }
        }
        base.extend((options.iter()).map(|(name, value)| assignment(name, value).into()));
        let mut environment = Environment {
            base,
            envdir: None,
            overlay: Vec::new(),
        };
        let envdir = environment.get("ENVDIR").filter(|dir| !dir.is_empty());
        environment.envdir = envdir.map(PathBuf::from);
        environment
    }

    /// Saves the variables of envdir, which may be unreadable when the next program starts.
    pub fn save(&self) -> Vec<SavedVariable> {
        let variables = self.overlay.iter().map(|string| {
            let name = variable::name(string);
            SavedVariable {
                name: name.into(),
                value: variable::value(string, name).unwrap_or_default().into(),
            }
        });
        variables.collect()
    }

    pub fn restore(&mut self, saved: &[SavedVariable]) {
        let variables = saved.iter();
        self.overlay = variables
            .map(|saved| assignment(&saved.name, &saved.value))
            .collect();
    }

    /// Reads envdir. `warnings` are as for [`envdir::read`].
    pub fn refresh(&mut self, warnings: &mut Vec<String>) {
        let Some(dir) = &self.envdir else {
            return;
        };
        match envdir::read(dir, warnings) {
            Ok(variables) => self.overlay = variables,
            // Old variables are better for a worker than none.
            Err(error) => {
                let (dir, reason) = (dir.display(), Reason::from(error));
                warnings.push(format!("{dir}: {reason}; keeping the values read before"));
            }
        }
    }

    /// Whether [`refresh`](Environment::refresh) can find anything new.
    pub fn can_change(&self) -> bool {
        self.envdir.is_some()
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let overlay = self.overlay.iter().map(CString::as_c_str);
        let mut all = overlay.chain(self.base.iter().map(AsRef::as_ref));
        all.find_map(|string| variable::value(string, name))
    }

    /// All variables, with `ours` on top.
    ///
    /// The strings are borrowed, so a restart writes to none of their pages. The kernel has to copy every page that is
    /// written to after a fork.
    pub fn render<'a>(&'a self, ours: &'a [&'a CStr]) -> impl Iterator<Item = &'a CStr> {
        let overlay = || self.overlay.iter().map(CString::as_c_str);
        let base = self.base.iter().map(AsRef::as_ref);
        base.filter(move |string| !overlay().any(|over| has_same_name(over, string)))
            .chain(overlay())
            .filter(move |string| !ours.iter().any(|our| has_same_name(our, string)))
            .chain(ours.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envdir_wins_over_options_over_inherited_variables_and_ours_over_all() {
        let inherited = [
            c"A=inherited",
            c"KILL_OLD_DELAY=1",
            c"B=b",
            c"P=p",
            c"no variable",
            // A name may occur twice: getenv(3) finds the first.
            c"B=again",
            c"KILL_OLD_DELAY=3",
        ];
        let mut environment =
            Environment::new(inherited.into_iter(), &[("KILL_OLD_DELAY", "2".into())]);
        environment.overlay = vec![c"A=envdir".into(), c"P=envdir".into()];
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
