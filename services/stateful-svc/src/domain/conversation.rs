//! What the service answers to a message.
//!
//! The answer is made from the session's state, so that a lost session is plain to see: who was at message 7 reads
//! "message 1", without a name and without what was said before.
//!
//! A reply in the history must equal the reply that was given, whatever happened to the session since. Everything that
//! goes into it is fixed by the time of the write: the message's number, the first message, the one before, and the
//! client's name *as it was then*. So a store keeps an [`Utterance`] (the text and the name of its time) and not the
//! reply, and [`replay`] computes the replies of a page from its neighbours. That keeps each write one atomic step that
//! knows nothing of wording, in Lua as in Rust. Who changes the wording changes the replies in running histories too,
//! unless the stored format gets a new number (`store/redis/entry.rs`).

use std::fmt;

use jiff::Timestamp;
use proto_contracts::MessageId;

use super::message::{Message, MessageText};

/// The client's name as replies use it: one line, not empty, at most [`ClientName::MAX_CHARS`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// The longest name that a reply spells out. It is kept with each message, so it must stay small.
    pub const MAX_CHARS: usize = 64;

    /// The name that replies use for what the client calls itself; `None` when that is blank.
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

    /// How a reply quotes this text. A quote of a quote is the quote itself.
    pub fn of(text: &str) -> Self {
        Self(shorten(text, Self::MAX_CHARS))
    }

    /// The quote as text, without its marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{}”", self.0)
    }
}

/// What was said before a message.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The session's first message.
    pub first: &'a Quote,
    /// The one just before.
    pub previous: &'a Quote,
}

/// The answer to a session's `number`-th message; `earlier` is what came before the message, if anything did.
pub fn reply(number: u64, name: Option<&ClientName>, earlier: Option<Earlier<'_>>) -> String {
    let greeting = name.map_or("Hello.".to_owned(), |name| format!("Hello {}.", name.as_str()));
    let place = format!("{greeting} This is message {number} of our conversation.");
    match earlier {
        None => place,
        Some(Earlier { first, .. }) if number == 2 => format!("{place} It began with {first}."),
        Some(Earlier { first, previous }) => format!("{place} It began with {first}; before this you said {previous}."),
    }
}

/// A message as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub text: MessageText,
    /// What the client called itself when it said so.
    pub name: Option<ClientName>,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl Utterance {
    /// The message with its answer.
    pub fn answered(self, number: u64, earlier: Option<Earlier<'_>>) -> Message {
        let reply = reply(number, self.name.as_ref(), earlier);
        Message { id: self.id, number, text: self.text, reply, created_at: self.created_at }
    }
}

/// The messages of a page with the replies that they got: `first` opened the session, `previous` is the message before
/// the page, if any, and the page follows it from message `number` on.
pub fn replay(
    first: &Quote,
    mut previous: Option<Quote>,
    number: u64,
    page: impl IntoIterator<Item = Utterance>,
) -> Vec<Message> {
    let answer = |(number, utterance): (u64, Utterance)| {
        let said = Quote::of(utterance.text.as_str());
        let earlier = previous.replace(said);
        utterance.answered(number, earlier.as_ref().map(|previous| Earlier { first, previous }))
    };
    (number..).zip(page).map(answer).collect()
}

/// The text on one line, cut between characters to at most `max_chars` of them; what was cut shows as "…".
fn shorten(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut chars = 0;
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
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

    fn said(text: &str, name: Option<&str>) -> Utterance {
        Utterance {
            id: MessageId::generate(),
            text: MessageText::parse(text.to_owned()).expect("fits"),
            name: name.and_then(ClientName::new),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_conversation_reads_like_one() {
        let page = [said("hi", Some("Ada")), said("how are you?", Some("Ada")), said("bye", None)];
        let replies: Vec<_> =
            replay(&Quote::of("hi"), None, 1, page).into_iter().map(|message| message.reply).collect();
        assert_eq!(
            replies,
            [
                "Hello Ada. This is message 1 of our conversation.",
                "Hello Ada. This is message 2 of our conversation. It began with “hi”.",
                "Hello. This is message 3 of our conversation. It began with “hi”; before this you said “how are you?”.",
            ]
        );
    }

    #[test]
    fn a_page_replays_like_the_whole() {
        let all: Vec<_> = (1..=7).map(|i| said(&format!("message {i}"), Some("Ada"))).collect();
        let first = Quote::of("message 1");
        let whole = replay(&first, None, 1, all.clone());
        for start in 0..all.len() {
            let previous = start.checked_sub(1).map(|i| Quote::of(all[i].text.as_str()));
            let page = replay(&first, previous, start as u64 + 1, all[start..].to_vec());
            assert_eq!(page, whole[start..]);
        }
    }

    #[test]
    fn long_quotes_are_cut_between_characters() {
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
        assert_eq!(ClientName::new(" Ada  Lovelace").as_ref().map(ClientName::as_str), Some("Ada Lovelace"));
    }

    proptest! {
        /// Stores keep the quote of a message, and pages quote the message itself: both must come out alike.
        #[test]
        fn a_quote_of_a_quote_is_the_quote(text in "\\PC*|[ a\\n\u{85}\u{3000}]{0,200}") {
            let quote = Quote::of(&text);
            prop_assert!(quote.as_str().chars().count() <= Quote::MAX_CHARS);
            prop_assert_eq!(&Quote::of(quote.as_str()), &quote);
        }
    }
}
