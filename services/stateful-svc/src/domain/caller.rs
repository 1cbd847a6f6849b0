//! Who asks, and whose a session is.

use super::digest::ShortDigest;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody who did not say. A session that such a caller creates is owned by nobody: its id opens it.
    Anonymous,
    /// The subject of a token that was verified.
    Subject(ShortDigest),
}

impl Caller {
    /// The subject of that name, as this issuer names it. Only a digest of both is kept.
    pub fn subject(issuer: &str, subject: &str) -> Self {
        Self::Subject(ShortDigest::of("session owner", &[issuer.as_bytes(), subject.as_bytes()]))
    }

    /// Whether this caller may use a session that `owner` created.
    pub fn may_use(self, owner: Self) -> bool {
        owner == Self::Anonymous || owner == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_owns_is_open_and_what_somebody_owns_is_theirs() {
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));
        assert_ne!(ada, Caller::subject("j", "ada"), "two issuers may use one name for two people");
        for (caller, owner, may) in [
            (Caller::Anonymous, Caller::Anonymous, true),
            (ada, Caller::Anonymous, true),
            (ada, ada, true),
            (bob, ada, false),
            (Caller::Anonymous, ada, false),
        ] {
            assert_eq!(caller.may_use(owner), may, "{caller:?} {owner:?}");
        }
    }
}
