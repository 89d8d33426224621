//! Stand-ins for the functions of the unwinder. A program that aborts on panic never unwinds.
//!
//! On a panic the standard library walks the stack with the unwinder and looks up the names of the functions. A
//! stripped program has no names. These stand-ins find no frames, so the compiler can remove the code that would look
//! up the names. The message of a panic keeps its file and line.
//!
//! Measured with Rust 1.95 on x86_64 Linux with glibc: without this module the release executable is 65% larger
//! (532,480 instead of 321,816 bytes).

use std::ffi::c_void;

macro_rules! stand_ins {
    ($($name:ident)*) => { $(
        /// Is never called, as nothing is unwound, and therefore takes no arguments.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *mut c_void {
            std::ptr::null_mut()
        }
    )* };
}

/// Calls `_each_frame` for no frame at all, and reports success.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each_frame: *mut c_void, _data: *mut c_void) -> libc::c_int {
    0
}

// The standard library's own handler for unwinding uses these. Some unwinders define them in the same object file as
// `_Unwind_Backtrace`. To link that object file would bring in a second `_Unwind_Backtrace`.
stand_ins! {
    _Unwind_GetIPInfo
    _Unwind_GetDataRelBase
    _Unwind_GetTextRelBase
    _Unwind_GetCFA
}

// With these stand-ins nothing of the unwinder is linked at all. ARM links a part of it in any case, because the unwind
// tables of C's object files refer to it there.
#[cfg(not(target_arch = "arm"))]
stand_ins! {
    _Unwind_GetIP
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_SetGR
    _Unwind_SetIP
}

/// Is never called, as nothing is unwound.
#[cfg(not(target_arch = "arm"))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    std::process::abort()
}
