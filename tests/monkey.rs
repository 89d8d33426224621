//! The monkey: signals, deaths and edits at random while clients connect without pause.
//!
//! `MONKEY` in the environment is the number of its doings, `SEED` where it begins.

use crate::support::clients::Clients;
use crate::support::fixtures::by_envdir;
use crate::support::{kernel, Server};
use std::sync::atomic::Ordering::SeqCst;

const DOINGS: u64 = 300;

#[test]
fn no_connection_is_refused_whatever_the_monkey_does() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("SEED", 1);
    let mut server = by_envdir("serve", []).up();
    let clients = Clients::of(server.worker(1).port());
    let mut monkey = Monkey {
        random: seed | 1,
        stopped: None,
    };
    clients.connect_during(|| {
        for _ in 0..number("MONKEY", DOINGS) {
            monkey.act(&server, &clients);
        }
    });
    assert_eq!(
        clients.refused.load(SeqCst),
        0,
        "seed {seed}\n{}",
        server.log()
    );

    server.next_role("serve");
    let newest = server.started().last().unwrap().0;
    server.hup();
    server.succeeded(newest);
    server.stop();
    let (left, log) = (server.living(), server.log());
    assert_eq!(left, [], "seed {seed}: nobody is left\n{log}");
}

struct Monkey {
    random: u64,
    /// A worker that was stopped by the last doing.
    stopped: Option<i32>,
}

impl Monkey {
    fn act(&mut self, server: &Server, clients: &Clients) {
        let stopped = self.stopped.take();
        let said = server.log().len();
        let connected = clients.connected.load(SeqCst);
        self.do_something(server);
        if let Some(pid) = stopped {
            kernel::kill_if_there(pid, libc::SIGCONT);
        }
        if self.stopped.is_none() {
            // While nobody serves, because each new worker fails, the log grows instead.
            server.eventually("connections", || {
                let served = clients.connected.load(SeqCst) >= connected + 10;
                (served || server.log().len() > said + 1000).then_some(())
            });
        }
    }

    fn do_something(&mut self, server: &Server) {
        let up = server.status();
        let victim = up
            .get(self.below(4))
            .map(|(_, pid)| *pid)
            .filter(|&pid| server.is_worker(pid));
        match (self.below(10), victim) {
            (0..=2, _) => server.hup(),
            // It upgrades itself.
            (8 | 9, _) => server.signal(libc::SIGUSR2),
            (3, Some(pid)) => kernel::kill_if_there(pid, libc::SIGKILL),
            (4, Some(pid)) => {
                kernel::kill_if_there(pid, libc::SIGSTOP);
                self.stopped = Some(pid);
            }
            (5 | 6, _) => {
                let role = ["serve", "serve", "exit:1"][self.below(3)];
                server.next_role(role);
            }
            (_, _) => server.signal([libc::SIGALRM, libc::SIGUSR1][self.below(2)]),
        }
    }

    /// xorshift64.
    fn below(&mut self, limit: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit) as usize
    }
}
