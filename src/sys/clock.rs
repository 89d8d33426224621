//! The time: a clock that only goes forward, and the calendar.
//!
//! Differences between systems:
//! - The clock goes on during a suspend on macOS and OpenBSD, and stands still on Linux [clock_gettime(2), (3)]. In
//!   both cases a deadline that has passed takes effect as soon as the program reads the clock again.
//! - `time_t` may have 32 bits on 32-bit Linux, which end in 2038.

use std::mem::zeroed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The seconds since 1970. It is 0 if the clock is set to an earlier time.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the time of day"
)]
pub fn since_1970() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_secs())
}

/// The time since an arbitrary moment. It does not jump when the date is set.
pub fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: time is a timespec that outlives the call. The call cannot fail, as every system has CLOCK_MONOTONIC.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Formats a time in seconds since 1970, such as `2009-05-27 18:05:12 UTC`.
pub fn format_utc(seconds: u64) -> String {
    // SAFETY: a tm consists of integers and, on some systems, of a pointer. Zeroes are valid for both.
    let mut date: libc::tm = unsafe { zeroed() };
    // The compiler finds the type of `time` from gmtime_r, as the name time_t is deprecated for musl.
    let is_known = seconds.try_into().is_ok_and(|time| {
        // SAFETY: time and date outlive the call, which does not keep their addresses.
        !unsafe { libc::gmtime_r(&time, &mut date) }.is_null()
    });
    if !is_known {
        return format!("{seconds} seconds after 1970");
    }
    format!(
        "{}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        date.tm_year + 1900,
        date.tm_mon + 1,
        date.tm_mday,
        date.tm_hour,
        date.tm_min,
        date.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::format_utc;

    #[test]
    fn dates() {
        // The expected lines are those of `date -u -d @SECONDS`.
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_243_447_512, "2009-05-27 18:05:12 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (u64::MAX, "18446744073709551615 seconds after 1970"),
        ];
        for (seconds, text) in table {
            assert_eq!(format_utc(seconds), text);
        }
    }
}
