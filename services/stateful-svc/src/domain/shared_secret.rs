//! The secret that all instances share, and the codes derived from it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// Computes message authentication codes, equal at all instances with the same secret.
#[derive(Clone)]
pub struct SharedSecret(Hmac<Sha256>);

impl SharedSecret {
    /// The configured secret, which must be the same for all instances.
    pub fn new(secret: &SecretString) -> Self {
        Self::under(secret.expose_secret().as_bytes())
    }

    /// A random secret of this process: its codes are invalid at other instances.
    pub fn of_this_process() -> Self {
        Self::under(&rand::random::<[u8; 32]>())
    }

    fn under(secret: &[u8]) -> Self {
        // HMAC hashes a long key and pads a short one.
        Self(Hmac::new_from_slice(secret).expect("HMAC accepts keys of any length"))
    }

    /// Starts a code for this purpose. Codes for different purposes differ.
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
