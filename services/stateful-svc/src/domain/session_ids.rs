//! The ids of sessions that are created with an idempotency key.

use std::fmt;
use std::str::FromStr;

use hmac::Mac as _;
use proto_contracts::session_id::InvalidSessionId;
use proto_contracts::{AffinityKey, IdempotencyKey, SessionId};

use super::caller::Caller;
use super::digest::ShortDigest;
use super::shared_secret::SharedSecret;

/// Proposes ids for sessions that are created with an idempotency key.
///
/// The first proposal for a caller and a key is reserved in the store ([`IdReservation`]); those of
/// repetitions are discarded. Earlier versions of the service derived the id in the same way but
/// reserved nothing. So while both versions run, a repetition with the same affinity key finds the
/// session of either.
#[derive(Clone, Debug)]
pub struct SessionIds(SharedSecret);

impl SessionIds {
    /// Derives ids from this secret.
    pub fn new(secret: SharedSecret) -> Self {
        Self(secret)
    }

    /// The id to reserve. It begins with the affinity key that the create was routed by, or with a
    /// derived one.
    pub fn propose(
        &self,
        affinity: Option<AffinityKey>,
        caller: Caller,
        key: IdempotencyKey,
    ) -> SessionId {
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

/// The reservation of a session id for a caller and an idempotency key.
///
/// A session id grants access to its session, so stores hold it sealed. The secret half is XORed
/// with a digest of caller and key, which is never stored. Any instance can open it for a request
/// with that key, whatever its own secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdReservation {
    name: ShortDigest,
    pad: ShortDigest,
}

impl IdReservation {
    /// The reservation for this caller and key.
    pub fn new(caller: Caller, key: IdempotencyKey) -> Self {
        let subject = match &caller {
            Caller::Anonymous => &[][..],
            Caller::Subject(subject) => &subject.as_bytes()[..],
        };
        let digest = |purpose| ShortDigest::of(purpose, &[subject, key.as_bytes()]);
        Self { name: digest("reserved session id: name"), pad: digest("reserved session id: pad") }
    }

    /// The reservation's name in stores.
    pub const fn name(&self) -> ShortDigest {
        self.name
    }

    /// Seals the id for a store.
    pub fn seal(&self, id: &SessionId) -> SealedId {
        SealedId(masked(id, self.pad))
    }

    /// Opens a sealed id.
    pub fn open(&self, sealed: &SealedId) -> SessionId {
        masked(&sealed.0, self.pad)
    }
}

/// Seals the new id of a session that a user claims, for repetitions of the claim. The pad is a
/// digest of the old id and the user, of which stores hold only other digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSeal {
    pad: ShortDigest,
}

impl IdSeal {
    /// The seal of a claim of this session by this user.
    pub fn of_claim(old: &SessionId, user: ShortDigest) -> Self {
        let parts = [&old.secret()[..], &user.as_bytes()[..]];
        Self { pad: ShortDigest::of("claimed session id: pad", &parts) }
    }

    /// Seals the id for a store.
    pub fn seal(&self, id: &SessionId) -> SealedId {
        SealedId(masked(id, self.pad))
    }

    /// Opens a sealed id.
    pub fn open(&self, sealed: &SealedId) -> SessionId {
        masked(&sealed.0, self.pad)
    }
}

fn masked(id: &SessionId, pad: ShortDigest) -> SessionId {
    let (secret, pad) = (id.secret(), pad.as_bytes());
    SessionId::from_parts(id.affinity_key(), std::array::from_fn(|i| secret[i] ^ pad[i]))
}

/// A session id that only its reservation or seal can open. It has the form of an id but grants no
/// access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedId(SessionId);

impl fmt::Display for SealedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.expose())
    }
}

impl FromStr for SealedId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse_bytes(text.as_bytes()).expect("a UUID")
    }

    const KEYS: [&str; 2] =
        ["00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeefe"];

    #[test]
    fn a_proposal_is_derived_from_secret_caller_and_key() {
        let under = |secret: &str| SessionIds::new(SharedSecret::new(&SecretString::from(secret)));
        let [a, b] = KEYS.map(key);
        let affinity = AffinityKey::from_bits(0x0bad_cafe);
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));

        let id = under("s").propose(Some(affinity), ada, a);
        assert_eq!(id, under("s").propose(Some(affinity), ada, a));
        assert_eq!(id.affinity_key(), affinity);
        let others = [
            under("t").propose(Some(affinity), ada, a),
            under("s").propose(Some(affinity), bob, a),
            under("s").propose(Some(affinity), Caller::Anonymous, a),
            under("s").propose(Some(affinity), ada, b),
            SessionIds::new(SharedSecret::of_this_process()).propose(Some(affinity), ada, a),
        ];
        assert!(others.iter().all(|other| other.secret() != id.secret()), "{others:?}");

        let unrouted = under("s").propose(None, ada, a);
        assert_eq!(unrouted, under("s").propose(None, ada, a), "the affinity key is derived, too");
        assert_eq!(unrouted.secret(), id.secret());
        assert_ne!(unrouted.affinity_key(), under("s").propose(None, ada, b).affinity_key());
    }

    #[test]
    fn only_caller_and_key_open_a_sealed_id() {
        let [a, b] = KEYS.map(key);
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));
        let id = SessionId::generate(AffinityKey::from_bits(0x0bad_cafe));
        let mine = IdReservation::new(ada, a);
        let sealed = mine.seal(&id);
        assert_eq!(mine.open(&sealed), id);
        assert_eq!(sealed.to_string().parse(), Ok(sealed.clone()));
        assert!(sealed.to_string().starts_with("0badcafe-") && sealed.to_string() != id.expose());
        for other in [
            IdReservation::new(ada, b),
            IdReservation::new(bob, a),
            IdReservation::new(Caller::Anonymous, a),
        ] {
            assert_ne!(other.name(), mine.name());
            assert_ne!(other.open(&sealed), id);
        }
        assert_ne!(mine.name(), mine.pad, "the name does not reveal the pad");
    }
}
