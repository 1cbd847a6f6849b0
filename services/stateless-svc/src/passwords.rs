//! Hashes passwords by Argon2id, on few threads: each hash takes 19 MiB and about 20 ms.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::account::Password;

/// Memory of one hash, in KiB, and passes over it: OWASP's recommendation for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Hashes that wait for each thread: at about 20 ms each, the last waits for a third of a second.
const QUEUE_PER_THREAD: usize = 16;

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct PasswordHasher(Arc<Shared>);

struct Shared {
    threads: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    /// The hash of no password, for logins without a user: they take as long as others.
    dummy: String,
}

/// Why no hash was made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many hashes wait.
    #[error("too many passwords wait for being hashed")]
    Busy,
    /// The hasher failed.
    #[error("cannot hash a password")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PasswordHasher {
    /// One with so many threads.
    ///
    /// # Errors
    /// When Argon2 rejects its parameters.
    pub fn new(threads: NonZeroUsize) -> Result<Self, HashError> {
        let dummy = hash(&Password::given("no user has this password"))?;
        Ok(Self(Arc::new(Shared {
            threads: Arc::new(Semaphore::new(threads.get())),
            waiting: AtomicUsize::new(0),
            most_waiting: QUEUE_PER_THREAD * threads.get(),
            dummy,
        })))
    }

    /// The password's PHC string.
    ///
    /// # Errors
    /// See [`HashError`].
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.run(move || hash(&password)).await
    }

    /// Whether the password is the one of this PHC string. Without a string it is not, after the
    /// same work.
    ///
    /// # Errors
    /// See [`HashError`].
    pub async fn verify(&self, password: Password, phc: Option<String>) -> Result<bool, HashError> {
        let is_known = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.0.dummy.clone());
        let matches = self.run(move || verify(&password, &phc)).await?;
        Ok(matches && is_known)
    }

    /// The number of hashes that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = self.permit().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = permit;
            work()
        });
        done.await.map_err(|error| HashError::Failed(error.into()))?
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, HashError> {
        let threads = Arc::clone(&self.0.threads);
        if let Ok(permit) = Arc::clone(&threads).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.0).ok_or(HashError::Busy)?;
        threads.acquire_owned().await.map_err(|error| HashError::Failed(error.into()))
    }
}

/// A place in the queue.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Option<Self> {
        let before = shared.waiting.fetch_add(1, Ordering::Relaxed);
        // Its drop gives the place back.
        let place = Self(shared);
        (before < shared.most_waiting).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &Password) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2()?.hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(hash.to_string())
}

fn verify(password: &Password, phc: &str) -> Result<bool, HashError> {
    let hash = PasswordHash::new(phc).map_err(failed)?;
    match argon2()?.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: impl std::fmt::Display) -> HashError {
    HashError::Failed(error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(threads: usize) -> PasswordHasher {
        PasswordHasher::new(NonZeroUsize::new(threads).expect("one at least")).expect("a hasher")
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_alone() {
        let hasher = hasher(1);
        let phc = hasher.hash(Password::given("correct horse")).await.expect("a hash");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        for (password, phc, expected) in [
            ("correct horse", Some(phc.clone()), true),
            ("correct hors", Some(phc), false),
            ("correct horse", None, false),
            ("no user has this password", None, false),
        ] {
            let verified = hasher.verify(Password::given(password), phc).await.expect("no fault");
            assert_eq!(verified, expected, "{password}");
        }
    }

    #[tokio::test]
    async fn hashes_beyond_the_queue_are_rejected_and_others_are_not() {
        let hasher = hasher(1);
        let all: Vec<_> = (0..40)
            .map(|_| {
                tokio::spawn({
                    let hasher = hasher.clone();
                    async move { hasher.hash(Password::given("x")).await }
                })
            })
            .collect();
        let (mut made, mut rejected) = (0, 0);
        for one in all {
            match one.await.expect("no panic") {
                Ok(_) => made += 1,
                Err(HashError::Busy) => rejected += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(made + rejected, 40);
        assert!(made > QUEUE_PER_THREAD && rejected > 0, "{made} {rejected}");
        assert_eq!(hasher.waiting(), 0);
    }
}
