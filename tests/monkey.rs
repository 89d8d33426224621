//! The monkey: signals, deaths, floods, shortages and edits at random while clients connect without pause.
//!
//! `MONKEY` in the environment is the number of its doings, `SEED` where it begins.

use crate::support::clients::Clients;
use crate::support::fixtures::USUAL;
use crate::support::{alive_in, kernel, program, Server, Setup};
#[cfg(target_os = "linux")]
use crate::support::{fixtures::UPGRADE, run_beside};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;

const DOINGS: u64 = 400;

/// One life of a start_server, in which a part of the doings happens.
struct Life {
    options: &'static [&'static str],
    /// The role of workers that can start.
    good: &'static str,
    /// The role of workers that cannot.
    bad: &'static str,
    /// Whether `disk` is a disk of its own, with room for very little.
    has_disk: bool,
    /// Whether start_server ends if the workers fail while none serves.
    gives_up: bool,
}

const LIVES: [Life; 4] = [
    Life {
        options: &[],
        good: "serve",
        bad: "exit:1",
        has_disk: false,
        gives_up: false,
    },
    Life {
        options: &[
            "--kill-mode=mixed",
            "--forward-signal=USR1",
            "--log-file=| cat >>log",
        ],
        good: "parent:serve",
        bad: "parent:exit:1",
        has_disk: false,
        gives_up: false,
    },
    Life {
        options: &[
            "--kill-mode=group",
            "--kill-timeout=1",
            "--log-file=disk/log",
        ],
        good: "parent:serve",
        bad: "parent:exit:1",
        has_disk: true,
        gives_up: false,
    },
    Life {
        options: &["--ready=notify", "--max-start-failures=3"],
        good: "ready:serve",
        bad: "exit:1",
        has_disk: false,
        gives_up: true,
    },
];

#[test]
fn no_connection_is_refused_whatever_the_monkey_does() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("SEED", 1);
    for life in &LIVES {
        let doings = number("MONKEY", DOINGS) / LIVES.len() as u64;
        run(life, seed, doings);
    }
}

fn run(life: &'static Life, seed: u64, doings: u64) {
    let mut server = life.begin();
    let clients = Clients::of(server.worker(1).port());
    let mut monkey = Monkey {
        random: seed | 1,
        life,
        disturbance: None,
    };
    clients.connect_during(|| {
        for _ in 0..doings {
            monkey.act(&server, &clients);
        }
        monkey.recover(&server);
    });
    let refused = clients.refused.load(SeqCst);
    assert_eq!(refused, 0, "seed {seed}\n{}", server.log());

    server.stop();
    let (left, log) = (server.living(), server.log());
    assert_eq!(left, [], "seed {seed}: nobody is left\n{log}");
    if life
        .options
        .iter()
        .any(|option| option.starts_with("--kill-mode"))
    {
        server.eventually("the end of all children", || {
            alive_in(server.scratch.folder()).is_empty().then_some(())
        });
    }
}

impl Life {
    fn begin(&self) -> Server {
        let command = match self.has_disk {
            true => on_small_disk(),
            false => None,
        };
        Setup::by(command.unwrap_or(Command::new(program())), USUAL)
            .args(["--envdir=envdir"])
            .args(self.options)
            .file("envdir/WORKER_ROLE", self.good)
            .file("disk/file", "")
            .up()
    }
}

/// start_server where `disk` is a small disk; `None` where nobody lets us.
#[cfg(target_os = "linux")]
fn on_small_disk() -> Option<Command> {
    let mut unshare = crate::support::container(&["--mount"])?;
    let line = "mount -t tmpfs -o size=300k none disk && exec \"$0\" \"$@\"";
    unshare.args(["sh", "-c", line]).arg(program());
    Some(unshare)
}

#[cfg(not(target_os = "linux"))]
fn on_small_disk() -> Option<Command> {
    None
}

/// A disturbance by a doing. It is undone after the next doing.
enum Disturbance {
    Stopped(i32),
    #[cfg(target_os = "linux")]
    Limited(libc::__rlimit_resource_t, u64),
    /// A folder stands where the status file was.
    StatusBlocked,
    /// A file that fills the disk, or that is no variable.
    Superfluous(PathBuf),
}

impl Disturbance {
    fn undo(self, server: &Server) {
        match self {
            Disturbance::Stopped(pid) => kernel::kill_if_there(pid, libc::SIGCONT),
            #[cfg(target_os = "linux")]
            Disturbance::Limited(resource, limit) => {
                kernel::limit_process(server.pid(), resource, limit);
            }
            Disturbance::StatusBlocked => fs::remove_dir(server.scratch.path("status")).unwrap(),
            Disturbance::Superfluous(path) => fs::remove_file(path).unwrap(),
        }
    }
}

struct Monkey {
    random: u64,
    life: &'static Life,
    disturbance: Option<Disturbance>,
}

impl Monkey {
    fn act(&mut self, server: &Server, clients: &Clients) {
        let was_disturbed = self.disturbance.is_some();
        let connected = clients.connected.load(SeqCst);
        self.do_something(server, clients);
        if was_disturbed {
            self.undo(server);
        }
        if let Some(disk) = self.small_disk(server) {
            // The log alone fills the disk in the end, and then no worker can start: the test harness prints.
            let _ = File::create(disk.join("log"));
        }
        if self.disturbance.is_none() {
            // The kernel takes them while nobody serves.
            await_connections(server, clients, connected + 10);
        }
    }

