//! The state of the daemon that survives an upgrade, and its text.
//!
//! The descriptors and the children stay in the process; the records only name their numbers.

use crate::error::Error;
use crate::files::details::SavedDetails;
use crate::files::owned::SavedFile;
use crate::files::pid_file::SavedPidFile;
use crate::log::command::SavedLogCommand;
use crate::log::lines::SavedLog;
use crate::saved::{self, record, Record};
use crate::service_manager::{SavedMessage, SavedServiceManager};
use crate::sockets::SavedListener;
use crate::supervisor::worker::Pid;
use crate::supervisor::{SavedSupervisor, SavedWorker};
use crate::worker::environment::SavedVariable;
use crate::worker::readiness::SavedChannel;
use std::fs::File;
use std::io::Read;
use std::os::fd::{OwnedFd, RawFd};
use std::slice::from_mut;

/// The version of the text. 0.1.0 wrote the first one.
const VERSION: u32 = 1;

const HEADING: &str = "start_server state ";

/// Defines the state: each field is one record, or an option or a list of records.
macro_rules! state {
    ($($field:ident: $type:ty,)*) => {
        #[derive(Debug, PartialEq)]
        pub struct SavedState { $(pub $field: $type,)* }

        impl SavedState {
            pub(super) fn render(&mut self) -> String {
                let mut text = format!("{HEADING}{VERSION}\n");
                $(self.$field.save(&mut text);)*
                text += "end\n";
                text
            }

            fn parse_records(text: &str) -> Result<SavedState, Error> {
                Ok(SavedState { $($field: Records::restore(text)?,)* })
            }
        }
    };
}

state! {
    origin: Origin,
    supervisor: SavedSupervisor,
    workers: Vec<SavedWorker>,
    starting: Option<Starting>,
    channels: Vec<SavedChannel>,
    listeners: Vec<SavedListener>,
    files: Vec<SavedFile>,
    pid_file: Option<SavedPidFile>,
    log: SavedLog,
    log_command: Option<SavedLogCommand>,
    service_manager: SavedServiceManager,
    messages: Vec<SavedMessage>,
    variables: Vec<SavedVariable>,
    details: Option<SavedDetails>,
}

record! {
    "origin" Origin {
        /// The version of the program that wrote the state.
        version: String,
        /// The number of this upgrade, counted from 1. Failed ones count too.
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

/// A field of the state.
trait Records: Sized {
    fn save(&mut self, text: &mut String);
    fn restore(text: &str) -> Result<Self, Error>;
}

impl<T: Record> Records for Vec<T> {
    fn save(&mut self, text: &mut String) {
        saved::save(text, self);
    }

    fn restore(text: &str) -> Result<Vec<T>, Error> {
        saved::restore(text)
    }
}

impl<T: Record> Records for Option<T> {
    fn save(&mut self, text: &mut String) {
        saved::save(text, self.as_mut_slice());
    }

    fn restore(text: &str) -> Result<Option<T>, Error> {
        Ok(saved::restore(text)?.pop())
    }
}

impl<T: Record> Records for T {
    fn save(&mut self, text: &mut String) {
        saved::save(text, from_mut(self));
    }

    fn restore(text: &str) -> Result<T, Error> {
        let record = saved::restore(text)?.pop();
        record.ok_or_else(|| Error::statement(format!("the saved state has no {} record", T::KIND)))
    }
}

impl SavedState {
    /// Reads the state to the end of a pipe.
    pub fn read(pipe: OwnedFd) -> Result<SavedState, Error> {
        let mut text = String::new();
        File::from(pipe)
            .read_to_string(&mut text)
            .map_err(|error| Error::action("read the state", "", error))?;
        SavedState::parse(&text)
    }

    fn parse(text: &str) -> Result<SavedState, Error> {
        let body = text.strip_prefix(HEADING);
        let (version, body) = body
            .and_then(|body| body.split_once('\n'))
            .ok_or(Error::statement("this is not a saved state"))?;
        if version != VERSION.to_string() {
            let text = format!("the saved state has the unknown version {version}");
            return Err(Error::statement(text));
        }
        let body = body
            .strip_suffix("end\n")
            .ok_or(Error::statement("the saved state is cut off"))?;
        SavedState::parse_records(body)
    }

    /// The numbers of the descriptors that the new program inherits.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = Vec::new();
        if let Some(command) = &self.log_command {
            all.extend([command.reader, command.output, command.error]);
        }
        all.extend(self.listeners.iter().map(|listener| listener.fd));
        all.extend(self.channels.iter().map(|channel| channel.fd));
        all.extend(self.starting.iter().map(|starting| starting.report));
        all.extend(self.pid_file.iter().map(|pid_file| pid_file.fd));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::policy::Time;
    use crate::supervisor::Supervisor;

    /// The text that 0.1.0 has written, and the text of this version.
    const EXAMPLES: [&str; 2] = [
        include_str!("../../tests/upgrade/state-1"),
        include_str!("../../tests/upgrade/state-1-with-details"),
    ];

    #[test]
    fn the_state_of_every_released_version_is_read() {
        for example in EXAMPLES {
            let mut state = SavedState::parse(example).unwrap();
            let now = Time::from_secs(1000);
            Supervisor::restore(&state.supervisor, &state.workers, now).unwrap();
            assert_eq!(SavedState::parse(&state.render()).as_ref(), Ok(&state));
        }
        let newest = EXAMPLES[EXAMPLES.len() - 1];
        assert_eq!(SavedState::parse(newest).unwrap().render(), newest);
    }

    #[test]
    fn every_descriptor_of_the_state_is_inherited() {
        let mut open = SavedState::parse(EXAMPLES[0]).unwrap().descriptors();
        open.sort();
        assert_eq!(open, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_state_of_another_version_and_one_that_is_cut_off_are_refused() {
        let whole = EXAMPLES[0];
        for version in ["0", "2", "", "1.0", "-1"] {
            let text = whole.replacen('1', version, 1);
            assert!(SavedState::parse(&text).is_err(), "{version}");
        }
        for end in 0..whole.len() {
            assert!(SavedState::parse(&whole[..end]).is_err(), "{end}");
        }
        for kind in ["origin", "supervisor", "log", "manager"] {
            let without = whole.replacen(&format!("\n{kind} "), "\nother ", 1);
            assert!(SavedState::parse(&without).is_err(), "{kind}");
        }
    }
}
