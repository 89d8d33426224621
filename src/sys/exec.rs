//! Executing a program: in a child, and in place of this one.

use super::{check, fd, process, retry};
use std::ffi::{CStr, CString};
use std::io;
use std::iter::once;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::ptr::null;

/// What runs a line of shell, or a script that does not name its interpreter: in the same place on every system.
pub const SHELL: &CStr = c"/bin/sh";

/// What a child is given beside its environment, prepared before the fork: between fork and execve nothing may be
/// allocated.
pub struct Program {
    /// Where the program may be, in the order of trying; not empty.
    pub candidates: Vec<CString>,
    /// With the program's own name as its first.
    pub arguments: Vec<CString>,
    /// Whether a variable `LISTEN_PID=` without a value is given the number of the child.
    pub listen_pid: bool,
    /// Whether a file that the kernel cannot execute is given to the shell, as execvp(3) does.
    pub by_shell: bool,
    pub dir: Option<CString>,
    pub descriptors: Vec<FdMapping>,
}

impl Program {
    fn arguments(&self) -> impl Iterator<Item = *const libc::c_char> + '_ {
        self.arguments.iter().map(|argument| argument.as_ptr())
    }
}

/// A descriptor that the child keeps. No `number` is the `fd` of another one, so that no order is wrong.
#[derive(Clone, Copy)]
pub struct FdMapping {
    pub fd: RawFd,
    /// Its number in the child.
    pub number: RawFd,
}

/// A forked child that has not executed its program yet.
pub struct ForkedChild {
    pub pid: libc::pid_t,
    /// Readable once the child has executed its program, or failed to: `read_report` tells.
    pub report: OwnedFd,
}

/// StartReason a child could not become its program.
pub struct ExecFailure {
    pub step: ExecStep,
    pub error: io::Error,
}

#[derive(Clone, Copy)]
pub enum ExecStep {
    /// Putting the descriptor at its number.
    PlaceDescriptor = 0,
    /// Entering the working directory.
    EnterDir = 1,
    /// Executing the program.
    Execute = 2,
}

/// Forks a child that becomes `program`, or ends with status 255. `environment` is `NAME=value` each.
pub fn spawn<'a>(
    program: &Program,
    environment: impl Iterator<Item = &'a CStr>,
) -> io::Result<ForkedChild> {
    let (report, writer) = fd::pipe()?;
    let writer = fd::move_off(writer, |number| {
        program
            .descriptors
            .iter()
            .any(|given| given.number == number)
    })?;
    // A script without #! is run with all of these, anything else without the first.
    let mut arguments = null_terminated(once(SHELL.as_ptr()).chain(program.arguments()));
    // Digits, and the NUL behind them, are for the child to write.
    let mut listen_pid = *b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0";
    let with_digits = listen_pid.as_mut_ptr();
    let variables = null_terminated(environment.map(|string| {
        match program.listen_pid && string == c"LISTEN_PID=" {
            true => with_digits.cast_const().cast(),
            false => string.as_ptr(),
        }
    }));
    // A vfork would be quicker, but deaf for as long as the file system that holds the program or the folder does not
    // answer: a server of NFS that is gone must not take the worker along that still serves.
    // SAFETY: this process has one thread, so the child is whole, and it only makes async-signal-safe calls.
    let pid = check(unsafe { libc::fork() })?;
    if pid > 0 {
        return Ok(ForkedChild { pid, report });
    }
    if program.listen_pid {
        write_number(
            process::id(),
            with_digits.wrapping_add(b"LISTEN_PID=".len()),
        );
    }
    let failure = become_program(program, &mut arguments, &variables);
    let _ = fd::write(writer.as_fd(), &failure);
    process::exit_now(255)
}

/// Reads the report of a child: `None` if it has executed its program, or died without a word.
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
    (count == failure.len()).then(|| ExecFailure {
        step,
        error: io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
    })
}

/// A step and its errno, as the child reports them.
type FailureReport = [u8; 5];

/// The child's way from fork to execve. It comes back only when that failed. The first argument is the shell.
fn become_program(
    program: &Program,
    arguments: &mut [*const libc::c_char],
    environment: &[*const libc::c_char],
) -> FailureReport {
    for given in &program.descriptors {
        if let Err(error) = place_descriptor(given) {
            return failure_report(ExecStep::PlaceDescriptor, &error);
        }
    }
    if let Some(dir) = &program.dir {
        // SAFETY: dir is a C string.
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
            // Another folder of PATH may have one that we may run; if none has, this is the better reason.
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
    failure_report(
        ExecStep::Execute,
        &denied.map_or(last, io::Error::from_raw_os_error),
    )
}

/// Writes a positive number of at most ten digits.
fn write_number(number: libc::pid_t, digits: *mut u8) {
    let mut divisor = 1;
    while number / divisor >= 10 {
        divisor *= 10;
    }
    let mut at = digits;
    while divisor > 0 {
        // SAFETY: a pid_t has ten digits at the most, for which there is room.
        unsafe { at.write(b'0' + (number / divisor % 10) as u8) };
        at = at.wrapping_add(1);
        divisor /= 10;
    }
}

fn place_descriptor(given: &FdMapping) -> io::Result<()> {
    if given.fd == given.number {
        // SAFETY: F_SETFD takes an integer and touches no memory.
        check(unsafe { libc::fcntl(given.fd, libc::F_SETFD, 0) })?;
    } else {
        // SAFETY: dup2 touches no memory. What it closes is the child's copy of something it is not to have.
        retry(|| check(unsafe { libc::dup2(given.fd, given.number) }))?;
    }
    Ok(())
}

fn execute(
    path: &CStr,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> io::Error {
    // SAFETY: path is a C string, the others are arrays of C strings that end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn failure_report(step: ExecStep, error: &io::Error) -> FailureReport {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(0).to_ne_bytes();
    [step as u8, a, b, c, d]
}

/// The array that execve wants: ended by a null pointer.
fn null_terminated(strings: impl Iterator<Item = *const libc::c_char>) -> Vec<*const libc::c_char> {
    let (least, most) = strings.size_hint();
    let mut array = Vec::with_capacity(most.unwrap_or(least) + 1);
    array.extend(strings);
    array.push(null());
    array
}

/// Becomes `program`, which inherits the descriptors of these numbers. It comes back only when that failed.
pub fn replace<'a>(
    program: &Program,
    environment: impl Iterator<Item = &'a CStr>,
    kept: &[RawFd],
) -> io::Error {
    let arguments = null_terminated(program.arguments());
    let environment = null_terminated(environment.map(CStr::as_ptr));
    let set = |flags: libc::c_int| {
        for &number in kept {
            // SAFETY: F_SETFD takes an integer and touches no memory; it cannot fail for a number that is open.
            unsafe { libc::fcntl(number, libc::F_SETFD, flags) };
        }
    };
    set(0);
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for path in &program.candidates {
        last = execute(path, &arguments, &environment);
    }
    set(libc::FD_CLOEXEC);
    last
}

/// Whether there is a shell; if not, the error says why.
pub fn check_shell() -> io::Result<()> {
    // SAFETY: SHELL is a C string.
    check(unsafe { libc::access(SHELL.as_ptr(), libc::X_OK) })?;
    Ok(())
}
