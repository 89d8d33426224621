//! `--path-mode` and `--path-owner`: the permissions and the owner of socket files.

use super::notifying;
use crate::support::{kernel, skipped, Setup};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

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

#[test]
fn the_owner_is_given_by_name_or_number() {
    if !kernel::is_root() {
        return skipped("root, who may give files away");
    }
    // "daemon" is user 1 and group 1 on every system.
    for (owner, user, group) in [
        ("daemon", 1, 0),
        (":daemon", 0, 1),
        ("daemon:daemon", 1, 1),
        ("65534:4711", 65534, 4711),
    ] {
        let option = format!("--path-owner={owner}");
        let mut server = notifying("ready:serve", ["--path=a", &option]).start();
        server.worker(1);
        let found = fs::metadata(server.scratch.path("a")).unwrap();
        assert_eq!((found.uid(), found.gid()), (user, group), "{owner}");
        server.stop();
        assert!(!server.scratch.path("a").exists());
    }
}

#[test]
fn an_owner_that_cannot_be_given_is_refused_and_leaves_nothing() {
    let no_user = "--path-owner=nosuchuser: there is no user of this name";
    let no_group = "--path-owner=nosuchgroup: there is no group of this name";
    let mut table = vec![
        ("nosuchuser", no_user),
        (":nosuchgroup", no_group),
        ("0:nosuchgroup", no_group),
    ];
    if !kernel::is_root() {
        table.push(("0", "--path=socket: cannot bind: Operation not permitted"));
    }
    for (owner, message) in table {
        let option = format!("--path-owner={owner}");
        let ended = Setup::new(["--path=socket", &option, "true"]).finish();
        assert_eq!(ended.status.code(), Some(1), "{owner}");
        assert_eq!(ended.said, format!("start_server: {message}\n"));
        assert!(!ended.server.scratch.path("socket").exists(), "{owner}");
    }
}
