//! Signals: caught by one handler that notes them and writes a byte into a pipe, which wakes poll.
//!
//! Every signal that ends a process is caught, so that a stray one cannot end the service, and no handler
//! survives execve, so that a worker starts with defaults although the child resets nothing. A handler that
//! finds itself in that child, between fork and execve, restores the default and raises the signal again:
//! that is cheaper than to block all signals around every fork, and loses none.
//!
//! What differs:
//! - The numbers, and which there are: SIGINFO (Ctrl-T) and SIGEMT on the BSDs and macOS, SIGSTKFLT on Linux. Real-time
//!   ones end at 64 on Linux, at 63 on NetBSD, at 74 on illumos, at 126 on FreeBSD and DragonFly [signal(3), signal(7),
//!   signal.h(3HEAD)]. All are tried by number.
//! - `sigaction` refuses those that threads need with EINVAL: 32 on FreeBSD and OpenBSD, 36 on illumos, 32 to 34 with
//!   musl. They are passed over.
//! - SIG_IGN for SIGCHLD, as a caller may leave it, reaps by itself on every system: it is caught anew here.

use super::fd;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};

/// The signals that came and were not taken yet, a bit for each of the first 32.
static PENDING: AtomicU32 = AtomicU32::new(0);
static WAKE_WRITER: AtomicI32 = AtomicI32::new(-1);
static OWNER: AtomicI32 = AtomicI32::new(0);

/// They stop or continue a process, or are ignored by default: they keep their meaning.
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

/// The highest number that some system has.
const HIGHEST: libc::c_int = if cfg!(target_os = "linux") { 64 } else { 126 };

/// Sent by kill(2) they are survived once in a turn of the loop; a real fault comes again at once and ends
/// the process with a core, as it should.
const FAULTS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The caught signals, and the pipe that tells of them.
pub struct Signals {
    wake: OwnedFd,
}

/// The signals that came since the last look.
#[derive(Clone, Copy, Default)]
pub struct Received(u32);

impl Signals {
    /// Catches everything for this process, and unblocks what the caller may have blocked.
    pub fn catch() -> io::Result<Signals> {
        let (wake, writer) = fd::pipe()?;
        // A full pipe means that the loop is awake already: the handler must not wait for it.
        fd::set_nonblocking(writer.as_fd())?;
        fd::set_nonblocking(wake.as_fd())?;
        // The handler uses it for as long as the process lives.
        WAKE_WRITER.store(writer.into_raw_fd(), SeqCst);
        OWNER.store(super::process::id(), SeqCst);
        for signal in 1..=HIGHEST {
            let fault = if FAULTS.contains(&signal) {
                libc::SA_RESETHAND
            } else {
                0
            };
            if signal == libc::SIGPIPE {
                // Under Perl's start_server the worker inherits this, and one written in C may rely on it.
                set_action(signal, libc::SIG_IGN, 0);
            } else if LEFT_ALONE.contains(&signal) {
                set_action(signal, libc::SIG_DFL, 0);
            } else {
                set_action(
                    signal,
                    signal_handler as *const () as libc::sighandler_t,
                    fault,
                );
            }
        }
        let signals = Signals { wake };
        signals.unblock();
        Ok(signals)
    }

    /// Holds every signal back, those that came and were not taken too, even if this process becomes another program.
    pub fn block(&self) {
        // SAFETY: all zeroes is a valid sigset_t for sigfillset to fill.
        let mut all: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: all is a sigset_t that outlives the call.
        unsafe { libc::sigfillset(&mut all) };
        set_mask(&all);
        let received = Received(PENDING.swap(0, SeqCst));
        for signal in (1..32).filter(|&signal| received.has(signal)) {
            // It is one that this system has, since it came before.
            let _ = super::process::signal(super::process::id(), signal);
        }
    }

    /// Lets every signal come, those that were held back at once.
    pub fn unblock(&self) {
        // SAFETY: all zeroes is a valid sigset_t for sigemptyset to fill.
        let mut none: libc::sigset_t = unsafe { zeroed() };
        // SAFETY: none is a sigset_t that outlives the call.
        unsafe { libc::sigemptyset(&mut none) };
        set_mask(&none);
    }

    /// Readable when a signal has come.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Empties the pipe, then takes the signals: one that comes between the two makes the pipe readable again.
    pub fn drain(&self) -> Received {
        let mut bytes = [0; 64];
        while fd::read(self.wake.as_fd(), &mut bytes).is_ok_and(|count| count == bytes.len()) {}
        let received = Received(PENDING.swap(0, SeqCst));
        for signal in FAULTS {
            if received.has(signal) {
                set_action(
                    signal,
                    signal_handler as *const () as libc::sighandler_t,
                    libc::SA_RESETHAND,
                );
            }
        }
        received
    }
}

impl Received {
    /// Whether this signal was among them; several of one kind count as one.
    pub fn has(self, signal: libc::c_int) -> bool {
        self.0 & 1 << signal != 0
    }
}

fn set_mask(signals: &libc::sigset_t) {
    // SAFETY: signals is initialised; the old mask is not asked for. It fails only for a wrong first argument.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, signals, null_mut()) };
}

/// Numbers that this system does not have, or keeps for its own threads, are passed over.
fn set_action(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: all zeroes is a valid sigaction, with an empty mask.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler;
    // The alarm is there to interrupt a write.
    let restart = if signal == libc::SIGALRM {
        0
    } else {
        libc::SA_RESTART
    };
    // A worker that is stopped or continued is no news.
    action.sa_flags = flags | restart | libc::SA_NOCLDSTOP;
    // SAFETY: action is initialised, and its handler is async-signal-safe; the old one is not asked for.
    unsafe { libc::sigaction(signal, &action, null_mut()) };
}

extern "C" fn signal_handler(signal: libc::c_int) {
    // SAFETY: getpid is async-signal-safe, touches no memory and cannot fail.
    if unsafe { libc::getpid() } != OWNER.load(SeqCst) {
        // SAFETY: signal is async-signal-safe, and SIG_DFL runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise is async-signal-safe. The signal is blocked until this handler returns.
        unsafe { libc::raise(signal) };
        return;
    }
    let Some(bit) = 1u32.checked_shl(signal as u32) else {
        return;
    };
    PENDING.fetch_or(bit, SeqCst);
    // SAFETY: errno_location has no precondition and gives this thread's errno.
    let errno = unsafe { errno_location() };
    // SAFETY: errno is valid for reading.
    let saved = unsafe { *errno };
    // SAFETY: the byte is static, and write is async-signal-safe. When the pipe is full, poll wakes anyway.
    unsafe { libc::write(WAKE_WRITER.load(SeqCst), b"!".as_ptr().cast(), 1) };
    // SAFETY: errno is valid for writing; what this handler interrupted finds its own value again.
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
