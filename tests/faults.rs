//! Faults of the system, of readers and of workers: each happens for real, and supervision goes on.

mod exec;
mod readers;
mod renewal;
#[cfg(target_os = "linux")]
mod shortage;
mod workers;
