//! Stand-ins for the unwinder, of which a program that aborts on panic has no use.
//!
//! Rust's standard library has it find the frames of a panic and then looks up their names: in a stripped program
//! there are none, and what would read them is half of the executable. With an unwinder in sight that finds no
//! frames the compiler drops all of that. The message of a panic, with file and line, stays.

use std::ffi::c_void;

macro_rules! stand_ins {
    ($($name:ident)*) => { $(
        /// Never called: nothing is unwound. All arguments are passed over.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *mut c_void {
            std::ptr::null_mut()
        }
    )* };
}

/// Calls nobody, and has succeeded.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each_frame: *mut c_void, _data: *mut c_void) -> libc::c_int {
    0
}

// What else std's own handler for unwinding names, where the unwinder has them in the same object as the one above: it
// would bring in that object, and so a second `_Unwind_Backtrace`.
stand_ins! {
    _Unwind_GetIPInfo
    _Unwind_GetDataRelBase
    _Unwind_GetTextRelBase
    _Unwind_GetCFA
}

// The rest, so that nothing of the unwinder is linked at all. On ARM its other half is needed all the same: the tables
// that C's objects have there name it.
#[cfg(not(target_arch = "arm"))]
stand_ins! {
    _Unwind_GetIP
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_SetGR
    _Unwind_SetIP
}

/// What a function that was left early by a panic would call: none ever is.
#[cfg(not(target_arch = "arm"))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    std::process::abort()
}
