//! `--path-mode`: the permissions of socket files.

use super::notifying;
use crate::support::{kernel, Setup};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn it_is_the_mode_of_all_socket_files_whatever_the_umask() {
    let table: [(&[&str], u32); 6] = [
        (&[], 0o777),
        (&["--path-mode=0600"], 0o600),
        (&["--path-mode=660"], 0o660),
        (&["--path-mode=0"], 0),
        (&["--path-mode=0777"], 0o777),
        (&["--path-mode=0600", "--path-mode=00640"], 0o640),
    ];
    for (options, mode) in table {
        for umask in [0o000, 0o022, 0o177] {
            let mut server = notifying("ready:serve", ["--path=a", "--path=b"])
                .args(options)
                .with(|command| kernel::on_fork(command, move || kernel::set_umask(umask)))
                .start();
            server.worker(1);
            for name in ["a", "b"] {
                let metadata = fs::metadata(server.scratch.path(name)).unwrap();
                let found = metadata.permissions().mode() & 0o7777;
                assert_eq!(found, mode, "{options:?} {umask:o}: {found:o}");
            }
            server.stop();
        }
    }
}

#[test]
fn a_mode_that_is_not_octal_is_refused_and_nothing_is_bound() {
    for value in [
        "8", "0o600", "-1", "+1", "1777", "10000", "u=rw", "6 0", "07_7", "٧",
    ] {
        let option = format!("--path-mode={value}");
        let ended = Setup::new(["--path=socket", &option, "true"]).finish();
        assert_eq!(ended.status.code(), Some(1), "{value}");
        let expected = format!("start_server: {option}: not an octal mode from 0 to 0777\n");
        assert_eq!(ended.said, expected);
        assert!(!ended.server.scratch.path("socket").exists(), "{value}");
    }
}
