//! The format of an element of a session's message list.
//!
//! `1:<accepted, ms since 1970>:<message id>:<bytes of the name>:<name><text>`, as `append.lua`
//! writes it, or `2:<created, ms since 1970>:<message id>:<bytes of the reply>:<reply><text>` of a
//! restored message, as `create.lua` does. The leading number is the version of the format *and* of
//! the wording of replies (`domain/conversation.rs`). A change of either takes the next number and
//! keeps reading the old ones.

use jiff::Timestamp;

use crate::domain::conversation::{ClientName, ReplySource, Utterance};
use crate::domain::message::{MessageText, RestoredMessage};

/// Parses an element of the list.
pub(super) fn parse(entry: String) -> Result<Utterance, DamagedEntry> {
    let mut parts = entry.splitn(5, ':');
    let mut part = || parts.next().ok_or(DamagedEntry);
    let is_restored = match part()? {
        "1" => false,
        "2" => true,
        _ => return Err(DamagedEntry),
    };
    let millis = part()?.parse().map_err(|_| DamagedEntry)?;
    let created_at = Timestamp::from_millisecond(millis).map_err(|_| DamagedEntry)?;
    let id = part()?.parse().map_err(|_| DamagedEntry)?;
    let bytes = part()?.parse().map_err(|_| DamagedEntry)?;
    let (before, text) = part()?.split_at_checked(bytes).ok_or(DamagedEntry)?;
    let parse = |text: &str| MessageText::parse(text.to_owned()).map_err(|_| DamagedEntry);
    let reply = match is_restored {
        false => ReplySource::Computed(ClientName::new(before)),
        true => ReplySource::Restored(parse(before)?),
    };
    Ok(Utterance { id, text: parse(text)?, reply, created_at })
}

/// The element of a restored message without its beginning, which `create.lua` writes.
pub(super) fn restored(message: &RestoredMessage) -> String {
    let RestoredMessage { id, text, reply } = message;
    let (text, reply) = (text.as_str(), reply.as_str());
    format!("{id}:{}:{reply}{text}", reply.len())
}

/// The element is not in the format of `append.lua`. The error does not quote it, as the text is a
/// client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an element of a session's message list is malformed")]
pub(super) struct DamagedEntry;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn an_entry_round_trips() {
        let utterance = parse(format!("1:1770249600000:{ID}:4:Évaa:b:c")).expect("well formed");
        let named = |name| ReplySource::Computed(ClientName::new(name));
        assert_eq!(utterance.reply, named("Éva"));
        assert_eq!(utterance.text.as_str(), "a:b:c");
        assert_eq!(utterance.created_at.to_string(), "2026-02-05T00:00:00Z");
        assert_eq!(utterance.id.to_string(), ID);
        assert_eq!(parse(format!("1:0:{ID}:0:x")).expect("well formed").reply, named(""));
    }

    #[test]
    fn a_restored_entry_has_its_reply() {
        let text = |text: &str| MessageText::parse(text.to_owned()).expect("a text");
        let id = ID.parse().expect("an id");
        let message = RestoredMessage { id, text: text("1:0:é\0"), reply: text("Ü: 7:\n") };
        let utterance = parse(format!("2:7:{}", restored(&message))).expect("well formed");
        assert_eq!((utterance.id, utterance.text), (id, message.text));
        assert_eq!(utterance.reply, ReplySource::Restored(message.reply));
    }

    #[test]
    fn malformed_entries_are_rejected() {
        for bad in [
            "",
            "1",
            "2:0:{ID}:0:x",
            "2:0:{ID}:1:x",
            "3:0:{ID}:1:xx",
            "1:x:{ID}:0:x",
            "1:0:x:0:x",
            "1:0:{ID}:9:x",
            "1:0:{ID}:1:é",
            "1:0:{ID}:1:x",
        ] {
            assert_eq!(parse(bad.replace("{ID}", ID)), Err(DamagedEntry), "{bad}");
        }
    }
}
