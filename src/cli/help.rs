//! The text that `--help` prints.

pub const HELP: &str = "\
Usage: start_server [options] -- server-prog server-arg1 server-arg2 ...
       start_server --restart --pid-file=FILE --status-file=FILE
       start_server --upgrade --pid-file=FILE --status-file=FILE
       start_server --stop --pid-file=FILE
       start_server --status --pid-file=FILE [--status-file=FILE]
Runs a server under sockets bound once. On HUP it starts a new one and, if and
only if that comes up, tells the old one to finish.
  --port=[HOST:][u]PORT[=FD]  listen on a TCP port, with u on UDP; repeatable
  --path=PATH                 listen on a Unix socket; repeatable
  --path-mode=MODE            the mode of the files of all --path (0777)
  --backlog=N                 length of the listen queue (SOMAXCONN)
  --listen-fds                describe the sockets as systemd does, too
  --dir=DIR                   working directory of the server
  --interval=SECONDS          how long a new server must live to count as up (1)
  --ready=interval|notify|fd=N  or that it says so: by sd_notify(3), on a pipe
  --start-timeout=SECONDS     how long that may take (60; 0: for ever)
  --max-start-failures=N      give a restart up after N failed starts (0: never)
  --signal-on-hup=SIGNAL      what tells old servers to finish after HUP (TERM)
  --signal-on-term=SIGNAL     what tells all servers to finish after TERM (TERM)
  --kill-old-delay=SECONDS    let new and old serve side by side this long (0; 5
                              with --enable-auto-restart)
  --kill-timeout=SECONDS      kill what takes longer to finish (0: never)
  --enable-auto-restart       restart the server by time
  --auto-restart-interval=SECONDS  how often (360)
  --pid-file=FILE             hold the pid of start_server in FILE, locked
  --status-file=FILE          hold a line GENERATION:PID for each server in FILE
  --envdir=DIR                environment variables: the files in DIR
  --log-file=FILE             append standard output and standard error to FILE
  --log-file='| COMMAND'      ... or pipe them into COMMAND
  --daemonize                 go into the background; needs --log-file
  --restart                   restart the server of --pid-file; wait until the
                              old one is gone (exit status 3: given up)
  --upgrade                   replace it by the program now at its path; wait
  --stop                      end the start_server of --pid-file; wait
  --timeout=SECONDS           wait no longer (0: for ever); exit status 2
  --status                    tell about the start_server of --pid-file
  --help, --version           print this, or the version
See start_server(1).
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::splitting::{EXTENSIONS, PERL_OPTIONS};
    use std::collections::BTreeSet;

    #[test]
    fn help_names_every_option_and_no_other() {
        let shown: BTreeSet<&str> = HELP
            .split(|c: char| !c.is_ascii_lowercase() && c != '-')
            .filter_map(|word| word.strip_prefix("--"))
            .filter(|name| !name.is_empty())
            .collect();
        let known: BTreeSet<&str> = PERL_OPTIONS
            .iter()
            .chain(EXTENSIONS)
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(shown, known);
        assert!(HELP.lines().all(|line| line.len() <= 80) && HELP.lines().count() <= 40);
    }
}
