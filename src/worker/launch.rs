//! What one worker is given: program, arguments, environment, working directory, descriptors.

use crate::sockets::Listeners;
use crate::supervisor::worker::Generation;
use crate::sys::exec::{self, ExecFailure, ExecStep, ForkedChild, Program};
use crate::sys::reason;
use crate::worker::environment::{self, Environment};
use crate::worker::readiness::{Channel, Channels};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Starts workers that differ in their environment only.
pub struct Launcher {
    program: Program,
    name: OsString,
    /// The variables that tell of the sockets.
    sockets: Vec<CString>,
    channels: Channels,
}

/// A worker that was forked, and how it will say that it is ready.
pub struct Started {
    pub forked: ForkedChild,
    pub channel: Option<Channel>,
}

impl Launcher {
    /// `command` is the program and its arguments.
    pub fn new(
        command: &[OsString],
        dir: Option<&Path>,
        listeners: &Listeners,
        channels: Channels,
    ) -> Launcher {
        let program = Program {
            candidates: Vec::new(),
            arguments: command.iter().map(|word| c_string(word)).collect(),
            listen_pid: listeners.listen_fds,
            by_shell: true,
            dir: dir.map(|dir| c_string(dir.as_os_str())),
            descriptors: listeners.handovers(),
        };
        Launcher {
            program,
            name: command[0].clone(),
            sockets: listeners.variables(),
            channels,
        }
    }

    /// The error is a line.
    pub fn start(
        &mut self,
        generation: Generation,
        environment: &Environment,
    ) -> Result<Started, String> {
        let generation = environment::string("SERVER_STARTER_GENERATION", generation.to_string());
        let program = &mut self.program;
        let sockets = program.descriptors.len();
        let taken = |number| {
            program
                .descriptors
                .iter()
                .any(|given| given.number == number)
        };
        let channel = self.channels.open(taken);
        let channel = channel.map_err(|error| self.channels.explain(&error))?;
        // The worker's end of a pipe is closed here at the end of the function.
        let (channel, offer) = channel.unzip();
        let offer = offer.as_ref();
        program
            .descriptors
            .extend(offer.and_then(|offer| offer.handover));
        program.candidates = candidates(&self.name, environment.get("PATH"));
        let ours = self
            .sockets
            .iter()
            .chain([&generation])
            .chain(offer.map(|offer| &offer.variable));
        let ours: Vec<&CStr> = ours.map(CString::as_c_str).collect();
        let forked = exec::spawn(program, environment.render(&ours));
        program.descriptors.truncate(sockets);
        let forked =
            forked.map_err(|error| format!("cannot fork a new worker: {}", reason(&error)))?;
        Ok(Started { forked, channel })
    }

    /// Says why a child could not become the worker.
    pub fn explain(&self, failure: &ExecFailure) -> String {
        let reason = reason(&failure.error);
        match failure.step {
            ExecStep::PlaceDescriptor => format!("cannot hand over a socket: {reason}"),
            ExecStep::EnterDir => {
                let dir = self.program.dir.as_deref().unwrap_or_default();
                format!("cannot enter --dir={}: {reason}", dir.to_string_lossy())
            }
            ExecStep::Execute => {
                format!("cannot execute {}: {reason}", self.name.to_string_lossy())
            }
        }
    }
}

/// Where a program may be, as execvp(3) looks: a name with a slash is a path, any other is sought in `PATH`,
/// in which an empty element is the working directory.
pub fn candidates(name: &OsStr, path: Option<&OsStr>) -> Vec<CString> {
    if name.as_bytes().contains(&b'/') {
        return vec![c_string(name)];
    }
    let path = path.map_or(&b"/bin:/usr/bin"[..], OsStr::as_bytes);
    let beside = |dir: &[u8]| {
        let mut file = dir.to_vec();
        if !dir.is_empty() {
            file.push(b'/');
        }
        file.extend_from_slice(name.as_bytes());
        c_string(&OsString::from_vec(file))
    };
    match name.is_empty() {
        true => Vec::new(),
        false => path.split(|&byte| byte == b':').map(beside).collect(),
    }
}

/// Neither arguments nor variables can have a NUL in them: they came to us as C strings.
pub fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_sought_as_execvp_does() {
        let table: [(&str, Option<&str>, &[&str]); 8] = [
            ("ls", Some("/a:/b"), &["/a/ls", "/b/ls"]),
            ("ls", Some("/a"), &["/a/ls"]),
            ("ls", Some(""), &["ls"]),
            ("ls", Some(":/b:"), &["ls", "/b/ls", "ls"]),
            ("ls", None, &["/bin/ls", "/usr/bin/ls"]),
            ("./ls", Some("/a"), &["./ls"]),
            ("/bin/ls", None, &["/bin/ls"]),
            ("", Some("/a"), &[]),
        ];
        for (name, path, expected) in table {
            let found = candidates(OsStr::new(name), path.map(OsStr::new));
            let found: Vec<&str> = found.iter().map(|file| file.to_str().unwrap()).collect();
            assert_eq!(found, expected, "{name:?} in {path:?}");
        }
    }
}
