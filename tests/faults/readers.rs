//! Nobody reads the log, or its reader dies: nothing waits for it, and lost lines are counted.

use crate::support::fixtures::{by_envdir, serve, with_role};
use crate::support::reading::{open_fifo, read_until, rest};
use crate::support::{ask, kernel, now, Setup};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Makes `error` the standard error of start_server.
fn with_error(setup: Setup, error: &OwnedFd) -> Setup {
    let number = error.as_raw_fd();
    setup.with(|command| kernel::on_fork(command, move || kernel::duplicate(number, 2)))
}

/// The worker runs this before it serves. It writes more than a pipe has room for.
const FLOOD: &str = "{ yes flood | head -c 1000000 >&2 & }";

#[test]
fn a_flooded_pipe_that_nobody_reads_delays_no_restart_and_no_end() {
    let (reader, writer) = kernel::pipe();
    let mut server = with_error(serve([]), &writer).start_silent(FLOOD);
    server.worker(1);
    for generation in 2..=4 {
        server.restart(generation);
    }
    server.stop();
    drop(reader);
}

/// The most warnings at once, which are more than pipe and queue together have room for.
const ODD_FILES: usize = 500;

#[test]
fn lines_that_found_no_room_are_counted_and_told_when_it_flows_again() {
    let mut setup = serve(["--envdir=envdir"]);
    for number in 0..ODD_FILES {
        setup = setup.file(&format!("envdir/={number}{}", "x".repeat(200)), "value");
    }
    let (reader, writer) = kernel::pipe();
    let mut server = with_error(setup, &writer).start_silent(":");
    drop(writer);
    server.worker(1);
    server.up(&[1]);
    server.restart(2);
    // The last lines only come when the others have been read.
    let mut text = read_until(&reader, |text| {
        text.contains(" lines could not be written\n")
    });
    server.stop();
    text += &rest(reader);
    let lost: usize = text
        .lines()
        .filter_map(|line| line.strip_suffix(" lines could not be written"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    let told = text.matches("ignoring envdir/=").count();
    assert!(
        told < ODD_FILES && told + lost >= ODD_FILES,
        "{told} {lost}"
    );
    assert!(text.ends_with("exiting\n"), "{text}");
    assert!(
        text.lines().all(|line| line.len() < 300),
        "no line is broken"
    );
}

#[test]
fn a_reader_that_is_gone_ends_nobody() {
    let (reader, writer) = kernel::pipe();
    let mut server = with_error(serve([]), &writer).start_silent(":");
    server.worker(1);
    drop(reader);
    for generation in 2..=3 {
        server.restart(generation);
    }
    kernel::kill(server.worker(3).pid, libc::SIGKILL);
    server.up(&[4]);
    server.stop();
}

#[test]
fn a_terminal_held_by_ctrl_s_delays_nothing_and_gets_its_lines_later() {
    let (user, program) = kernel::terminal();
    kernel::let_flow(&program, false);
    let mut server = with_error(serve([]), &program).start_silent(":");
    server.worker(1);
    server.up(&[1]);
    server.restart(2);
    kernel::let_flow(&program, true);
    // Of the test's side, since at the end of the last program's a terminal forgets what was not read.
    let expected = ["starting new worker", "received HUP"];
    read_until(&user, |shown| {
        expected.iter().all(|line| shown.contains(line))
    });
    kernel::let_flow(&program, false);
    server.restart(3);
    server.stop();
}

#[test]
fn a_stopped_log_command_delays_nothing_and_gets_its_lines_later() {
    let log = "--log-file=| echo $$ > log-pid; exec cat > log-file";
    let mut server = serve([log]).start_silent(FLOOD);
    server.worker(1);
    let pid: i32 = server.eventually("the log command", || {
        let text = server.scratch.read("log-pid");
        text.strip_suffix('\n').map(|pid| pid.parse().unwrap())
    });
    kernel::kill(pid, libc::SIGSTOP);
    for generation in 2..=4 {
        server.restart(generation);
    }
    kernel::kill(pid, libc::SIGCONT);
    server.eventually("the lines of the restarts", || {
        let told = server
            .scratch
            .read("log-file")
            .matches("received HUP")
            .count();
        (told == 3).then_some(())
    });
    kernel::kill(pid, libc::SIGSTOP);
    server.stop();
    kernel::kill(pid, libc::SIGKILL);
}

#[test]
fn a_log_command_that_cannot_run_is_started_again_and_again_and_ends_nobody() {
    let begun = now();
    let log = "--log-file=| echo >> tries; exec /no/such/program";
    let mut server = serve([log]).start_silent(":");
    server.worker(1);
    server.restart(2);
    server.eventually("a third try", || {
        (server.scratch.read("tries").lines().count() >= 3).then_some(())
    });
    // A slow machine makes it longer, never shorter.
    assert!(begun.elapsed() >= Duration::from_secs(2));
    server.restart(3);
    server.stop();
}

#[test]
fn a_log_command_that_dies_again_and_again_under_a_flood_takes_nobody_with_it() {
    let log = "--log-file=| echo >> tries; head -c 1000000 | tail -c 1 >> tail";
    // The worker writes more than anybody could read, and would die of SIGPIPE.
    let mut server = with_role("flood", [log]).up();
    for (generation, tries) in (1..).zip(1..=3) {
        server.eventually("another log command", || {
            (server.scratch.read("tries").lines().count() > tries).then_some(())
        });
        let worker = server.worker(generation);
        assert_eq!(ask(worker.port()).unwrap(), (generation, worker.pid));
        server.restart(generation + 1);
    }
    server.stop();
    assert_eq!(server.started().len(), 4, "none but those asked for");
}

#[test]
fn a_flood_delays_no_restart_and_drowns_no_line() {
    let log = "--log-file=| grep --line-buffered -v '^flood$' > log-file";
    let mut server = by_envdir("flood", [log]).up();
    for generation in 2..=6 {
        server.restart(generation);
    }
    // The end does not wait for a reader: the last lines are lost while the pipe is full.
    let last = server.worker(6).pid;
    server.next_role("serve");
    server.restart(7);
    server.file_has("log-file", &format!("old worker {last} died"));
    server.stop();
    server.file_has("log-file", "exiting\n");
    let log = server.scratch.read("log-file");
    assert!(log.ends_with("exiting\n"), "{log}");
    for line in ["received HUP", "killing old workers"] {
        let told = log.lines().filter(|found| found.starts_with(line)).count();
        assert_eq!(told, 6, "{log}");
    }
}

#[test]
fn a_log_that_is_a_fifo_without_a_reader_holds_nobody_up_and_its_lost_lines_are_told() {
    // The same life, with a file: how many lines there are to lose.
    let mut server = serve(["--log-file=log-file"]).start_silent(":");
    server.worker(1);
    server.up(&[1]);
    (2..=3).for_each(|generation| server.restart(generation));
    server.stop();
    let expected = server.scratch.read("log-file").lines().count();

    let setup = serve(["--log-file=fifo"]);
    let fifo = setup.scratch.path("fifo");
    kernel::make_fifo(&fifo);
    // The worker is not killed by SIGPIPE, but told by an error.
    let mut server = setup.start_silent("echo nobody reads this >&2 || : >refused");
    server.worker(1);
    server.up(&[1]);
    assert!(server.scratch.path("refused").exists());
    server.restart(2);
    server.idle();
    // The FIFO is opened again, which fails, and the lines that were lost until then still count.
    server.signal(libc::SIGALRM);
    server.idle();
    let reader = open_fifo(&fifo);
    server.restart(3);
    server.stop();
    let text = rest(reader);
    let (lost, told): (Vec<_>, Vec<_>) = text
        .lines()
        .filter(|line| *line != "nobody reads this")
        .partition(|line| line.ends_with(" lines could not be written"));
    let [lost] = lost[..] else {
        panic!("{text}");
    };
    let count = lost.strip_prefix("start_server: ").unwrap();
    let count = count.split(' ').next().unwrap();
    assert_eq!(
        count.parse::<usize>().unwrap() + told.len(),
        expected,
        "{text}"
    );
    assert!(told[0].starts_with("received HUP"), "{text}");
    assert_eq!(told.last(), Some(&"exiting"), "{text}");
    assert!(fifo.exists());
}

#[test]
fn a_reader_of_a_fifo_may_come_and_go() {
    let setup = serve(["--log-file=fifo"]);
    let fifo = setup.scratch.path("fifo");
    kernel::make_fifo(&fifo);
    let mut server = setup.start_silent(":");
    server.worker(1);
    server.up(&[1]);
    for generation in [2, 4, 6] {
        let reader = open_fifo(&fifo);
        server.restart(generation);
        let text = read_until(&reader, |text| text.contains("received HUP"));
        assert!(text.contains("received HUP"), "{text}");
        drop(reader);
        server.restart(generation + 1);
    }
    server.stop();
}
