//! What the system, the disk, readers and workers can do to start_server: each fault happens for real, and
//! supervision goes on.

mod exec;
mod readers;
#[cfg(target_os = "linux")]
mod shortage;
mod workers;
