//! Executing a program, in a child or in place of this process.

use super::{check, check_number, fd, file, group, inherit, process, retry};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::iter::once;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr::null;

/// Runs shell commands, and scripts that do not name an interpreter. Every system has it at this path.
pub const SHELL: &CStr = c"/bin/sh";

/// A program to execute, without its environment. It is prepared before the fork, because the child must not allocate
/// memory before execve.
#[derive(Default)]
pub struct Program {
    /// The paths at which to look for the program, in this order.
    pub candidates: Vec<CString>,
    /// The arguments, beginning with the program's own name.
    pub arguments: Vec<CString>,
    /// Whether an empty variable `LISTEN_PID=` is set to the pid of the child.
    pub listen_pid: bool,
    /// Whether the shell runs a file that the kernel cannot execute, as execvp(3) does.
    pub by_shell: bool,
    /// Whether the child leads a process group of its own, so that a signal to our group does not reach it.
    pub own_group: bool,
    /// The working directory of the child, if it differs from ours.
    pub dir: Option<CString>,
    pub descriptors: Vec<FdMapping>,
}

impl Program {
    fn arguments(&self) -> impl Iterator<Item = *const libc::c_char> + '_ {
        self.arguments.iter().map(|argument| argument.as_ptr())
    }
}

/// A descriptor that the child inherits. The `number` of one mapping must not be the `fd` of another one, since the
/// child places the descriptors one after another.
#[derive(Clone, Copy)]
pub struct FdMapping {
    pub fd: RawFd,
    /// The descriptor's number in the child.
    pub number: RawFd,
}

impl FdMapping {
    /// Gives the child these descriptors as 0, 1 and so on.
    pub fn in_order(descriptors: &[&OwnedFd]) -> Vec<FdMapping> {
        let numbered = descriptors.iter().map(|fd| fd.as_raw_fd()).zip(0..);
        let mappings = numbered.map(|(fd, number)| FdMapping { fd, number });
        mappings.collect()
    }
}

/// A forked child that has not executed its program yet.
pub struct ForkedChild {
    pub pid: libc::pid_t,
    /// Becomes readable when the child has executed its program or has failed to. [`read_report`] returns the failure.
    pub report: OwnedFd,
}

/// The reason why a child could not execute its program.
pub struct ExecFailure {
    pub step: ExecStep,
    pub error: io::Error,
}

/// The steps of a child between fork and execve.
#[derive(Clone, Copy)]
pub enum ExecStep {
    PlaceDescriptor = 0,
    EnterDir = 1,
    Execute = 2,
}

/// Forks a child that executes `program`, or ends with status 255. `environment` has strings like `NAME=value`.
pub fn spawn<'a>(
    program: &Program,
    environment: impl Iterator<Item = &'a CStr>,
) -> io::Result<ForkedChild> {
    let (report, writer) = fd::pipe()?;
    let descriptors = &program.descriptors;
    let is_taken = |number| descriptors.iter().any(|mapping| mapping.number == number);
    let writer = fd::move_off(writer, is_taken)?;
    // The shell gets all of these arguments, the program itself all but the first.
    let mut arguments = null_terminated(once(SHELL.as_ptr()).chain(program.arguments()));
    // The child writes its pid, of ten digits at most, over the zeroes. The last zero ends the string.
    let listen_pid = b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0".map(Cell::new);
    let variables = null_terminated(environment.map(|string| {
        if program.listen_pid && string == c"LISTEN_PID=" {
            listen_pid.as_ptr().cast()
        } else {
            string.as_ptr()
        }
    }));
    // A vfork would be faster, but it stops this process until the child has executed its program. With an NFS server
    // that does not answer, this can take for ever, and start_server must keep supervising its old worker.
    // SAFETY: this process has one thread, so no lock in the child's memory is held by a thread that the child lacks.
    // The child only makes async-signal-safe calls until it executes its program or ends.
    let pid = check_number(unsafe { libc::fork() })?;
    if program.own_group {
        // Both processes make this call, since either may run first. The second call changes nothing, or fails because
        // the child has executed its program.
        group::lead(pid);
    }
    if pid > 0 {
        return Ok(ForkedChild { pid, report });
    }
    if program.listen_pid {
        write_number(process::id(), &listen_pid["LISTEN_PID=".len()..]);
    }
    let failure = execute_in_child(program, &mut arguments, &variables);
    let _ = fd::write(writer.as_fd(), &failure);
    process::exit_now(255)
}

