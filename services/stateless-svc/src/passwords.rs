//! Hashes passwords by Argon2id, on few threads: each hash takes 19 MiB and about 20 ms.
//!
//! The threads are for nothing else: each keeps the memory of its first hash for the next ones, and
//! yields to the threads that serve requests. Memory that was allocated for each hash was not given
//! back: some hundred MiB in place of 19 for each thread.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{Output, ParamsString, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;

use crate::domain::account::Password;

/// Memory of one hash, in KiB, and passes over it: OWASP's recommendation for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Hashes that wait for each thread: at about 20 ms each, the last waits for a third of a second.
const QUEUE_PER_THREAD: usize = 16;
/// The threads' `nice` value: other threads get nearly all of a busy core.
const NICE: i32 = 15;

/// Hashes and verifies passwords. Cheap to clone. Its threads end with the last clone.
#[derive(Clone)]
pub struct PasswordHasher {
    queue: Sender<Job>,
    /// The hash of no password, for logins without a user: they take as long as others.
    dummy: Arc<str>,
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;
/// The memory of one hash at a time.
type Memory = Vec<Block>;

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
    /// When Argon2 rejects its parameters, or a thread cannot be started.
    pub fn new(threads: NonZeroUsize) -> Result<Self, HashError> {
        let nobodys = Password::given("no user has this password");
        let dummy = hash(&nobodys, &mut Memory::new())?.into();
        let (queue, jobs) = bounded(QUEUE_PER_THREAD * threads.get());
        for number in 1..=threads.get() {
            let jobs = jobs.clone();
            let thread = thread::Builder::new().name(format!("password-{number}"));
            thread.spawn(move || work(&jobs)).map_err(|error| HashError::Failed(error.into()))?;
        }
        Ok(Self { queue, dummy })
    }

    /// The password's PHC string.
    ///
    /// # Errors
    /// See [`HashError`].
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.run(move |memory| hash(&password, memory)).await
    }

    /// Whether the password is the one of this PHC string. Without a string it is not, after the
    /// same work.
    ///
    /// # Errors
    /// See [`HashError`].
    pub async fn verify(&self, password: Password, phc: Option<String>) -> Result<bool, HashError> {
        let is_known = phc.is_some();
        let phc = phc.unwrap_or_else(|| self.dummy.to_string());
        let matches = self.run(move |memory| verify(&password, &phc, memory)).await?;
        Ok(matches && is_known)
    }

    /// The number of hashes that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    async fn run<T: Send + 'static>(
        &self,
        hash: impl FnOnce(&mut Memory) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let (sender, done) = oneshot::channel();
        let job = move |memory: &mut Memory| {
            // Nobody waits any more for the hash of a client that has left.
            if !sender.is_closed() {
                let _left_meanwhile = sender.send(hash(memory));
            }
        };
        match self.queue.try_send(Box::new(job)) {
            Ok(()) => done.await.map_err(|error| HashError::Failed(error.into()))?,
            Err(TrySendError::Full(_)) => Err(HashError::Busy),
            Err(TrySendError::Disconnected(_)) => {
                Err(HashError::Failed("the threads have ended".into()))
            }
        }
    }
}

/// One thread.
fn work(jobs: &Receiver<Job>) {
    // Where a policy forbids it, hashes compete with requests.
    if let Err(error) = setpriority_process(Some(gettid()), NICE) {
        tracing::debug!(cause = %error, "passwords are hashed at normal priority");
    }
    let mut memory = Memory::new();
    jobs.iter().for_each(|job| job(&mut memory));
}

fn hash(password: &Password, memory: &mut Memory) -> Result<String, HashError> {
    let salt = SaltString::generate(&mut OsRng);
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(failed)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(failed)?,
        salt: Some(salt.as_salt()),
        hash: Some(output(password, salt.as_salt(), params, memory)?),
    };
    Ok(hash.to_string())
}

fn verify(password: &Password, phc: &str, memory: &mut Memory) -> Result<bool, HashError> {
    let stored = PasswordHash::new(phc).map_err(failed)?;
    let is_ours = stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into());
    let (true, Some(salt), Some(hash)) = (is_ours, stored.salt, stored.hash) else {
        return Err(failed("the stored hash is not of Argon2id, version 19"));
    };
    let params = Params::try_from(&stored).map_err(failed)?;
    // Compares in constant time.
    Ok(output(password, salt, params, memory)? == hash)
}

/// The hash by these parameters.
fn output(
    password: &Password,
    salt: Salt<'_>,
    params: Params,
    memory: &mut Memory,
) -> Result<Output, HashError> {
    memory.resize(params.block_count(), Block::default());
    let mut salt_buffer = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut salt_buffer).map_err(failed)?;
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let fill = |out: &mut [u8]| {
        let hashed = argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, memory);
        hashed.map_err(Into::into)
    };
    Output::init_with(length, fill).map_err(failed)
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
    async fn hashes_of_other_programs_are_verified_too() {
        // By argon2-cffi: 8 MiB, three passes, a tag of 16 bytes.
        let phc = "$argon2id$v=19$m=8192,t=3,p=1$\
                   JdG4ighb4RERBkcvLK5PAw$lkgc5DWlSLf0IODT9VrIRQ";
        let hasher = hasher(1);
        for (password, expected) in [("correct horse", true), ("correct hors", false)] {
            let verified = hasher.verify(Password::given(password), Some(phc.to_owned())).await;
            assert_eq!(verified.expect("no fault"), expected, "{password}");
        }
        for other in ["", "$2b$12$abc", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"] {
            let refused = hasher.verify(Password::given("x"), Some(other.to_owned())).await;
            assert!(matches!(refused, Err(HashError::Failed(_))), "{other}");
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
        assert!(made >= QUEUE_PER_THREAD && rejected > 0, "{made} {rejected}");
        assert_eq!(hasher.waiting(), 0);
    }
}
