//! The system calls of tests and workers that std does not have.
#![allow(unsafe_code, reason = "std has no safe call for any of this")]

use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill touches no memory.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid} {signal}");
}

/// Signals a process that may have ended meanwhile.
pub fn kill_if_there(pid: i32, signal: i32) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(pid, signal) };
}

pub fn exists(pid: i32) -> bool {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(pid, 0) == 0 }
}

pub fn parent() -> i32 {
    // SAFETY: getppid touches no memory.
    unsafe { libc::getppid() }
}

/// The session of a process.
pub fn session(pid: i32) -> i32 {
    // SAFETY: getsid touches no memory.
    unsafe { libc::getsid(pid) }
}

/// Waits for a flock(2) on the file. `File::lock` needs a newer Rust.
#[cfg(target_os = "linux")]
pub fn lock(file: &std::fs::File, is_shared: bool) {
    let operation = if is_shared {
        libc::LOCK_SH
    } else {
        libc::LOCK_EX
    };
    // SAFETY: flock touches no memory.
    let result = unsafe { libc::flock(file.as_raw_fd(), operation) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Tells whether another process has an exclusive flock on the file.
pub fn is_locked(file: &std::fs::File) -> bool {
    let fd = std::os::fd::AsRawFd::as_raw_fd(file);
    // SAFETY: flock touches no memory.
    let result = unsafe { libc::flock(fd, libc::LOCK_SH | libc::LOCK_NB) };
    // SAFETY: flock touches no memory.
    unsafe { libc::flock(fd, libc::LOCK_UN) };
    result == -1
}

/// Ends this process at once, past the test harness.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit touches no memory.
    unsafe { libc::_exit(status) }
}

/// "default", "ignored" or "caught"; `None` if there is no such signal.
pub fn disposition(signal: i32) -> Option<&'static str> {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: action outlives the call.
    if unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) } == -1 {
        return None;
    }
    Some(match action.sa_sigaction {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "caught",
    })
}

pub fn set_disposition(signal: i32, disposition: libc::sighandler_t) {
    // SAFETY: every caller gives SIG_DFL, SIG_IGN or an async-signal-safe handler.
    unsafe { libc::signal(signal, disposition) };
}

/// The signals that this thread blocks.
pub fn blocked() -> Vec<i32> {
    // SAFETY: all zeroes is a valid sigset_t.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: set outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set) };
    // SAFETY: set is initialised.
    (1..=64)
        .filter(|&signal| unsafe { libc::sigismember(&set, signal) } == 1)
        .collect()
}

/// Blocks every signal in this thread and its children.
pub fn block_all() {
    // SAFETY: all zeroes is a valid sigset_t.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: set outlives the call.
    unsafe { libc::sigfillset(&mut set) };
    // SAFETY: set is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, null_mut()) };
}

/// Close-on-exec and the other flags of a descriptor; `None` if it is not open.
pub fn flags(fd: i32) -> Option<(bool, i32)> {
    // SAFETY: F_GETFD touches no memory.
    let descriptor = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    // SAFETY: F_GETFL touches no memory.
    let file = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    (descriptor != -1).then_some((descriptor & libc::FD_CLOEXEC != 0, file))
}

