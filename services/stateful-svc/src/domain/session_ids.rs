//! How sessions get their ids.

use hmac::Mac as _;
use proto_contracts::{AffinityKey, IdempotencyKey, SessionId};

use super::caller::Caller;
use super::shared_secret::SharedSecret;

/// Gives ids to new sessions.
///
/// An id is drawn at random unless the create has an idempotency key. Then it follows from the key and the caller, under a
/// secret that all instances share, so that a repetition finds the session through any instance, and nobody who knows a key
/// alone can tell the id.
#[derive(Clone, Debug)]
pub struct SessionIds(SharedSecret);

impl SessionIds {
    /// Ids under this secret.
    pub fn new(secret: SharedSecret) -> Self {
        Self(secret)
    }

    /// The id of a new session. `affinity` is the key that the create was routed by; without one, any will do.
    pub fn assign(
        &self,
        affinity: Option<AffinityKey>,
        caller: Caller,
        idempotency: Option<IdempotencyKey>,
    ) -> SessionId {
        let Some(key) = idempotency else {
            return SessionId::generate(affinity.unwrap_or_else(AffinityKey::random));
        };
        let mut mac = self.0.mac("session id");
        match caller {
            Caller::Anonymous => mac.update(&[0]),
            Caller::Subject(subject) => {
                mac.update(&[1]);
                mac.update(subject.as_bytes());
            }
        }
        mac.update(key.as_bytes());
        let derived = mac.finalize().into_bytes();
        let derived_affinity = u32::from_be_bytes(std::array::from_fn(|i| derived[16 + i]));
        let affinity = affinity.unwrap_or(AffinityKey::from_bits(derived_affinity));
        SessionId::from_parts(affinity, std::array::from_fn(|i| derived[i]))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_keyed_id_follows_from_secret_caller_and_key() {
        let under = |secret: &str| SessionIds::new(SharedSecret::new(&SecretString::from(secret)));
        let key = |text: &str| IdempotencyKey::parse_bytes(text.as_bytes());
        let (a, b) = (key("00112233445566778899aabbccddeeff"), key("00112233445566778899aabbccddeefe"));
        let affinity = AffinityKey::from_bits(0x0bad_cafe);
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));

        let id = under("s").assign(Some(affinity), ada, a);
        assert_eq!(id, under("s").assign(Some(affinity), ada, a));
        assert_eq!(id.affinity_key(), affinity);
        let others = [
            under("t").assign(Some(affinity), ada, a),
            under("s").assign(Some(affinity), bob, a),
            under("s").assign(Some(affinity), Caller::Anonymous, a),
            under("s").assign(Some(affinity), ada, b),
            under("s").assign(Some(affinity), ada, None),
            SessionIds::new(SharedSecret::of_this_process()).assign(Some(affinity), ada, a),
        ];
        assert!(others.iter().all(|other| other.expose()[9..] != id.expose()[9..]), "{others:?}");

        let unrouted = under("s").assign(None, ada, a);
        assert_eq!(unrouted, under("s").assign(None, ada, a), "the affinity key follows from it, too");
        assert_eq!(unrouted.expose()[9..], id.expose()[9..]);
        assert_ne!(unrouted.affinity_key(), under("s").assign(None, ada, b).affinity_key());
        assert_ne!(under("s").assign(None, ada, None), under("s").assign(None, ada, None), "drawn at random");
    }
}
