//! Finds mutations of sessions among the commands that a client sends to Redis.
//!
//! A command is an array of bulk strings: `*<count>\r\n`, and for each `$<length>\r\n<bytes>\r\n`.
//! Anything else is ignored. The longest relevant string is the key of a reserved id.

/// Longer strings are truncated, bytes.
const MAX_KEPT: usize = 64;

/// A complete command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A write, or the reservation of an id, that is not a repetition after a lost reply.
    Mutation,
    Other,
}

/// Parses the commands of one connection, across reads.
#[derive(Debug, Default)]
pub(super) struct Commands {
    state: State,
    /// The line or string being parsed, truncated.
    text: Vec<u8>,
    /// Strings of the command still missing.
    left: usize,
    is_mutation: bool,
    is_repetition: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Line,
    /// Bytes left of a string and its line end.
    String(usize),
}

impl Commands {
    /// The commands that end in this chunk.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for &byte in chunk {
            match &mut self.state {
                State::Line if byte == b'\n' => self.line(),
                State::Line => self.text.push(byte),
                State::String(left) if *left > 2 => {
                    *left -= 1;
                    if self.text.len() < MAX_KEPT {
                        self.text.push(byte);
                    }
                }
                State::String(left) if *left > 1 => *left -= 1,
                State::String(_) => seen.extend(self.string()),
            }
        }
        seen
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.text);
        let number =
            || std::str::from_utf8(line.get(1..)?.trim_ascii()).ok()?.parse::<usize>().ok();
        match (line.first(), number()) {
            (Some(b'*'), Some(count)) => {
                (self.left, self.is_mutation, self.is_repetition) = (count, false, false);
            }
            (Some(b'$'), Some(length)) => self.state = State::String(length + 2),
            _ => {}
        }
    }

    fn string(&mut self) -> Option<Seen> {
        self.state = State::Line;
        let text = std::mem::take(&mut self.text);
        self.is_mutation |=
            text == b"write" || text == b"take+write" || text.starts_with(b"reserved:");
        // The service marks an attempt after a broken connection.
        self.is_repetition = text == b"again";
        self.left = self.left.saturating_sub(1);
        let seen =
            if self.is_mutation && !self.is_repetition { Seen::Mutation } else { Seen::Other };
        (self.left == 0).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(strings: &[&str]) -> String {
        let strings = strings.iter().map(|string| format!("${}\r\n{string}\r\n", string.len()));
        format!("*{}\r\n{}", strings.len(), strings.collect::<String>())
    }

    #[test]
    fn mutations_are_found_across_reads() {
        let long = "x\r\n$5\r\nwrite\r\n".repeat(50);
        let all = [
            (command(&["PING"]), Seen::Other),
            (
                command(&["EVALSHA", "abc", "2", "session:{a}:meta", &long, "write", "", "0"]),
                Seen::Mutation,
            ),
            (
                command(&["EVALSHA", "abc", "2", "session:{a}:meta", "", "take+write", "1f", "12"]),
                Seen::Mutation,
            ),
            (
                command(&["EVALSHA", "abc", "2", "session:{a}:meta", "write", "", "0", "again"]),
                Seen::Other,
            ),
            (
                command(&["EVALSHA", "abc", "2", "session:{a}:meta", &long, "look", "", "0"]),
                Seen::Other,
            ),
            (
                command(&["EVALSHA", "abc", "1", "reserved:{0123}", "sealed", "1000"]),
                Seen::Mutation,
            ),
            (
                command(&["EVALSHA", "abc", "1", "reserved:{0123}", "sealed", "1000", "again"]),
                Seen::Other,
            ),
        ];
        let (text, expected): (String, Vec<_>) = all.into_iter().unzip();
        for size in [1, 2, 3, 7, 64, text.len()] {
            let mut commands = Commands::default();
            let seen: Vec<_> =
                text.as_bytes().chunks(size).flat_map(|chunk| commands.read(chunk)).collect();
            assert_eq!(seen, expected, "in chunks of {size}");
        }
    }
}
