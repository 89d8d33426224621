//! `--kill-mode`: what becomes of the processes that a worker has started.

use super::notifying;
use crate::support::{is_alive, kernel, Server};

/// A worker that has started a process of its own, its child. TERM ends the worker, unless the file `hang` is there.
/// The child notes TERM and ends when the file `leave` is there. While the file `bad` is there, the worker exits.
const WORKER: &str = r#"cd "$WORKER_DIR"
sh -c 'trap "echo told $SERVER_STARTER_GENERATION >>notes" TERM
echo "child $SERVER_STARTER_GENERATION $$" >>notes
until test -f leave || ! test -f notes; do sleep 0.05; done' &
until grep -q "^child $SERVER_STARTER_GENERATION " notes; do sleep 0.05; done
test -f bad && exit 3
trap 'test -f hang || exit 0' TERM
echo "began $SERVER_STARTER_GENERATION $$" >>notes
while test -f notes; do sleep 0.05; done"#;

/// Starts the first generation.
pub fn first(options: &[&str]) -> Server {
    let setup = notifying("", ["--ready=interval", "--interval=1"]).args(options);
    let server = setup
        .file("notes", "")
        .args(["--", "sh", "-c", WORKER])
        .launch();
    begun(&server, 1);
    server.up(&[1]);
    server
}

/// Waits until a generation has begun.
pub fn begun(server: &Server, generation: u64) {
    server.file_has("notes", &format!("began {generation} "));
}

/// The child of a generation.
fn child(server: &Server, generation: u64) -> i32 {
    let notes = server.scratch.read("notes");
    let prefix = format!("child {generation} ");
    let line = notes.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap().parse().unwrap()
}

fn is_told(server: &Server, generation: u64) -> bool {
    let notes = server.scratch.read("notes");
    notes.contains(&format!("told {generation}\n"))
}

/// Waits until the child of a generation has ended.
fn gone(server: &Server, generation: u64) {
    let pid = child(server, generation);
    server.eventually("the end of the child", || (!is_alive(pid)).then_some(()));
}

#[test]
fn by_default_only_the_worker_is_signalled() {
    for options in [&[][..], &["--kill-mode=process"]] {
        let mut server = first(options);
        server.hup();
        begun(&server, 2);
        server.up(&[2]);
        assert!(is_alive(child(&server, 1)), "{options:?}");
        server.stop();
        for generation in [1, 2] {
            assert!(is_alive(child(&server, generation)), "{options:?}");
            assert!(!is_told(&server, generation), "{options:?}");
        }
    }
}

#[test]
fn with_mixed_the_rest_is_killed_when_the_worker_has_ended() {
    let mut server = first(&["--kill-mode=mixed"]);
    server.hup();
    begun(&server, 2);
    server.up(&[2]);
    gone(&server, 1);
    // However it ended.
    kernel::kill(server.started()[1].1, libc::SIGKILL);
    begun(&server, 3);
    gone(&server, 2);
    server.up(&[3]);
    server.stop();
    gone(&server, 3);
    for generation in [1, 2, 3] {
        assert!(!is_told(&server, generation), "{generation}");
    }
}

#[test]
fn with_mixed_the_timeout_kills_the_whole_group() {
    let mut server = first(&["--kill-mode=mixed", "--kill-timeout=1"]);
    server.scratch.write("hang", "");
    server.hup();
    begun(&server, 2);
    server.says("has not ended within --kill-timeout, killing it\n");
    server.up(&[2]);
    gone(&server, 1);
    server.stop();
    gone(&server, 2);
}

#[test]
fn with_group_the_rest_is_told_and_waited_for() {
    let mut server = first(&["--kill-mode=group"]);
    let old = server.started()[0].1;
    server.hup();
    begun(&server, 2);
    server.says(&format!(
        "worker {old} has exited, waiting for the rest of its process group\n"
    ));
    server.notes("told 1");
    server.up(&[1, 2]);
    let expected = ["1".to_string(), old.to_string(), "remnant".to_string()];
    let shown = server.details("worker")[0].clone();
    let words: Vec<_> = shown.split(' ').take(3).collect();
    assert_eq!(words, expected);
    assert_eq!(server.count(&format!("old worker {old} died")), 0);
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.says(&format!("old worker {old} died, status:0\n"));
    server.stop();
    gone(&server, 2);
}

#[test]
fn with_group_the_end_waits_and_the_timeout_kills_the_rest() {
    let mut server = first(&["--kill-mode=group", "--kill-timeout=1"]);
    server.stop();
    server.says("waiting for the rest of its process group\n");
    server.says("has not ended within --kill-timeout, killing it\n");
    assert!(is_told(&server, 1));
    gone(&server, 1);
}

#[test]
fn with_group_the_rest_of_a_worker_that_died_is_told_while_the_next_one_serves() {
    let mut server = first(&["--kill-mode=group"]);
    let dead = server.started()[0].1;
    kernel::kill(dead, libc::SIGKILL);
    begun(&server, 2);
    server.says(&format!(
        "worker {dead} has exited, sending TERM to the rest of its process group\n"
    ));
    server.notes("told 1");
    server.up(&[1, 2]);
    server.scratch.write("leave", "");
    server.up(&[2]);
    server.stop();
    assert_eq!(server.count("died unexpectedly"), 1, "{}", server.log());
}

#[test]
fn a_candidate_that_is_given_up_leaves_nobody() {
    for mode in ["--kill-mode=mixed", "--kill-mode=group"] {
        let mut server = first(&[mode, "--max-start-failures=2"]);
        server.scratch.write("bad", "");
        server.hup();
        server.says("giving up the restart after 2 failed starts");
        for generation in [2, 3] {
            gone(&server, generation);
            assert!(!is_told(&server, generation), "{mode}");
        }
        assert!(is_alive(child(&server, 1)), "{mode}");
        server.scratch.write("leave", "");
        server.stop();
    }
}
