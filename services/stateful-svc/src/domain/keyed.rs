//! Recognizing repeated requests by their `Idempotency-Key`.
//!
//! A session stores the keys of its writes for its lifetime: of its creation, of each message (at
//! most [`MAX_MESSAGES`](proto_contracts::stateful::MAX_MESSAGES)), and of the last
//! [`MAX_KEPT_PATCHES`] patches. A rejected write changes nothing, its key is not stored, and it
//! may be repeated. The store keeps what it needs to reproduce the response, not the response
//! itself; see `docs/adr/0006-idempotency-keys.md`.

use proto_contracts::IdempotencyKey;

use super::client_data::{ClientData, MergePatch};
use super::digest::ShortDigest;
use super::message::MessageText;
use super::session::NewSession;

/// How many patches of a session are kept. Each takes the size of the client data, so together at
/// most some 6 MiB.
pub const MAX_KEPT_PATCHES: usize = 100;

/// The identity of a write with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The digest of the key, from which a reader of the store cannot restore the key.
    pub key: ShortDigest,
    /// The digest of operation and input, equal for repetitions.
    pub fingerprint: ShortDigest,
}

impl Keyed {
    /// Of a create with this data.
    pub fn create(key: IdempotencyKey, client_data: &ClientData) -> Self {
        Self::new(key, "create", client_data.as_str())
    }

    /// Of a create with this data and these messages.
    pub fn create_from(key: IdempotencyKey, new: &NewSession) -> Self {
        let texts = new.messages.iter().flat_map(|message| [&message.text, &message.reply]);
        let mut input = vec![new.client_data.as_str().as_bytes()];
        input.extend(texts.map(|text| text.as_str().as_bytes()));
        Self::of_parts(key, "create", &input)
    }

    /// Of a message.
    pub fn append(key: IdempotencyKey, text: &MessageText) -> Self {
        Self::new(key, "append", text.as_str())
    }

    /// Of a patch.
    pub fn patch(key: IdempotencyKey, patch: &MergePatch) -> Self {
        Self::new(key, "patch", patch.as_str())
    }

    /// Of a claim.
    pub fn claim(key: IdempotencyKey) -> Self {
        Self::new(key, "claim", "")
    }

    fn new(key: IdempotencyKey, operation: &str, input: &str) -> Self {
        Self::of_parts(key, operation, &[input.as_bytes()])
    }

    fn of_parts(key: IdempotencyKey, operation: &str, input: &[&[u8]]) -> Self {
        Self {
            key: ShortDigest::of("idempotency key", &[key.as_bytes()]),
            fingerprint: ShortDigest::of(operation, input),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_repetition_has_the_same_operation_and_input() {
        let key = |text: &str| IdempotencyKey::parse_bytes(text.as_bytes()).expect("a UUID");
        let (a, b) = (
            key("00112233-4455-6677-8899-aabbccddeeff"),
            key("00112233-4455-6677-8899-aabbccddeefe"),
        );
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let data = |text: &str| ClientData::parse(&raw(text)).expect("client data");
        let patch = MergePatch::parse(&raw("{}")).expect("a patch");
        let text = MessageText::parse("{}".to_owned()).expect("a message");

        let created = Keyed::create(a, &data("{}"));
        assert_eq!(created, Keyed::create(a, &data(" { } ")), "white space is ignored");
        assert_ne!(created.key, Keyed::create(b, &data("{}")).key);
        assert_eq!(created.fingerprint, Keyed::create(b, &data("{}")).fingerprint);
        for other in
            [Keyed::create(a, &data("{\"a\":1}")), Keyed::append(a, &text), Keyed::patch(a, &patch)]
        {
            assert!(
                other.key == created.key && other.fingerprint != created.fingerprint,
                "{other:?}"
            );
        }
    }
}
