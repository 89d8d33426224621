//! Tells the linker what rustc does not tell it.
#![allow(clippy::disallowed_macros, reason = "cargo reads standard output")]

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    // Since version 7.4, OpenBSD ends a program that jumps to an address without a marker for branch targets, and rustc
    // sets no markers. This option exempts the program [ld(1) of OpenBSD].
    if std::env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "openbsd") {
        println!("cargo:rustc-link-arg=-Wl,-z,nobtcfi");
    }
}
