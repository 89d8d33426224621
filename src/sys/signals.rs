//! Signals: one handler notes each signal below 32 and writes a byte into a pipe, which wakes poll.
//!
//! Every signal that would end the process is caught if it can be, so that no stray signal ends the service. execve
//! resets caught signals to their defaults, so the child need not reset any for its worker. If the handler runs in that
//! child between fork and execve, it restores the default and raises the signal again. This is cheaper than blocking
//! all signals around every fork, and loses no signal.
//!
//! Differences between systems:
//! - The signals and their numbers differ. Only the BSDs and macOS have SIGINFO (Ctrl-T) and SIGEMT, and only Linux has
//!   SIGSTKFLT. Real-time signals end at 64 on Linux, 63 on NetBSD, 74 on illumos, 126 on FreeBSD and DragonFly
//!   [signal(3), signal(7), signal.h(3HEAD)]. The program therefore tries every number.
//! - `sigaction` refuses with EINVAL the signals that the system's threads use: 32 on FreeBSD and OpenBSD, 36 on
//!   illumos, 32 to 34 with musl. The program leaves those alone.
//! - If the caller ignored SIGCHLD, the kernel itself reaps the children on every system. Catching SIGCHLD ends that.

use super::fd;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};

/// The signals that have come and were not drained yet: one bit for each number below 32.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// The writing end of the pipe.
static WAKE_WRITER: AtomicI32 = AtomicI32::new(-1);
/// The pid of the process that catches the signals, or 0 if none does. A forked child has another pid.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// These signals keep their default action. SIGKILL and SIGSTOP cannot be caught. The others stop or continue a
/// process, or are ignored.
const LEFT_ALONE: [libc::c_int; 8] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// The highest signal number that is caught. The systems other than Linux have different ones, up to this one.
const HIGHEST: libc::c_int = if cfg!(target_os = "linux") { 64 } else { 126 };

