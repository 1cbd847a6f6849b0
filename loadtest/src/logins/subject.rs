//! The instance that is measured, and the user who logs in there.

pub(super) const USERNAME: &str = "the-one-user";
pub(super) const PASSWORD: &str = "correct horse battery staple";
/// The instance that serves all of them.
pub(super) const INSTANCE: &str = "stateless-1";
/// Its `AUTH_PASSWORD_THREADS`.
pub(super) const THREADS: u64 = 2;
