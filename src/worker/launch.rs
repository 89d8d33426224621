//! Starting a worker with its program, arguments, environment, working directory and descriptors.

use crate::error::Error;
use crate::supervisor::policy::KillMode;
use crate::supervisor::worker::Generation;
use crate::sys::exec::{self, ExecFailure, ExecStep, FdMapping, ForkedChild, Program};
use crate::variable::assignment;
use crate::worker::environment::Environment;
use crate::worker::readiness::{ReadyChannel, ReadyConfig, WorkerEnd};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Starts workers of one program. Only their environments and readiness channels differ.
pub struct Launcher {
    program: Program,
    name: OsString,
    /// The variables that describe the sockets.
    sockets: Vec<CString>,
    ready: ReadyConfig,
}

impl Launcher {
    /// `command` is the program and its arguments. `sockets` are the variables that describe the `descriptors`.
    pub fn new(
        command: &[OsString],
        dir: Option<&Path>,
        sockets: Vec<CString>,
        descriptors: Vec<FdMapping>,
        ready: ReadyConfig,
        kill_mode: KillMode,
    ) -> Launcher {
        let program = Program {
            arguments: command.iter().map(|word| c_string(word)).collect(),
            listen_pid: sockets
                .iter()
                .any(|variable| variable.as_c_str() == c"LISTEN_PID="),
            by_shell: true,
            own_group: kill_mode != KillMode::Process,
            dir: dir.map(|dir| c_string(dir.as_os_str())),
            descriptors,
            ..Program::default()
        };
        Launcher {
            program,
            name: command[0].clone(),
            sockets,
            ready,
        }
    }

    /// Returns a forked worker, and the channel on which it will report that it is ready.
    pub fn start(
        &mut self,
        generation: Generation,
        environment: &Environment,
    ) -> Result<(ForkedChild, Option<ReadyChannel>), Error> {
        let generation = assignment("SERVER_STARTER_GENERATION", generation.to_string());
        let program = &mut self.program;
        let sockets = program.descriptors.len();
        let opened = self.ready.open(&program.descriptors, environment)?;
        // Our copy of the worker's end of a pipe is closed when this function returns.
        let (channel, worker_end) = opened.unzip();
        let end = worker_end.as_ref();
        let handover = end.and_then(WorkerEnd::handover);
        program.descriptors.extend(handover);
        program.candidates = candidates(&self.name, environment.get("PATH"));
        let ours: Vec<&CStr> = (self.sockets.iter())
            .chain([&generation])
            .chain(end.map(|end| &end.variable))
            .map(CString::as_c_str)
            .collect();
        let spawned = exec::spawn(program, environment.render(&ours));
        program.descriptors.truncate(sockets);
        match spawned {
            Ok(child) => Ok((child, channel)),
            Err(error) => Err(Error::action("fork a new worker", "", error)),
        }
    }

    /// Explains why a child could not become the worker.
    pub fn explain(&self, failure: ExecFailure) -> Error {
        let error = failure.error;
        match failure.step {
            ExecStep::PlaceDescriptor => Error::action("hand over a socket", "", error),
            ExecStep::EnterDir => {
                let dir = self.program.dir.as_deref().unwrap_or_default();
                let option = format!("--dir={}", dir.to_string_lossy());
                Error::action("enter", option, error)
            }
            ExecStep::Execute => Error::action("execute", &self.name, error),
        }
    }
}

/// The paths at which execvp(3) looks for a program. A name that contains a slash is a path itself. Any other name is
/// looked up in `PATH`, where an empty element is the working directory.
pub fn candidates(name: &OsStr, path: Option<&OsStr>) -> Vec<CString> {
    let name = name.as_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![c_string(OsStr::from_bytes(name))];
    }
    let path = path.map_or(&b"/bin:/usr/bin"[..], OsStr::as_bytes);
    let in_dir = |dir: &[u8]| {
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        c_string(&OsString::from_vec([dir, slash, name].concat()))
    };
    path.split(|&byte| byte == b':').map(in_dir).collect()
}

/// The caller makes sure that the text contains no NUL: arguments and variables reach us as C strings.
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
