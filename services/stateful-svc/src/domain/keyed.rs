//! What is remembered of a request with an `Idempotency-Key`, so that its repetition is known as one.
//!
//! A session remembers the keys of the writes that were done to it, for as long as it lives: its creation, each message
//! (there are at most [`MAX_MESSAGES`](proto_contracts::stateful::MAX_MESSAGES)), and the last
//! [`MAX_KEPT_PATCHES`] patches. A write that was refused changed nothing, is not remembered, and may come again under its
//! key. What is kept is not the answer but what it takes to give it again; see `docs/adr/0006-idempotency-keys.md`.

use proto_contracts::IdempotencyKey;

use super::client_data::{ClientData, MergePatch};
use super::digest::ShortDigest;
use super::message::MessageText;

/// How many patches of a session are remembered. Each takes as much as the client data did then, so at most some 6 MiB.
pub const MAX_KEPT_PATCHES: usize = 100;

/// A write that may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The key, as stores know it: who reads a store cannot send it.
    pub key: ShortDigest,
    /// What is done with what; a repetition has the same.
    pub fingerprint: ShortDigest,
}

impl Keyed {
    /// A session is created with this data.
    pub fn create(key: IdempotencyKey, client_data: &ClientData) -> Self {
        Self::new(key, "create", client_data.as_str())
    }

    /// This message is posted.
    pub fn append(key: IdempotencyKey, text: &MessageText) -> Self {
        Self::new(key, "append", text.as_str())
    }

    /// Client data is changed by this patch.
    pub fn patch(key: IdempotencyKey, patch: &MergePatch) -> Self {
        Self::new(key, "patch", patch.as_str())
    }

    fn new(key: IdempotencyKey, act: &str, what: &str) -> Self {
        Self {
            key: ShortDigest::of("idempotency key", &[key.as_bytes()]),
            fingerprint: ShortDigest::of(act, &[what.as_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_repetition_is_the_same_act_with_the_same_input() {
        let key = |text: &str| IdempotencyKey::parse_bytes(text.as_bytes()).expect("a UUID");
        let (a, b) = (key("00112233-4455-6677-8899-aabbccddeeff"), key("00112233-4455-6677-8899-aabbccddeefe"));
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let data = |text: &str| ClientData::parse(&raw(text)).expect("client data");
        let patch = MergePatch::parse(&raw("{}")).expect("a patch");
        let text = MessageText::parse("{}".to_owned()).expect("a message");

        let created = Keyed::create(a, &data("{}"));
        assert_eq!(created, Keyed::create(a, &data(" { } ")), "white space says nothing");
        assert_ne!(created.key, Keyed::create(b, &data("{}")).key);
        assert_eq!(created.fingerprint, Keyed::create(b, &data("{}")).fingerprint);
        for other in [Keyed::create(a, &data("{\"a\":1}")), Keyed::append(a, &text), Keyed::patch(a, &patch)] {
            assert!(other.key == created.key && other.fingerprint != created.fingerprint, "{other:?}");
        }
    }
}
