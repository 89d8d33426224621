//! The words of `--upgrade`, and its exit statuses.

use super::Place;
use crate::outcome::assert_ended_meanwhile;
use crate::support::fixtures::UPGRADE;
use crate::support::worker::LIVE;
use crate::support::{run_beside, Scratch};

#[test]
fn upgrade_refuses_when_there_is_nothing_to_upgrade() {
    let folder = Scratch::new();
    let (status, said) = run_beside(&folder, &UPGRADE);
    assert_eq!(status, Some(1));
    assert_eq!(
        said,
        "start_server: --pid-file=pid: start_server is not running: No such file or directory\n"
    );
    let (status, said) = run_beside(&folder, &UPGRADE[..2]);
    assert_eq!(status, Some(1));
    assert_eq!(
        said,
        "start_server: --upgrade needs --pid-file and --status-file\n"
    );
}

#[test]
fn upgrade_waits_no_longer_than_it_is_told() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    place.put(format!("#!/bin/sh\n{LIVE}"));
    let arguments = [&UPGRADE[..], &["--timeout=1"]].concat();
    let (status, said) = run_beside(&server.scratch, &arguments);
    assert_eq!(status, Some(2));
    assert_eq!(said, "start_server: the upgrade is not complete yet\n");
    server.stop();
}

#[test]
fn upgrade_tells_when_start_server_ends_instead() {
    let place = Place::new();
    let mut server = place.serve("serve", []).up();
    place.put(format!("#!/bin/sh\nkill -TERM {}\n{LIVE}", server.pid()));
    let (status, said) = run_beside(&server.scratch, &UPGRADE);
    assert_eq!(status, Some(1), "{said}");
    assert_ended_meanwhile(&server, "upgrade", &said);
    assert!(server.end().success());
}
