//! The progress of a command, on standard error.

use std::io::{self, IsTerminal as _, Write as _};

/// A line that is overwritten on a terminal; elsewhere a line per change.
#[derive(Default)]
pub(super) struct Progress {
    last: String,
}

impl Progress {
    /// Shows a line, unless it is shown already.
    pub(super) fn show(&mut self, line: &str) {
        if self.last == line {
            return;
        }
        line.clone_into(&mut self.last);
        let mut out = io::stderr().lock();
        // Errors of progress output do not matter.
        let _nobody_reads = if out.is_terminal() {
            write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    /// Ends the line.
    pub(super) fn end(&self) {
        let mut out = io::stderr().lock();
        if !self.last.is_empty() && out.is_terminal() {
            let _nobody_reads = writeln!(out);
        }
    }
}