pub fn set_nonblocking(fd: i32) {
    // SAFETY: F_SETFL touches no memory.
    unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Makes a copy of a descriptor at another number.
pub fn duplicate(fd: i32, number: i32) {
    // SAFETY: dup2 touches no memory; the callers use numbers that nobody owns.
    assert_eq!(unsafe { libc::dup2(fd, number) }, number);
}

pub fn close(fd: i32) {
    // SAFETY: the callers close what nobody owns.
    unsafe { libc::close(fd) };
}

/// Writes to a descriptor that nobody owns; with nothing to write, closes it.
pub fn write_or_close(fd: i32, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        close(fd);
        return Ok(());
    }
    // SAFETY: bytes is readable for its length and outlives the call.
    match unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

pub fn is_root() -> bool {
    // SAFETY: geteuid touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Gives up all privileges, for good.
pub fn become_nobody() {
    const NOBODY: u32 = 65534;
    // SAFETY: no group is given, so none is read.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: setgid touches no memory.
    assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
    // SAFETY: setuid touches no memory.
    assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
}

pub fn set_umask(mask: u32) {
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Has the child make changes to itself before it becomes the program.
pub fn on_fork(command: &mut Command, change: impl Fn() + Send + Sync + 'static) {
    let change = move || {
        change();
        Ok(())
    };
    // SAFETY: the callers' closures do nothing but system calls.
    unsafe { command.pre_exec(change) };
}

/// An integer option of a socket; `None` if it is no socket.
pub fn option(fd: i32, level: i32, name: i32) -> Option<i32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value is an int of that length; both outlive the call.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    (result == 0).then_some(value)
}

/// The longest queue of a listening TCP socket; `None` if it is none, or the system does not tell.
#[cfg(target_os = "linux")]
pub fn backlog(fd: i32) -> Option<u32> {
    // SAFETY: all zeroes is a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: info has room for length bytes; both outlive the call.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut info).cast(), &mut length) };
    // 10 is TCP_LISTEN; there the kernel puts the limit into this field.
    (result == 0 && info.tcpi_state == 10).then_some(info.tcpi_sacked)
}

/// The address that a socket is bound to, as text.
pub fn address(fd: i32) -> String {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage has room for length bytes.
    unsafe { libc::getsockname(fd, (&raw mut storage).cast(), &mut length) };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in.
            let inet = unsafe { *(&raw const storage).cast::<libc::sockaddr_in>() };
            let host = Ipv4Addr::from(inet.sin_addr.s_addr.to_ne_bytes());
            SocketAddr::from((host, u16::from_be(inet.sin_port))).to_string()
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6.
            let inet = unsafe { *(&raw const storage).cast::<libc::sockaddr_in6>() };
            let host = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            SocketAddr::from((host, u16::from_be(inet.sin6_port))).to_string()
        }
        libc::AF_UNIX => "unix".to_string(),
        other => format!("family {other}"),
    }
}

/// Waits at most half a second for one of them to become readable; the first that is.
pub fn readable(fds: &[i32]) -> Option<i32> {
    let mut entries: Vec<_> = fds
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: entries is an array of that many pollfd.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 500) };
    entries
        .iter()
        .find(|entry| entry.revents != 0)
        .map(|entry| entry.fd)
}

/// Accepts a connection; `None` if another process was quicker.
pub fn accept(fd: i32) -> Option<i32> {
    // SAFETY: null says that the address is not wanted.
    let connection = unsafe { libc::accept(fd, null_mut(), null_mut()) };
    (connection >= 0).then_some(connection)
}

static NOTED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: write is async-signal-safe, and byte outlives the call.
    unsafe { libc::write(NOTED.load(SeqCst), (&raw const byte).cast(), 1) };
}

/// Catches signals: each writes its number, as a byte, into `writer`.
pub fn catch(signals: &[i32], writer: i32) {
    NOTED.store(writer, SeqCst);
    for &signal in signals {
        set_disposition(signal, note as *const () as libc::sighandler_t);
    }
}

pub fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: path is a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// A pipe, its reading end first. No child inherits it.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    #[cfg(target_os = "linux")]
    // SAFETY: ends is an array of two ints.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    #[cfg(not(target_os = "linux"))]
    // SAFETY: ends is an array of two ints.
    let result = unsafe { libc::pipe(ends.as_mut_ptr()) };
    assert_eq!(result, 0);
    owned(ends)
}

/// A terminal: the side of its user, and the side of its programs. No child inherits it.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    let [user, program] = &mut ends;
    // On Linux each end is made with its flag, since some other test may just be forking.
    #[cfg(target_os = "linux")]
    {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: posix_openpt touches no memory.
        *user = unsafe { libc::posix_openpt(flags) };
        // SAFETY: unlockpt touches no memory of ours.
        assert_eq!(unsafe { libc::unlockpt(*user) }, 0);
        // SAFETY: TIOCGPTPEER takes flags and touches no memory.
        *program = unsafe { libc::ioctl(*user, libc::TIOCGPTPEER, flags) };
        assert!(*program >= 0);
    }
    #[cfg(not(target_os = "linux"))]
    {
        // SAFETY: both are ints; null says that name and settings are not wanted.
        let result = unsafe { libc::openpty(user, program, null_mut(), null_mut(), null_mut()) };
        assert_eq!(result, 0);
    }
    owned(ends)
}

