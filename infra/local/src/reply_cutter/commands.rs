//! Finds acts on sessions among the commands that a client sends to Redis.
//!
//! A command is an array of bulk strings: `*<count>\r\n`, and for each `$<length>\r\n<bytes>\r\n`. What is not read this
//! way is not an act. The longest string that matters is the key of a reserved id.

/// Longer strings are not kept.
const KEPT: usize = 64;

/// A whole command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A write, or the reservation of an id, whose sender has not lost a reply to it before.
    Act,
    Other,
}

/// Reads the commands of one connection, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Commands {
    state: State,
    /// The line or the string that is being read, as far as it is kept.
    text: Vec<u8>,
    /// Strings of the command that have not come yet.
    left: usize,
    is_act: bool,
    is_repetition: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Line,
    /// So many bytes of a string are left, and the end of its line.
    String(usize),
}

impl Commands {
    /// The commands that end in this piece.
    pub(super) fn read(&mut self, piece: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for &byte in piece {
            match &mut self.state {
                State::Line if byte == b'\n' => self.line(),
                State::Line => self.text.push(byte),
                State::String(left) if *left > 2 => {
                    *left -= 1;
                    if self.text.len() < KEPT {
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
        let number = || std::str::from_utf8(line.get(1..)?.trim_ascii()).ok()?.parse::<usize>().ok();
        match (line.first(), number()) {
            (Some(b'*'), Some(count)) => {
                (self.left, self.is_act, self.is_repetition) = (count, false, false);
            }
            (Some(b'$'), Some(length)) => self.state = State::String(length + 2),
            _ => {}
        }
    }

    fn string(&mut self) -> Option<Seen> {
        self.state = State::Line;
        let text = std::mem::take(&mut self.text);
        self.is_act |= text == b"write" || text == b"take+write" || text.starts_with(b"reserved:");
        // The service says so of an attempt that follows a broken connection.
        self.is_repetition = text == b"again";
        self.left = self.left.saturating_sub(1);
        let seen = if self.is_act && !self.is_repetition { Seen::Act } else { Seen::Other };
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
    fn acts_are_found_in_whatever_pieces_they_come() {
        let long = "x\r\n$5\r\nwrite\r\n".repeat(50);
        let all = [
            (command(&["PING"]), Seen::Other),
            (command(&["EVALSHA", "abc", "2", "session:{a}:meta", &long, "write", "", "0"]), Seen::Act),
            (command(&["EVALSHA", "abc", "2", "session:{a}:meta", "", "take+write", "1f", "12"]), Seen::Act),
            (command(&["EVALSHA", "abc", "2", "session:{a}:meta", "write", "", "0", "again"]), Seen::Other),
            (command(&["EVALSHA", "abc", "2", "session:{a}:meta", &long, "look", "", "0"]), Seen::Other),
            (command(&["EVALSHA", "abc", "1", "reserved:{0123}", "sealed", "1000"]), Seen::Act),
            (command(&["EVALSHA", "abc", "1", "reserved:{0123}", "sealed", "1000", "again"]), Seen::Other),
        ];
        let (text, expected): (String, Vec<_>) = all.into_iter().unzip();
        for size in [1, 2, 3, 7, 64, text.len()] {
            let mut commands = Commands::default();
            let seen: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| commands.read(piece)).collect();
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }
}
