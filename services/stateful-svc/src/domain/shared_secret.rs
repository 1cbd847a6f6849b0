//! The secret that all instances share, and what is made under it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// Makes message authentication codes that any instance with the same secret makes, too.
#[derive(Clone)]
pub struct SharedSecret(Hmac<Sha256>);

impl SharedSecret {
    /// This secret, which must be the same for all instances.
    pub fn new(secret: &SecretString) -> Self {
        Self::under(secret.expose_secret().as_bytes())
    }

    /// One of this process alone: what is made under it means nothing to another.
    pub fn of_this_process() -> Self {
        Self::under(&rand::random::<[u8; 32]>())
    }

    fn under(secret: &[u8]) -> Self {
        // A key of any length will do: HMAC hashes a long one and fills up a short one.
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// A code for this purpose, to be fed with the rest. Codes for different purposes differ.
    pub(super) fn mac(&self, purpose: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        mac
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret")
    }
}