    /// Undoes everything, and waits until one worker serves.
    fn recover(&mut self, server: &Server) {
        self.undo(server);
        server.next_role(self.life.good);
        let newest = server.started().last().unwrap().0;
        server.hup();
        server.succeeded(newest);
    }

    fn undo(&mut self, server: &Server) {
        if let Some(disturbance) = self.disturbance.take() {
            disturbance.undo(server);
        }
    }

    fn do_something(&mut self, server: &Server, clients: &Clients) {
        let up = server.status();
        let victim = up
            .get(self.below(4))
            .map(|(_, pid)| *pid)
            .filter(|&pid| server.is_worker(pid));
        let doing = self.below(17);
        match (doing, victim) {
            // One disturbance at a time.
            (7 | 12..=15, _) if self.disturbance.is_some() => server.hup(),
            (0 | 1, _) => server.hup(),
            // It upgrades itself.
            (2..=4, _) => server.signal(libc::SIGUSR2),
            (5 | 6, Some(pid)) => self.kill(server, pid),
            (7, Some(pid)) => {
                kernel::kill_if_there(pid, libc::SIGSTOP);
                self.disturbance = Some(Disturbance::Stopped(pid));
            }
            (8 | 9, _) => {
                let life = self.life;
                server.next_role([life.good, life.good, life.bad][self.below(3)]);
            }
            (10, _) => self.flood(server, clients),
            (11, _) => kill_log_command(server),
            (12, _) => self.spoil_envdir(server),
            (13, _) => self.block_status(server),
            (14, _) => self.fill_disk(server),
            (15, _) => self.limit(server),
            (_, _) => server.signal([libc::SIGALRM, libc::SIGUSR1][self.below(2)]),
        }
    }

    fn kill(&mut self, server: &Server, pid: i32) {
        if self.life.gives_up {
            // With bad starts under way, that would be its end.
            self.recover(server);
            let (_, newest) = server.status()[0];
            return kernel::kill_if_there(newest, libc::SIGKILL);
        }
        kernel::kill_if_there(pid, libc::SIGKILL);
    }

    /// Signals come about a millisecond apart.
    fn flood(&mut self, server: &Server, clients: &Clients) {
        for _ in 0..50 {
            let connected = clients.connected.load(SeqCst);
            server.signal([libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2][self.below(3)]);
            await_connections(server, clients, connected + 1);
        }
    }

    fn spoil_envdir(&mut self, server: &Server) {
        let envdir = server.scratch.path("envdir");
        let junk: [(&str, &[u8]); 4] = [
            ("NUL", b"\0\xff"),
            ("A=B", b"value"),
            ("KILL_OLD_DELAY", b"never"),
            ("LONG", &[b'x'; 200_000]),
        ];
        let (name, text) = junk[self.below(4)];
        fs::write(envdir.join(name), text).unwrap();
        self.disturbance = Some(Disturbance::Superfluous(envdir.join(name)));
    }

    fn block_status(&mut self, server: &Server) {
        let status = server.scratch.path("status");
        // start_server may write it again meanwhile.
        while fs::create_dir(&status).is_err() {
            let _ = fs::remove_file(&status);
        }
        self.disturbance = Some(Disturbance::StatusBlocked);
    }

    /// The disk, if it is one of its own and not that of the whole machine.
    fn small_disk(&self, server: &Server) -> Option<PathBuf> {
        let folder = server.scratch.path("disk");
        let inside = folder.strip_prefix("/").unwrap();
        let disk = PathBuf::from(format!("/proc/{}/root", server.pid())).join(inside);
        (self.life.has_disk && !disk.join("file").exists()).then_some(disk)
    }

    fn fill_disk(&mut self, server: &Server) {
        let Some(disk) = self.small_disk(server) else {
            return;
        };
        let path = disk.join("filling");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[b'x'; 4096]).is_ok() {}
        self.disturbance = Some(Disturbance::Superfluous(path));
    }

    /// Of descriptors, or of processes. The latter does not concern root.
    #[cfg(target_os = "linux")]
    fn limit(&mut self, server: &Server) {
        if std::env::var_os("START_SERVER").is_some() {
            // That may be an emulator, which needs descriptors and processes of its own.
            return;
        }
        // A program that is just being executed cannot begin without descriptors, and an upgrade may be under way. This
        // one takes its place, and is over when the command ends.
        let (status, said) = run_beside(&server.scratch, &UPGRADE);
        assert!(matches!(status, Some(0 | 3)), "{status:?}: {said}");
        let (resource, limit) = [(libc::RLIMIT_NOFILE, 3), (libc::RLIMIT_NPROC, 1)][self.below(2)];
        let before = kernel::limit_process(server.pid(), resource, limit);
        self.disturbance = Some(Disturbance::Limited(resource, before));
    }

    #[cfg(not(target_os = "linux"))]
    fn limit(&mut self, _: &Server) {}

    /// xorshift64.
    fn below(&mut self, limit: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit) as usize
    }
}

fn await_connections(server: &Server, clients: &Clients, count: usize) {
    server.eventually("connections", || {
        (clients.connected.load(SeqCst) >= count).then_some(())
    });
}

/// It is a child of start_server that is not the test binary.
fn kill_log_command(server: &Server) {
    let pid = server.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if ["cat\n", "sh\n"].contains(&name.as_str()) {
            kernel::kill_if_there(child.parse().unwrap(), libc::SIGKILL);
        }
    }
}
