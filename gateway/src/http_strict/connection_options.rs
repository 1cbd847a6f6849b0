//! What `Connection` fields say.

use crate::http_strict::field_kind::FieldKind;
use crate::http_strict::field_line::FieldLine;
use crate::http_strict::version::Version;

/// The options of all `Connection` fields of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close` is among them.
    pub close: bool,
    /// `keep-alive` is among them.
    pub keep_alive: bool,
    /// `upgrade` is among them.
    pub upgrade: bool,
    /// Number of other options: names of fields for this connection only.
    pub others: u32,
}

impl ConnectionOptions {
    /// Whether the sender keeps the connection (RFC 9112, section 9.3).
    pub fn keeps(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Adds those of one field.
    pub fn take(&mut self, value: &[u8]) {
        // Mostly there is one.
        if !self.take_known(value) {
            for option in options(value) {
                self.others += u32::from(!self.take_known(option));
            }
        }
    }

    fn take_known(&mut self, option: &[u8]) -> bool {
        match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
            7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            _ => return false,
        }
        true
    }

    /// Marks the lines that they name.
    pub(super) fn mark(self, lines: &mut [FieldLine], header: &[u8]) {
        if self.others == 0 {
            return;
        }
        for index in 0..lines.len() {
            if lines[index].kind != FieldKind::Connection {
                continue;
            }
            for option in options(&header[lines[index].value()]) {
                for line in lines.iter_mut().filter(|line| may_be_named(line.kind)) {
                    if header[line.name()].eq_ignore_ascii_case(option) {
                        line.name_by_connection();
                    }
                }
            }
        }
    }
}

/// Whether `Connection` may remove such a field. Without the first two a request would change its
/// meaning; the others are not forwarded anyway.
const fn may_be_named(kind: FieldKind) -> bool {
    !matches!(kind, FieldKind::Host | FieldKind::ContentLength) && !kind.is_hop_by_hop()
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}
