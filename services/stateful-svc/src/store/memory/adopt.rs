//! A session without owner becomes its caller's, under a new id.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::{MemoryStore, Tombstone, written};
use crate::domain::caller::Caller;
use crate::domain::clock::Clock;
use crate::domain::keyed::Keyed;
use crate::domain::session_tag::Expected;
use crate::store::{Access, AdoptError, Adopted, Adoption, WriteOutcome, Written};

impl<C: Clock> MemoryStore<C> {
    pub(super) fn adopt_now(
        &self,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError> {
        let Caller::Subject(owner) = access.caller else { return Err(AdoptError::NotFound) };
        let _one_at_a_time = self.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if let Some(stone) = self.tombstones.get(&access.session)
            && stone.expires_at > now
        {
            return match &stone.adopted {
                Some(id) if stone.owner == access.caller => {
                    Ok(written(Adopted::Under(id.clone()), WriteOutcome::Replayed))
                }
                _ => Err(AdoptError::NotFound),
            };
        }
        let check = |record: &mut super::Record, _| {
            if record.owner != Caller::Anonymous {
                return Ok(true);
            }
            if record.kept(keyed).is_some() {
                return Err(AdoptError::KeyReused);
            }
            if expected.allows(record.tag()) {
                Ok(false)
            } else {
                Err(AdoptError::PreconditionFailed)
            }
        };
        let found = self.with(access, check).map_err(|_revoked| AdoptError::Revoked)?;
        if found.ok_or(AdoptError::NotFound)?? {
            return Ok(written(Adopted::Already, WriteOutcome::Applied));
        }
        let new = Access { session: adoption.session, ..access };
        if !self.add_owned(owner, new, now) {
            return Err(AdoptError::TooMany);
        }
        // With the index's entry there, a revocation from now on finds the session.
        self.revocations.check(access.caller, access).map_err(|_revoked| AdoptError::Revoked)?;
        let expires_at = now.checked_add(self.lifetime.absolute).unwrap_or(Timestamp::MAX);
        let Some((_, mut record)) = self.sessions.remove_if(&access.session, |_, record| {
            let stone = Tombstone {
                owner: access.caller,
                expires_at,
                adopted: Some(adoption.sealed.clone()),
            };
            let is_free = record.expires_at > now && expected.allows(record.tag());
            if is_free {
                // Under the lock of the session's shard.
                self.tombstones.insert(access.session, stone);
            }
            is_free
        }) else {
            self.owned.remove(owner, new.session);
            return Err(AdoptError::NotFound);
        };
        record.owner = access.caller;
        record.written(now);
        record.keep(keyed, super::Kept::Adopted);
        self.sessions.insert(new.session, record);
        self.watchers.notify(access.session);
        Ok(written(Adopted::Under(adoption.sealed.clone()), WriteOutcome::Applied))
    }
}
