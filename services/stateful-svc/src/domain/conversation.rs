//! The service's replies to messages.
//!
//! A reply is computed from the session's state, which makes a lost session visible. The client
//! that was at message 7 then reads "message 1", without its name and the earlier messages.
//!
//! A reply in the history must equal the original reply. Its inputs are fixed at the time of the
//! write: the message's number, the first and the previous message, and the client's name at that
//! time. So a store keeps an [`Utterance`] (text and name) instead of the reply, and [`replay`]
//! computes the replies of a page.
//!
//! Each write is thus one atomic step that does not depend on wording. A change of the wording
//! changes the replies in existing histories, unless the stored format gets a new number
//! (`store/redis/entry.rs`).

use std::fmt;

use jiff::Timestamp;
use proto_contracts::MessageId;

use super::message::{Message, MessageText};

/// The client's name as replies use it: one line, not empty, at most [`ClientName::MAX_CHARS`]
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The longest name in a reply. It is stored with each message, so it must stay small.
    pub const MAX_CHARS: usize = 64;

    /// Shortens a client's name for replies; `None` when it is blank.
    pub fn new(text: &str) -> Option<Self> {
        let name = shorten(text, Self::MAX_CHARS);
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message as a later reply quotes it: one line, at most [`Quote::MAX_CHARS`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote(String);

impl Quote {
    /// The longest quote.
    pub const MAX_CHARS: usize = 80;

    /// Shortens a text for quotation. Idempotent: the quote of a quote is the quote.
    pub fn of(text: &str) -> Self {
        Self(shorten(text, Self::MAX_CHARS))
    }

    /// The quote as text, without quotation marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{}”", self.0)
    }
}

/// The messages before a message.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The session's first message.
    pub first: &'a Quote,
    /// The previous message.
    pub previous: &'a Quote,
}

/// The reply to a session's `number`-th message; `earlier` is `None` for the first.
pub fn reply(number: u64, name: Option<&ClientName>, earlier: Option<Earlier<'_>>) -> String {
    let greeting = name.map_or("Hello.".to_owned(), |name| format!("Hello {}.", name.as_str()));
    let place = format!("{greeting} This is message {number} of our conversation.");
    match earlier {
        None => place,
        Some(Earlier { first, .. }) if number == 2 => format!("{place} It began with {first}."),
        Some(Earlier { first, previous }) => {
            format!("{place} It began with {first}; before this you said {previous}.")
        }
    }
}

/// Where the reply to a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplySource {
    /// It is computed, with the client's name at the time of the message.
    Computed(Option<ClientName>),
    /// A client kept it, and brought it when the session was created.
    Restored(MessageText),
}

/// A message as stores keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    pub id: MessageId,
    pub text: MessageText,
    pub reply: ReplySource,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl Utterance {
    /// The message with its reply.
    pub fn with_reply(self, number: u64, earlier: Option<Earlier<'_>>) -> Message {
        let Self { id, text, reply: source, created_at } = self;
        let (reply, is_restored) = match source {
            ReplySource::Computed(name) => (reply(number, name.as_ref(), earlier), false),
            ReplySource::Restored(reply) => (reply.into_string(), true),
        };
        Message { id, number, text, reply, created_at, is_restored }
    }
}

/// The messages of a page with their replies. `first` is the session's first message, `previous`
/// the one before the page, if any, and `number` the number of the page's first message.
pub fn replay(
    first: &Quote,
    mut previous: Option<Quote>,
    number: u64,
    page: impl IntoIterator<Item = Utterance>,
) -> Vec<Message> {
    let with_reply = |(number, utterance): (u64, Utterance)| {
        let quote = Quote::of(utterance.text.as_str());
        let earlier = previous.replace(quote);
        utterance.with_reply(number, earlier.as_ref().map(|previous| Earlier { first, previous }))
    };
    (number..).zip(page).map(with_reply).collect()
}

/// The text on one line, truncated to at most `max_chars` characters, of which the last is "…".
fn shorten(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut chars = 0;
    let words =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    for (i, word) in words.enumerate() {
        let space = (i > 0).then_some(' ');
        for c in space.into_iter().chain(word.chars()) {
            if chars == max_chars {
                line.pop();
                line.truncate(line.trim_end().len());
                line.push('…');
                return line;
            }
            line.push(c);
            chars += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utterance(text: &str, name: Option<&str>) -> Utterance {
        Utterance {
            id: MessageId::generate(),
            text: MessageText::parse(text.to_owned()).expect("fits"),
            reply: ReplySource::Computed(name.and_then(ClientName::new)),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn replies_refer_to_earlier_messages() {
        let page = [
            utterance("hi", Some("Ada")),
            utterance("how are you?", Some("Ada")),
            utterance("bye", None),
        ];
        let replies: Vec<_> = replay(&Quote::of("hi"), None, 1, page)
            .into_iter()
            .map(|message| message.reply)
            .collect();
        assert_eq!(
            replies,
            [
                "Hello Ada. This is message 1 of our conversation.",
                "Hello Ada. This is message 2 of our conversation. It began with “hi”.",
                "Hello. This is message 3 of our conversation. It began with “hi”; before this \
                 you said “how are you?”.",
            ]
        );
    }

    #[test]
    fn a_page_has_the_same_replies_as_the_whole_history() {
        let all: Vec<_> =
            (1..=7).map(|i| utterance(&format!("message {i}"), Some("Ada"))).collect();
        let first = Quote::of("message 1");
        let whole = replay(&first, None, 1, all.clone());
        for start in 0..all.len() {
            let previous = start.checked_sub(1).map(|i| Quote::of(all[i].text.as_str()));
            let page = replay(&first, previous, start as u64 + 1, all[start..].to_vec());
            assert_eq!(page, whole[start..]);
        }
    }

    #[test]
    fn long_quotes_are_truncated_between_characters() {
        let quote = Quote::of(&"ä€🚲".repeat(100));
        assert_eq!(quote.as_str().chars().count(), Quote::MAX_CHARS);
        assert!(quote.as_str().starts_with("ä€🚲") && quote.as_str().ends_with('…'));
        assert_eq!(Quote::of(" two\n\t lines\u{0} ").as_str(), "two lines");
        let exactly = "x".repeat(Quote::MAX_CHARS);
        assert_eq!(Quote::of(&exactly).as_str(), exactly);
    }

    #[test]
    fn a_blank_name_is_none() {
        assert_eq!(ClientName::new(" \n"), None);
        assert_eq!(
            ClientName::new(" Ada  Lovelace").as_ref().map(ClientName::as_str),
            Some("Ada Lovelace")
        );
    }

    proptest! {
        /// Stores keep the quote of a message, and pages quote the message itself: both must be
        /// equal.
        #[test]
        fn a_quote_of_a_quote_is_the_quote(text in "\\PC*|[ a\\n\u{85}\u{3000}]{0,200}") {
            let quote = Quote::of(&text);
            prop_assert!(quote.as_str().chars().count() <= Quote::MAX_CHARS);
            prop_assert_eq!(&Quote::of(quote.as_str()), &quote);
        }
    }
}
