//! Recognizing repeated requests by their `Idempotency-Key`.

use proto_contracts::IdempotencyKey;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use super::account::Username;

/// The identity of a request with a key, of which nothing can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The HMAC of caller and key.
    pub key: [u8; 32],
    /// The HMAC of operation and input, equal for repetitions.
    pub fingerprint: [u8; 32],
}

/// Computes the identities of requests. Cheap to clone.
#[derive(Clone)]
pub struct KeyDigests(hmac::Key);

impl KeyDigests {
    /// With the secret that all instances share. Without one, a reader of the database who guesses
    /// a client's key could test guesses of the input, such as a password.
    pub fn new(secret: Option<&SecretString>) -> Self {
        let secret = secret.map_or("", |secret| secret.expose_secret());
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// The identity of a request of a caller: the kind, and the user. `input` is all that the
    /// response depends on.
    pub fn keyed(
        &self,
        key: IdempotencyKey,
        (kind, user): (&str, Option<&Username>),
        operation: &str,
        input: &[u8],
    ) -> Keyed {
        let user = user.map_or("", Username::as_str);
        let caller = [kind.as_bytes(), user.as_bytes(), key.as_bytes()];
        // The key is in the fingerprint, too: it is a secret, and stored nowhere.
        let input = [key.as_bytes(), operation.as_bytes(), input];
        Keyed { key: self.hmac("key", &caller), fingerprint: self.hmac("fingerprint", &input) }
    }

    fn hmac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose.as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_has_the_same_caller_operation_and_input() {
        let key = |text: &str| IdempotencyKey::parse_bytes(text.as_bytes()).expect("a key");
        let digests = KeyDigests::new(Some(&"s".repeat(32).into()));
        let ada: Username = "ada".parse().expect("a username");
        let ada = ("user", Some(&ada));
        let first = digests.keyed(key("order-42"), ada, "patch ada", b"{}");
        assert_eq!(digests.keyed(key("\"order-42\""), ada, "patch ada", b"{}"), first);
        for other in [
            digests.keyed(key("order-42"), ada, "patch ad", b"a{}"),
            digests.keyed(key("order-42"), ada, "patch ada", b"{ }"),
        ] {
            assert!(other.key == first.key && other.fingerprint != first.fingerprint);
        }
        for (other, caller) in [("order-43", ada), ("order-42", ("anonymous", None))] {
            assert_ne!(digests.keyed(key(other), caller, "patch ada", b"{}").key, first.key);
        }
        let unkeyed = KeyDigests::new(None).keyed(key("order-42"), ada, "patch ada", b"{}");
        assert!(unkeyed.key != first.key && unkeyed.fingerprint != first.fingerprint);
    }
}
