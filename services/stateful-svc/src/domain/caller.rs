//! The caller of a request, and the owner of a session.

use super::digest::ShortDigest;

/// The caller of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A caller without a token. A session that it creates has no owner: its id alone grants
    /// access.
    Anonymous,
    /// The subject of a verified token.
    Subject(ShortDigest),
}

impl Caller {
    /// The subject of a token, as this issuer names it. Only a digest of both is stored.
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
    fn only_its_owner_may_use_an_owned_session() {
        let (ada, bob) = (Caller::subject("i", "ada"), Caller::subject("i", "bob"));
        assert_ne!(
            ada,
            Caller::subject("j", "ada"),
            "two issuers may use one name for different subjects"
        );
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
