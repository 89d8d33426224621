//! Progress lines.

use std::io::{self, IsTerminal, Write};

/// One line after another; on a terminal each in the place of the one before.
pub(super) struct Progress {
    terminal: bool,
    line: String,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            line: String::new(),
        }
    }

    pub(super) fn print(&mut self, line: &str) {
        if line == self.line {
            return;
        }
        self.line = line.to_string();
        // To go to the beginning of the line and clear what follows is understood by every terminal in use.
        let text = match self.terminal {
            true => format!("\r{line}\x1b[K"),
            false => format!("{line}\n"),
        };
        // The restart does not depend on somebody reading about it.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    pub(super) fn end(&self) {
        if self.terminal && !self.line.is_empty() {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}
