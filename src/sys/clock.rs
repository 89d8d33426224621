//! The clock, which only goes forward.
//!
//! Whether it goes on while the machine is suspended differs: it does on macOS and OpenBSD, not on Linux
//! [clock_gettime(2), (3)]. A deadline that passed meanwhile is met at the next look either way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The seconds since 1970; 0 before.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that looks at the calendar"
)]
pub fn since_1970() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_secs())
}

/// The time since an arbitrary moment; it does not jump when the date is set.
pub fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: time is a timespec that outlives the call. CLOCK_MONOTONIC exists everywhere, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
