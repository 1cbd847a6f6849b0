//! A session without owner becomes its caller's, under a new id: see
//! `docs/adr/0027-a-claim-is-one-script.md`.

use super::claim::Claim;
use super::failure::Failure;
use super::fields::{add_key, condition_field, damaged, messages_key, record_key};
use super::scripts::Reply;
use super::{OnOutage, RedisStore};
use crate::domain::caller::Caller;
use crate::domain::keyed::Keyed;
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::store::failpoints::{Failpoint, is_active};
use crate::store::{
    Access, AdoptError, Adopted, Adoption, CreateError, Source, StoreFault, WriteOutcome, Written,
};

impl RedisStore {
    pub(in crate::store) async fn adopt_as(
        &self,
        claim: Claim,
        access: Access,
        adoption: &Adoption,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Adopted>, AdoptError> {
        let Caller::Subject(owner) = access.caller else { return Err(AdoptError::NotFound) };
        // A repetition, or a session that is another's, leaves no entry in the index.
        let found = self.try_to_adopt(Claim::Look, access, adoption, "", 0, expected, keyed);
        if let Some(done) = found.await? {
            return Ok(done);
        }
        let new = Access { session: adoption.session, ..access };
        // As in a create: the index, then the record, then `not_before`.
        let not_before = self.add_owned(owner, new).await?.ok_or(AdoptError::TooMany)?;
        let sealed = adoption.sealed.to_string();
        let adopted =
            self.try_to_adopt(claim, access, adoption, &sealed, not_before, expected, keyed);
        let adopted = adopted.await;
        match &adopted {
            Ok(Some(Written {
                outcome: WriteOutcome::Applied, value: Adopted::Under(_), ..
            })) => {
                if is_active(Failpoint::KeepClaimedId) {
                    self.copy_back(access, new).await?;
                }
                self.live.ended(access.session);
                self.lost.forget(access.session);
                self.lost.remember(new.session);
                self.check_created(new, not_before).await.map_err(of_check)?;
            }
            // Its outcome is unknown, so the entry stays; readers of the index remove it.
            Err(AdoptError::Store(_)) => {}
            _ => self.remove_owned(owner, new.session).await,
        }
        adopted?.ok_or(AdoptError::NotFound)
    }

    /// Breaks the guarantee that a claim leaves one id: see [`Failpoint::KeepClaimedId`].
    async fn copy_back(&self, old: Access, new: Access) -> Result<(), StoreFault> {
        let (from, to) = (record_key(new.session), record_key(old.session));
        let mut connection = self.pool.owner_of(&to).await.map_err(Failure::from)?;
        let copied: redis::RedisResult<()> = redis::pipe()
            .cmd("COPY")
            .arg(&from)
            .arg(&to)
            .arg("REPLACE")
            .ignore()
            .hdel(&to, "owner")
            .ignore()
            .query_async(&mut *connection)
            .await;
        copied.map_err(|fault| Failure::from(fault).into())
    }

    /// `None` when the session is free, for a look.
    #[expect(clippy::too_many_arguments, reason = "the arguments of one script")]
    async fn try_to_adopt(
        &self,
        claim: Claim,
        access: Access,
        adoption: &Adoption,
        sealed: &str,
        not_before: i64,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Option<Written<Adopted>>, AdoptError> {
        let mut call = self.call(&self.scripts.adopt, access);
        call.key(record_key(adoption.session)).key(messages_key(adoption.session));
        call.arg(sealed).arg(condition_field(expected));
        add_key(&mut call, keyed);
        call.arg(WriteNonce::random().to_string()).arg(not_before);
        let response =
            self.run::<(String, String), (String,)>(access, call, claim, OnOutage::Wait).await?;
        let under = |sealed: &str| {
            sealed.parse().map(Adopted::Under).map_err(|error| AdoptError::Store(damaged(error)))
        };
        let (value, outcome) = match response.value {
            Reply::Nil | Reply::Refused => return Err(AdoptError::NotFound),
            Reply::Revoked => return Err(AdoptError::Revoked),
            Reply::KeyReused => return Err(AdoptError::KeyReused),
            Reply::PreconditionFailed => return Err(AdoptError::PreconditionFailed),
            Reply::Replayed((sealed,)) => (under(&sealed)?, WriteOutcome::Replayed),
            Reply::Done((what, sealed)) => match what.as_str() {
                "adopted" => (under(&sealed)?, WriteOutcome::Applied),
                "own" => (Adopted::Already, WriteOutcome::Applied),
                _ => return Ok(None),
            },
        };
        Ok(Some(Written { value, source: Source::Redis, outcome }))
    }
}

fn of_check(error: CreateError) -> AdoptError {
    match error {
        CreateError::Revoked => AdoptError::Revoked,
        CreateError::Store(fault) => AdoptError::Store(fault),
        other => AdoptError::Store(StoreFault::Damaged(other.into())),
    }
}
