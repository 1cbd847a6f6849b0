//! The format of an element of a session's message list.
//!
//! `1:<accepted, ms since 1970>:<message id>:<bytes of the name>:<name><text>`, as `append.lua`
//! writes it. The leading number is the version of the format *and* of the wording of replies
//! (`domain/conversation.rs`). A change of either takes the next number and keeps reading the old
//! ones.

use jiff::Timestamp;

use crate::domain::conversation::{ClientName, Utterance};
use crate::domain::message::MessageText;

/// Parses an element of the list.
pub(super) fn parse(entry: String) -> Result<Utterance, DamagedEntry> {
    let mut parts = entry.splitn(5, ':');
    let mut part = || parts.next().ok_or(DamagedEntry);
    if part()? != "1" {
        return Err(DamagedEntry);
    }
    let millis = part()?.parse().map_err(|_| DamagedEntry)?;
    let created_at = Timestamp::from_millisecond(millis).map_err(|_| DamagedEntry)?;
    let id = part()?.parse().map_err(|_| DamagedEntry)?;
    let name_bytes = part()?.parse().map_err(|_| DamagedEntry)?;
    let (name, text) = part()?.split_at_checked(name_bytes).ok_or(DamagedEntry)?;
    let text = MessageText::parse(text.to_owned()).map_err(|_| DamagedEntry)?;
    Ok(Utterance { id, text, name: ClientName::new(name), created_at })
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
        assert_eq!(utterance.name.as_ref().map(ClientName::as_str), Some("Éva"));
        assert_eq!(utterance.text.as_str(), "a:b:c");
        assert_eq!(utterance.created_at.to_string(), "2026-02-05T00:00:00Z");
        assert_eq!(utterance.id.to_string(), ID);
        assert_eq!(parse(format!("1:0:{ID}:0:x")).expect("well formed").name, None);
    }

    #[test]
    fn malformed_entries_are_rejected() {
        for bad in [
            "",
            "1",
            "2:0:{ID}:0:x",
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
