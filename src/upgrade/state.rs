//! The saved state and its text.

use super::*;

/// The version of the text. A reader takes the one before it, too; `FIRST` is the only one so far.
const VERSION: u32 = FIRST;
const FIRST: u32 = 1;

/// All that the next program goes on with.
#[derive(Debug, PartialEq)]
pub struct State {
    pub origin: Origin,
    pub supervisor: supervisor::Saved,
    pub workers: Vec<SavedWorker>,
    pub starting: Option<Starting>,
    pub channels: Vec<readiness::SavedChannel>,
    pub listeners: Vec<sockets::SavedListener>,
    pub files: Vec<owned::Saved>,
    pub pid_file: Option<pid_file::Saved>,
    pub log: log::Saved,
    pub log_command: Option<log::SavedCommand>,
    pub service_manager: service_manager::Saved,
    pub messages: Vec<service_manager::SavedMessage>,
    pub variables: Vec<environment::SavedVariable>,
}

record! {
    "origin" Origin {
        /// Of the program that wrote this.
        version: String,
        /// Which upgrade this is.
        attempt: u64,
    }
}

record! {
    /// A worker that has not executed its program yet.
    "starting" Starting {
        pid: Pid,
        report: RawFd,
    }
}

impl State {
    pub(super) fn render(&mut self) -> String {
        let mut text = format!("start_server state {VERSION}\n");
        save(&mut text, from_mut(&mut self.origin));
        save(&mut text, from_mut(&mut self.supervisor));
        save(&mut text, &mut self.workers);
        save(&mut text, self.starting.as_mut_slice());
        save(&mut text, &mut self.channels);
        save(&mut text, &mut self.listeners);
        save(&mut text, &mut self.files);
        save(&mut text, self.pid_file.as_mut_slice());
        save(&mut text, from_mut(&mut self.log));
        save(&mut text, self.log_command.as_mut_slice());
        save(&mut text, from_mut(&mut self.service_manager));
        save(&mut text, &mut self.messages);
        save(&mut text, &mut self.variables);
        text += "end\n";
        text
    }

    /// The error is a sentence.
    pub(super) fn parse(text: &str) -> Result<State, String> {
        let body = text.strip_prefix("start_server state ");
        let (version, body) = body
            .and_then(|body| body.split_once('\n'))
            .ok_or("this is not a saved state")?;
        let known = FIRST..=VERSION;
        if !version
            .parse()
            .is_ok_and(|version| known.contains(&version))
        {
            return Err(format!("the saved state has the unknown version {version}"));
        }
        let body = body
            .strip_suffix("end\n")
            .ok_or("the saved state is cut off")?;
        Ok(State {
            origin: one(body)?,
            supervisor: one(body)?,
            workers: restore(body)?,
            starting: restore(body)?.pop(),
            channels: restore(body)?,
            listeners: restore(body)?,
            files: restore(body)?,
            pid_file: restore(body)?.pop(),
            log: one(body)?,
            log_command: restore(body)?.pop(),
            service_manager: one(body)?,
            messages: restore(body)?,
            variables: restore(body)?,
        })
    }

    /// What stays open.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let command = self.log_command.iter();
        let ends = command.flat_map(|command| [command.reader, command.output, command.error]);
        let listeners = self.listeners.iter().map(|listener| listener.fd);
        let channels = self.channels.iter().map(|channel| channel.fd);
        let starting = self.starting.iter().map(|starting| starting.report);
        let pid_file = self.pid_file.iter().map(|pid_file| pid_file.fd);
        let all = ends
            .chain(listeners)
            .chain(channels)
            .chain(starting)
            .chain(pid_file);
        all.collect()
    }
}

fn one<T: Record>(text: &str) -> Result<T, String> {
    let found = restore(text)?.pop();
    found.ok_or_else(|| format!("the saved state has no {} record", T::KIND))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each version that was released has written.
    const EXAMPLES: [&str; 1] = [include_str!("../../tests/upgrade/state-1")];

    #[test]
    fn the_states_of_every_version_that_counts_are_read() {
        for example in EXAMPLES {
            let mut state = State::parse(example).unwrap();
            let now = Time::from_secs(1000);
            Supervisor::restore(&state.supervisor, &state.workers, now).unwrap();
            assert_eq!(State::parse(&state.render()).as_ref(), Ok(&state));
        }
        let newest = EXAMPLES[EXAMPLES.len() - 1];
        assert_eq!(State::parse(newest).unwrap().render(), newest);
    }

    #[test]
    fn what_stays_open_is_all_that_has_a_number() {
        let mut open = State::parse(EXAMPLES[0]).unwrap().descriptors();
        open.sort();
        assert_eq!(open, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_state_of_another_version_and_one_that_is_cut_off_are_refused() {
        let whole = EXAMPLES[0];
        for version in ["0", "2", "", "1.0", "-1"] {
            let text = whole.replacen('1', version, 1);
            assert!(State::parse(&text).is_err(), "{version}");
        }
        for end in 0..whole.len() {
            assert!(State::parse(&whole[..end]).is_err(), "{end}");
        }
        for kind in ["origin", "supervisor", "log", "manager"] {
            let without = whole.replacen(&format!("\n{kind} "), "\nother ", 1);
            assert!(State::parse(&without).is_err(), "{kind}");
        }
    }
}