fn owned(ends: [i32; 2]) -> (OwnedFd, OwnedFd) {
    let [first, second] = ends.map(|fd| {
        // SAFETY: F_SETFD touches no memory.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: the system has just given it, and nobody else knows of it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    (first, second)
}

/// Does to a terminal as Ctrl-S and Ctrl-Q do: it takes no more output, or takes it again.
pub fn let_flow(terminal: &OwnedFd, flows: bool) {
    let action = if flows { libc::TCOON } else { libc::TCOOFF };
    // SAFETY: tcflow touches no memory.
    assert_eq!(unsafe { libc::tcflow(terminal.as_raw_fd(), action) }, 0);
}

/// Sets how many descriptors this process may have, as far as it may.
pub fn limit_descriptors(count: u64) {
    // SAFETY: all zeroes is a valid rlimit.
    let mut limit: libc::rlimit = unsafe { zeroed() };
    // SAFETY: limit outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max.min(count as libc::rlim_t);
    // SAFETY: limit is initialised.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}

/// Sets a limit of another process, and gives what it was.
#[cfg(target_os = "linux")]
pub fn limit_process(pid: i32, resource: libc::__rlimit_resource_t, value: u64) -> u64 {
    // SAFETY: all zeroes is a valid rlimit.
    let mut limit: libc::rlimit = unsafe { zeroed() };
    // SAFETY: limit outlives the call; null says that there is no new one.
    let result = unsafe { libc::prlimit(pid, resource, std::ptr::null(), &mut limit) };
    assert_eq!(result, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = value;
    // SAFETY: limit is initialised; null says that the old one is not wanted.
    let result = unsafe { libc::prlimit(pid, resource, &limit, null_mut()) };
    assert_eq!(result, 0);
    before
}

/// Takes from this process, from its next execve on, root's right to read and write whatever it likes. Without
/// such a right it changes nothing.
pub fn heed_permissions() {
    #[cfg(target_os = "linux")]
    for capability in [1, 2] {
        // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
        // SAFETY: prctl with these arguments touches no memory.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Becomes another program, which gets not even its own name as an argument. Its environment is one variable.
pub fn become_nameless(program: &CStr, variable: &CStr) {
    let arguments = [std::ptr::null()];
    let environment = [variable.as_ptr(), std::ptr::null()];
    // SAFETY: program is a C string, the others are arrays of C strings that end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
}

/// Shuts a socket down, for everybody who has it.
pub fn shut_down(fd: i32) {
    // SAFETY: shutdown touches no memory.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Makes this process the leader of a session of its own.
pub fn new_session() {
    // SAFETY: setsid touches no memory.
    unsafe { libc::setsid() };
}

/// Makes every fork of the command, once it runs, fail with EAGAIN.
#[cfg(target_os = "linux")]
pub fn refuse_fork(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let mut forks = vec![libc::SYS_clone, libc::SYS_clone3];
    #[cfg(target_arch = "x86_64")]
    forks.extend([libc::SYS_fork, libc::SYS_vfork]);
    // The number of the call is the first thing that a filter sees.
    let mut filter = vec![statement(
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        0,
    )];
    for (index, number) in forks.iter().enumerate() {
        let to_refusal = (forks.len() - index) as u8;
        filter.push(libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: to_refusal,
            jf: 0,
            k: *number as u32,
        });
    }
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    filter.push(statement(answer, libc::SECCOMP_RET_ALLOW));
    filter.push(statement(
        answer,
        libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32,
    ));
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: prctl with these arguments touches no memory.
        let prepared = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: program describes the filter, which outlives the call.
        let installed =
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
        match (prepared, installed) {
            (0, 0) => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only makes async-signal-safe calls on memory that it owns.
    unsafe { command.pre_exec(install) };
}

/// The clock that a service manager compares with MONOTONIC_USEC.
pub fn monotonic_micros() -> u64 {
    // SAFETY: all zeroes is a valid timespec.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: time outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// A copy at a high number, which nobody uses for anything else. No child inherits it.
pub fn copy_far_off(fd: &dyn AsFd) -> OwnedFd {
    const FAR: libc::c_int = 100;
    let number = fd.as_fd().as_raw_fd();
    // SAFETY: F_DUPFD_CLOEXEC touches no memory.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FAR) };
    assert!(copy >= FAR);
    // SAFETY: the system has just given it, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

/// The process that traces this one, if there is one.
#[cfg(target_os = "linux")]
pub fn tracer(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer
        .and_then(|pid| pid.trim().parse().ok())
        .filter(|&pid| pid > 0)
}
