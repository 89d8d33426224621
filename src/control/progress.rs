//! The progress lines of a control command, on standard error.

use std::io::{self, IsTerminal, Write};

/// Prints each line once. On a terminal a line replaces the one before it.
pub(super) struct Progress {
    terminal: bool,
    line: String,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            line: String::new(),
        }
    }

    pub fn print(&mut self, line: &str) {
        if line == self.line {
            return;
        }
        self.line = line.to_string();
        if self.terminal {
            // Carriage return and "erase to the end of the line" work on every terminal in use.
            write(&format!("\r{line}\x1b[K"));
        } else {
            write(&format!("{line}\n"));
        }
    }

    pub fn end(&mut self) {
        if self.terminal && !self.line.is_empty() {
            write("\n");
        }
        self.line.clear();
    }
}

/// Writes to standard error. The command continues even if standard error is closed.
pub(super) fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