/// The signals of a fault in the program itself. The program survives those that kill(2) sends. After a real fault the
/// same instruction fails again as soon as the handler returns, so the signal comes without end.
const FAULTS: [libc::c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

/// The number of these signals since the last drain. After more than [`MOST_FAULTS`] of them the next one has its
/// default action, which ends the process with a core dump.
static FAULT_COUNT: AtomicU32 = AtomicU32::new(0);
const MOST_FAULTS: u32 = 300_000;

/// The caught signals, and the reading end of the pipe.
pub struct Signals {
    wake: OwnedFd,
}

/// The signals that came between two drains.
#[derive(Clone, Copy, Default)]
pub struct Received(u32);

impl Signals {
    /// Catches the signals for this process, and unblocks those that the caller may have blocked. Those in `also` are
    /// caught, too, even if they usually keep their default action.
    pub fn catch(also: &[libc::c_int]) -> io::Result<Signals> {
        let (wake, writer) = fd::pipe()?;
        // The lowest free numbers are for the sockets, which are bound later.
        let (wake, writer) = (fd::move_up(wake), fd::move_up(writer));
        // The handler must not wait. If the pipe is full, the loop has been woken already.
        fd::set_nonblocking(writer.as_fd())?;
        fd::set_nonblocking(wake.as_fd())?;
        // The descriptor is never closed, because the handler may run as long as the process lives.
        WAKE_WRITER.store(writer.into_raw_fd(), SeqCst);
        OWNER.store(super::process::id(), SeqCst);
        for signal in 1..=HIGHEST {
            if signal == libc::SIGPIPE {
                // Perl's start_server ignores it too. The workers inherit this, and one written in C may rely on it.
                set_action(signal, libc::SIG_IGN);
            } else if LEFT_ALONE.contains(&signal) && !also.contains(&signal) {
                set_action(signal, libc::SIG_DFL);
            } else {
                catch_signal(signal);
            }
        }
        let signals = Signals { wake };
        signals.unblock();
        Ok(signals)
    }

    /// Blocks all signals. Signals that have come and were not drained become pending again. If this process executes
    /// another program, that program gets them.
    pub fn hand_on(&self) {
        block();
        let received = Received(PENDING.swap(0, SeqCst));
        for signal in (1..32).filter(|&signal| received.has(signal)) {
            // The call cannot fail: the signal came before, so the system has it.
            let _ = super::process::signal(super::process::id(), signal);
        }
    }

    /// Catches the signals in this process, which was forked from the one that caught them. Signals that came before
    /// the fork and were not drained still count.
    pub fn take_over(&self) {
        OWNER.store(super::process::id(), SeqCst);
        self.unblock();
    }

    /// Lets every signal have its default action in this process, because a forked process catches them now.
    pub fn leave_to_child(&self) {
        OWNER.store(0, SeqCst);
        self.unblock();
    }

    /// Unblocks all signals. Those that are pending come at once.
    pub fn unblock(&self) {
        set_mask(libc::sigemptyset);
    }

    /// The descriptor that is readable when a signal has come.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Returns the signals that came since the last call.
    pub fn drain(&self) -> Received {
        let mut bytes = [0; 64];
        // The pipe is emptied first. A signal that comes after that makes the pipe readable again.
        while fd::read(self.wake.as_fd(), &mut bytes).is_ok_and(|count| count == bytes.len()) {}
        FAULT_COUNT.store(0, SeqCst);
        Received(PENDING.swap(0, SeqCst))
    }
}

impl Received {
    /// Whether this signal was among them. The kernel may merge several of the same number into one.
    pub fn has(self, signal: libc::c_int) -> bool {
        self.0 & 1 << signal != 0
    }
}

/// Blocks all signals. Those that come stay pending until they are unblocked.
pub fn block() {
    set_mask(libc::sigfillset);
}

/// Blocks the signals of the set that `fill` makes, and no others.
fn set_mask(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> libc::c_int) {
    // SAFETY: a sigset_t consists of integers, for which zeroes are valid.
    let mut signals: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: fill is sigfillset or sigemptyset, and signals is a sigset_t that outlives the call.
    unsafe { fill(&mut signals) };
    // SAFETY: signals is initialised and outlives the call, and the null pointer says that the old mask is not wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &signals, null_mut()) };
}

fn catch_signal(signal: libc::c_int) {
    set_action(signal, signal_handler as *const () as libc::sighandler_t);
}

/// Sets the action of a signal. It has no effect on numbers that this system lacks or keeps for its threads.
fn set_action(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: a sigaction consists of integers and nullable pointers, for which zeroes are valid.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler;
    // A worker that is stopped or continued need not wake the loop.
    action.sa_flags = libc::SA_NOCLDSTOP;
    // SIGALRM has to interrupt a write (see fd::write_briefly).
    if signal != libc::SIGALRM {
        action.sa_flags |= libc::SA_RESTART;
    }
    // SAFETY: action is initialised and outlives the call. Its handler is SIG_IGN, SIG_DFL or signal_handler, which
    // only makes async-signal-safe calls. The null pointer says that the old action is not wanted.
    unsafe { libc::sigaction(signal, &action, null_mut()) };
}

/// Runs between any two instructions of the program, so it only makes async-signal-safe calls and preserves errno.
extern "C" fn signal_handler(signal: libc::c_int) {
    // SAFETY: getpid is async-signal-safe and touches no memory.
    if unsafe { libc::getpid() } != OWNER.load(SeqCst) {
        // SAFETY: signal is async-signal-safe, and SIG_DFL runs no code of this program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise is async-signal-safe. The signal is blocked until this handler returns, and takes its default
        // action then.
        unsafe { libc::raise(signal) };
        return;
    }
    if FAULTS.contains(&signal) && FAULT_COUNT.fetch_add(1, SeqCst) > MOST_FAULTS {
        // SAFETY: signal is async-signal-safe, and SIG_DFL runs no code of this program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let Some(bit) = 1u32.checked_shl(signal as u32) else {
        return;
    };
    PENDING.fetch_or(bit, SeqCst);
    // SAFETY: the function has no precondition and returns the address of this thread's errno.
    let errno = unsafe { errno_location() };
    // SAFETY: errno is the address of an int of this thread.
    let saved = unsafe { *errno };
    // SAFETY: write is async-signal-safe, and the byte is static. If the pipe is full, poll wakes without this byte.
    unsafe { libc::write(WAKE_WRITER.load(SeqCst), b"!".as_ptr().cast(), 1) };
    // SAFETY: errno is the address of an int of this thread, and no other code refers to it during this handler.
    unsafe { *errno = saved };
}

#[cfg(any(target_os = "linux", target_os = "dragonfly"))]
use libc::__errno_location as errno_location;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use libc::__error as errno_location;

#[cfg(any(target_os = "openbsd", target_os = "netbsd"))]
use libc::__errno as errno_location;

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
use libc::___errno as errno_location;
