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

/// When the caller's token was issued, in seconds since 1970. Sessions refuse tokens that are older
/// than their owner's last revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuedAt(i64);

impl IssuedAt {
    /// Of a caller without a token, or one whose token was checked before: never too old.
    pub const NEVER_REVOKED: Self = Self(i64::MAX);

    /// This second.
    pub const fn at(seconds: i64) -> Self {
        Self(seconds)
    }

    /// The seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// Whether a revocation of all tokens before this second covers the token.
    pub const fn is_before(self, not_before: i64) -> bool {
        self.0 < not_before
    }
}

/// A caller, with the age of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub caller: Caller,
    pub issued_at: IssuedAt,
}

impl Credentials {
    /// Of a request without a token.
    pub const ANONYMOUS: Self =
        Self { caller: Caller::Anonymous, issued_at: IssuedAt::NEVER_REVOKED };
}

impl From<Caller> for Credentials {
    fn from(caller: Caller) -> Self {
        Self { caller, issued_at: IssuedAt::NEVER_REVOKED }
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
