//! The messages of a session.

use jiff::Timestamp;
use proto_contracts::MessageId;
use proto_contracts::stateful::MAX_MESSAGE_BYTES;

use super::session_tag::{SessionTag, WriteNonce};

/// What a client says: 1 to [`MAX_MESSAGE_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageText(String);

impl MessageText {
    /// Takes a message that may be posted.
    ///
    /// # Errors
    /// It is empty or larger than a message may be.
    pub fn parse(text: String) -> Result<Self, InvalidMessage> {
        match text.len() {
            0 => Err(InvalidMessage::Empty),
            1..=MAX_MESSAGE_BYTES => Ok(Self(text)),
            bytes => Err(InvalidMessage::TooLarge { bytes }),
        }
    }

    /// The text as posted.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as posted, without a copy.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Why a text cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// It has no character.
    #[error("the message is empty")]
    Empty,
    /// It has more than [`MAX_MESSAGE_BYTES`] bytes.
    #[error("the message has {bytes} bytes; it may have {MAX_MESSAGE_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// A message on its way into a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its id, which the caller draws.
    pub id: MessageId,
    /// What it says.
    pub text: MessageText,
}

/// A message of a session, with the answer that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its place in the session, from 1.
    pub number: u64,
    /// What it says.
    pub text: MessageText,
    /// What was answered.
    pub reply: String,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A message that a session took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message; it is the session's newest, so its number is also the count of the session's messages.
    pub message: Message,
    /// The session's version after the write.
    pub version: u64,
    /// The write's own; `None` in the reply that an instance of an earlier version kept.
    pub nonce: Option<WriteNonce>,
}

impl Appended {
    /// Names the session's state after the write.
    pub fn tag(&self) -> Option<SessionTag> {
        Some(SessionTag { version: self.version, nonce: self.nonce? })
    }
}

/// A run of a session's messages, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages, numbered without a gap.
    pub messages: Vec<Message>,
    /// How many messages the session holds.
    pub message_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_size() {
        assert_eq!(MessageText::parse(String::new()), Err(InvalidMessage::Empty));
        assert!(MessageText::parse("a".repeat(MAX_MESSAGE_BYTES)).is_ok());
        let bytes = MAX_MESSAGE_BYTES + 1;
        assert_eq!(MessageText::parse("a".repeat(bytes)), Err(InvalidMessage::TooLarge { bytes }));
        // Bytes count, not characters.
        assert!(MessageText::parse("ä".repeat(MAX_MESSAGE_BYTES / 2 + 1)).is_err());
    }
}
