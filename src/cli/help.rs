//! The text that `--help` prints.

pub const HELP: &str = "\
Usage: start_server [options] -- server-prog server-arg1 server-arg2 ...
       start_server --restart --pid-file=FILE --status-file=FILE
       start_server --upgrade --pid-file=FILE --status-file=FILE
       start_server --stop --pid-file=FILE
       start_server --status --pid-file=FILE [--status-file=FILE]
Binds sockets once and runs a server under them. A HUP starts a new server. The
old one gets the signal to finish only when the new one is up.
  --port=[HOST:][u]PORT[=FD]  listen on a TCP port, or UDP with u; repeatable
  --path=PATH                 listen on a Unix socket; repeatable
  --path-mode=MODE            file mode of the Unix sockets (0777)
  --path-owner=[USER][:GROUP] owner of the Unix sockets
  --backlog=N                 length of the listen queue (4096)
  --listen-fds                also describe the sockets as systemd does
  --dir=DIR                   working directory of the server
  --interval=SECONDS          a server that has lived this long is up (1)
  --ready=interval|notify|fd=N  a server is up after --interval, or when it says
                              so by sd_notify(3) or on file descriptor N
  --start-timeout=SECONDS     time for a server to get ready (60; 0: no limit)
  --max-start-failures=N      give up a restart after N failed starts (0: never)
  --signal-on-hup=SIGNAL      signal to the old servers after a HUP (TERM)
  --signal-on-term=SIGNAL     signal to all servers after a TERM (TERM)
  --forward-signal=SIGNAL     pass this signal on to the server; repeatable
  --kill-old-delay=SECONDS    time before the old servers get their signal (0)
  --kill-timeout=SECONDS      kill a server that takes longer to end (0: never)
  --kill-mode=process|mixed|group  signal the server, or its process group too
  --enable-auto-restart       restart at intervals (--kill-old-delay is then 5)
  --auto-restart-interval=SECONDS  length of these intervals (360)
  --pid-file=FILE             write the pid of start_server to FILE and lock it
  --status-file=FILE          write to FILE one line GENERATION:PID per server
  --envdir=DIR                set environment variables from the files in DIR
  --log-file=FILE|'| COMMAND' append all output to FILE, or pipe it to COMMAND
  --daemonize                 run in the background; needs --log-file
  --restart                   restart the server and wait until the old one has
                              ended (exit status 3: the restart was given up)
  --upgrade                   replace start_server by the installed one; wait
  --stop                      stop the server and its start_server, and wait
  --timeout=SECONDS           longest wait of these (0: no limit; exit status 2)
  --status                    show the state of the start_server of --pid-file
  --help, --version           print this text, or the version
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
