//! The clock, which only goes forward, and the date, for people.

use std::ffi::CStr;
use std::mem::zeroed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// A moment in the local time zone, such as `2009-05-27 18:05:12`.
pub fn date(moment: SystemTime) -> Option<String> {
    let seconds = moment.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let seconds = libc::time_t::try_from(seconds).ok()?;
    // SAFETY: all zeroes is a valid tm.
    let mut parts: libc::tm = unsafe { zeroed() };
    // SAFETY: both outlive the call.
    if unsafe { libc::localtime_r(&seconds, &mut parts) }.is_null() {
        return None;
    }
    let mut text = [0; 32];
    let format = c"%Y-%m-%d %H:%M:%S";
    // SAFETY: text has room for that many bytes, and is ended by a NUL unless the count is 0.
    let count = unsafe {
        libc::strftime(
            text.as_mut_ptr().cast(),
            text.len(),
            format.as_ptr(),
            &parts,
        )
    };
    let text = CStr::from_bytes_until_nul(&text).ok()?;
    (count > 0).then(|| text.to_string_lossy().into_owned())
}
