//! No descriptor and no memory is lost in hundreds of restarts and upgrades.

use super::{restart, OTHERS};
use crate::ready::WAYS;
use crate::support::clients::Clients;
use crate::support::fixtures::{by_envdir, serve};
use crate::support::{descriptors, kernel, Server};
use crate::upgrade::{descriptors as but_for_pipes, upgrade, Place, UPGRADED};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn restarts_leak_no_descriptor() {
    let mut server = serve(OTHERS).file("envdir/A", "a").up();
    restart(&server, 2..=20);
    server.idle();
    let before = descriptors(&server);
    restart(&server, 21..=200);
    kernel::kill(server.worker(200).pid, libc::SIGKILL);
    server.up(&[201]);
    // The status file is seen before the turn that wrote it is over.
    server.eventually(&format!("{before:#?}"), || {
        (descriptors(&server) == before).then_some(())
    });
    server.stop();
}

/// Number and kind of each descriptor: sockets and pipes have a new number of their own in every generation.
fn kinds(server: &Server) -> Vec<(i32, String)> {
    let folder = PathBuf::from(format!("/proc/{}/fd", server.pid()));
    let entries = fs::read_dir(&folder).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let name = entry.unwrap().file_name();
            let target = fs::read_link(folder.join(&name)).unwrap_or_default();
            let target = target.to_string_lossy();
            let kind = target.split(':').next().unwrap().to_string();
            (name.to_str().unwrap().parse().unwrap(), kind)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn restarts_leak_no_descriptor_of_workers_that_say_when_they_are_ready() {
    for (option, _) in WAYS {
        let mut server = by_envdir("ready:serve", [option]).up();
        let restart = |generations: std::ops::RangeInclusive<u64>| {
            for generation in generations {
                server.hup();
                server.up(&[generation]);
            }
            server.idle();
        };
        restart(2..=3);
        let before = kinds(&server);
        restart(4..=53);
        server.eventually(&format!("{before:?}"), || {
            let now = kinds(&server);
            // The channel of a generation may be at another number than that of the one before.
            let kinds = |found: &[(i32, String)]| {
                let mut kinds: Vec<_> = found.iter().map(|(_, kind)| kind.clone()).collect();
                kinds.sort();
                kinds
            };
            let last = |found: &[(i32, String)]| found.last().unwrap().0;
            (kinds(&now) == kinds(&before) && last(&now) <= last(&before) + 1).then_some(())
        });
        server.stop();
    }
}

/// Kilobytes of memory of a kind, as Linux tells of a process.
fn memory(server: &Server, kind: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(kind));
    let number = line.unwrap().trim_matches([':', ' ', 'k', 'B']);
    number.parse().unwrap()
}

#[test]
fn two_hundred_upgrades_under_load_lose_and_leak_nothing() {
    let place = Place::new();
    let mut server = place.serve("serve", ["--path=socket"]).up();
    let clients = Clients::of(server.worker(1).port());
    let mut before = None;
    clients.connect_during(|| {
        for round in 1..=200 {
            match round % 10 {
                3 => kernel::kill_if_there(server.started().last().unwrap().1, libc::SIGKILL),
                5 | 8 => server.hup(),
                _ => {}
            }
            upgrade(&server);
            if round == 20 || round == 200 {
                // A restart may be under way, with its pipe open.
                let newest = server.eventually("one worker that is up", || {
                    let up = server.status();
                    let newest = server.started().last().unwrap().0;
                    (up.len() == 1 && up[0].0 == newest).then_some(newest)
                });
                server.restart(newest + 1);
                server.idle();
                let now = (but_for_pipes(&server), memory(&server, "Anonymous"));
                let (before, kilobytes) = before.get_or_insert(now.clone());
                server.eventually(&format!("{before:#?}"), || {
                    (but_for_pipes(&server) == *before).then_some(())
                });
                // The beginning of the stack differs a little from one exec to the next.
                assert!(
                    now.1 <= *kilobytes + 32,
                    "{} kB grew from {kilobytes}",
                    now.1
                );
            }
        }
    });
    assert_eq!(clients.refused.load(SeqCst), 0, "{}", server.log());
    assert!(clients.connected.load(SeqCst) > 200);
    assert_eq!(server.count(UPGRADED), 200);
    server.stop();
    let (left, log) = (server.living(), server.log());
    assert_eq!(left, [], "nobody is left\n{log}");
}