/// Reads the report of a child. It is `None` if the child has executed its program, or has exited without a report.
pub fn read_report(report: OwnedFd) -> Option<ExecFailure> {
    let mut failure = [0; size_of::<FailureReport>()];
    let count = fd::read(report.as_fd(), &mut failure).ok()?;
    let [step, errno @ ..] = failure;
    let step = [
        ExecStep::PlaceDescriptor,
        ExecStep::EnterDir,
        ExecStep::Execute,
    ]
    .into_iter()
    .find(|&known| known as u8 == step)?;
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    (count == failure.len()).then_some(ExecFailure { step, error })
}

/// The step that failed and its errno, as the child reports them.
type FailureReport = [u8; 5];

fn failure_report(step: ExecStep, error: &io::Error) -> FailureReport {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(0).to_ne_bytes();
    [step as u8, a, b, c, d]
}

/// Does everything in the child between fork and execve, and returns only if a step failed. The first of the arguments
/// is the shell.
fn execute_in_child(
    program: &Program,
    arguments: &mut [*const libc::c_char],
    environment: &[*const libc::c_char],
) -> FailureReport {
    for mapping in &program.descriptors {
        if let Err(error) = place_descriptor(mapping) {
            return failure_report(ExecStep::PlaceDescriptor, &error);
        }
    }
    if let Some(dir) = &program.dir {
        // SAFETY: dir is a C string that outlives the call.
        if let Err(error) = check(unsafe { libc::chdir(dir.as_ptr()) }) {
            return failure_report(ExecStep::EnterDir, &error);
        }
    }
    let mut denied = None;
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for path in &program.candidates {
        last = execute(path, &arguments[1..], environment);
        match last.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => continue,
            // A later folder of PATH may have an executable file. If none has, EACCES explains more than ENOENT.
            Some(libc::EACCES) => {
                denied = Some(libc::EACCES);
                continue;
            }
            Some(libc::ENOEXEC) if program.by_shell => {
                arguments[1] = path.as_ptr();
                last = execute(SHELL, arguments, environment);
            }
            Some(_) | None => {}
        }
        return failure_report(ExecStep::Execute, &last);
    }
    let error = denied.map_or(last, io::Error::from_raw_os_error);
    failure_report(ExecStep::Execute, &error)
}

/// Writes a pid, which is positive, in decimal.
fn write_number(pid: libc::pid_t, to: &[Cell<u8>]) {
    let mut rest = pid;
    for digit in to[..=pid.ilog10() as usize].iter().rev() {
        digit.set(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
}

/// Gives the child a descriptor at its number, without close-on-exec.
fn place_descriptor(mapping: &FdMapping) -> io::Result<()> {
    if mapping.fd == mapping.number {
        return inherit::set_close_on_exec(mapping.fd, false);
    }
    // SAFETY: dup2 touches no memory. It may close the child's copy of a descriptor of this program, but the child runs
    // no destructor that would close the number again.
    retry(|| check(unsafe { libc::dup2(mapping.fd, mapping.number) }))
}

fn execute(
    path: &CStr,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> io::Error {
    // SAFETY: path is a C string. The arrays come from null_terminated, and their callers keep the strings alive.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The array of strings that execve expects, which ends with a null pointer.
fn null_terminated(strings: impl Iterator<Item = *const libc::c_char>) -> Vec<*const libc::c_char> {
    let (least, most) = strings.size_hint();
    let mut array = Vec::with_capacity(most.unwrap_or(least) + 1);
    array.extend(strings);
    array.push(null());
    array
}

/// Replaces this process by `program`, which inherits the descriptors of these numbers. Returns only if that failed.
pub fn replace<'a>(
    program: &Program,
    environment: impl Iterator<Item = &'a CStr>,
    kept: &[RawFd],
) -> io::Error {
    let arguments = null_terminated(program.arguments());
    let environment = null_terminated(environment.map(CStr::as_ptr));
    let set_close_on_exec = |close| {
        for &number in kept {
            // The call cannot fail, as the number is open.
            let _ = inherit::set_close_on_exec(number, close);
        }
    };
    set_close_on_exec(false);
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for path in &program.candidates {
        last = execute(path, &arguments, &environment);
    }
    set_close_on_exec(true);
    last
}

/// Checks that there is a shell. The error is the reason why not.
pub fn check_shell() -> io::Result<()> {
    file::check_access(SHELL, libc::X_OK)
}
