//! The needs of a test that a machine may not meet, which skips the test.

#[cfg(target_os = "linux")]
use super::program;
use super::{kernel, Scratch};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Tells whether a program that is to heed permissions does: see [`kernel::heed_permissions`].
pub fn permissions_count() -> bool {
    let folder = Scratch::new();
    let closed = folder.write("closed", "");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let mut cat = Command::new("cat");
    cat.arg(closed).stderr(Stdio::null());
    kernel::on_fork(&mut cat, kernel::heed_permissions);
    !cat.status().unwrap().success()
}

/// Tells whether root can run the program as another user, who may not enter a folder on the way, such as /root.
#[cfg(target_os = "linux")]
pub fn nobody_can_execute() -> bool {
    if !kernel::is_root() {
        return false;
    }
    let mut command = Command::new(program());
    command.arg("--version");
    kernel::on_fork(&mut command, kernel::become_nobody);
    command.output().is_ok_and(|output| output.status.success())
}

/// Says, past the harness, that a test needs what is not here.
pub fn skipped(need: &str) {
    let test = std::thread::current()
        .name()
        .unwrap_or_default()
        .to_string();
    let _ = writeln!(std::io::stderr(), "{test}: skipped, since it needs {need}");
}

/// A command that runs what follows in a container, made by unshare(1) with these options; `None` where it may not,
/// which is said.
#[cfg(target_os = "linux")]
pub fn container(options: &[&str]) -> Option<Command> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.arg("--map-root-user").args(options);
        unshare
    };
    let may = unshare().arg("true").output();
    if !may.is_ok_and(|ended| ended.status.success()) {
        skipped("unshare that may make a container");
        return None;
    }
    Some(unshare())
}
