//! The operations on a session, each with its claim on the right to keep a copy: see [`Claim`].

use proto_contracts::stateful::MAX_MESSAGES;

use super::claim::{Claim, Stamped};
use super::fields::{
    Appended as AppendedFields, Created, Patched, Record, RepeatedAppend, RepeatedCreate,
    RepeatedPatch, add_key, condition_field, damaged, name_field, replay, session, time,
};
use super::scripts::Reply;
use super::{OnOutage, RedisStore, entry};
use crate::domain::caller::Caller;
use crate::domain::client_data::MergePatch;
use crate::domain::conversation::{ClientName, Earlier, Quote, ReplySource, Utterance};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::keyed::{Keyed, MAX_KEPT_PATCHES};
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::{NewSession, Session};
use crate::domain::session_tag::{Expected, WriteNonce};
use crate::store::{
    Access, AppendError, CreateError, DeleteError, PatchError, ReadError, Served, Source,
    StoreFault, WriteOutcome, Written,
};

/// How often a patch is retried after concurrent changes of the data. One of the concurrent patches
/// wins each round.
const PATCH_ROUNDS: usize = 16;

impl RedisStore {
    pub(in crate::store) async fn create_as(
        &self,
        claim: Claim,
        access: Access,
        new: NewSession,
        keyed: Option<Keyed>,
    ) -> Result<Stamped<Written<Session>>, CreateError> {
        let NewSession { client_data, messages } = new;
        // Before the record exists: whoever ends all of the user's sessions later finds this one.
        let not_before = match access.caller {
            Caller::Anonymous => 0,
            Caller::Subject(owner) => {
                self.add_owned(owner, access).await?.ok_or(CreateError::TooMany)?
            }
        };
        if access.issued_at.is_before(not_before) {
            return Err(CreateError::Revoked);
        }
        let nonce = WriteNonce::random();
        let mut call = self.call(&self.scripts.create, access);
        call.arg(client_data.as_str()).arg(name_field(&client_data)).arg(nonce.to_string());
        add_key(&mut call, keyed);
        call.arg(not_before);
        if let (Some(first), Some(last)) = (messages.first(), messages.last()) {
            for end in [first, last] {
                call.arg(Quote::of(end.text.as_str()).as_str());
            }
            for message in &messages {
                call.arg(entry::restored(message));
            }
        }
        let response =
            self.run::<Created, RepeatedCreate>(access, call, claim, OnOutage::Wait).await?;
        let (created, expires, nonce, outcome) = match response.value {
            Reply::Nil => return Err(CreateError::Exists),
            Reply::Revoked => return Err(CreateError::Revoked),
            Reply::Refused | Reply::PreconditionFailed => return Err(CreateError::Deleted),
            Reply::KeyReused => return Err(CreateError::KeyReused),
            Reply::Done((created, expires)) => {
                self.lost.remember(access.session);
                (created, expires, nonce, WriteOutcome::Applied)
            }
            Reply::Replayed((created, expires, nonce)) => {
                (created, expires, nonce.parse().map_err(damaged)?, WriteOutcome::Replayed)
            }
        };
        self.check_created(access, not_before).await?;
        let (created_at, expires_at) = (time(created)?, time(expires)?);
        // By its fingerprint, a repetition has the data and messages of the first request.
        let value = Session {
            client_data,
            created_at,
            last_activity: created_at,
            expires_at,
            message_count: messages.len() as u64,
            version: 1,
            nonce,
        };
        Ok(response.stamp.on(Written { value, source: Source::Created, outcome }))
    }

    pub(in crate::store) async fn read_as(
        &self,
        claim: Claim,
        access: Access,
        on_outage: OnOutage,
    ) -> Result<Stamped<Served<Session>>, ReadError> {
        let found = self.fetch(claim, access, None, on_outage).await?;
        match found.value {
            Reply::Done((session, _)) | Reply::Replayed(session) => {
                Ok(found.stamp.on(from_redis(session)))
            }
            Reply::Revoked => Err(ReadError::Revoked),
            Reply::Nil | Reply::Refused | Reply::KeyReused | Reply::PreconditionFailed => {
                Err(ReadError::NotFound)
            }
        }
    }

    pub(in crate::store) async fn append_as(
        &self,
        claim: Claim,
        access: Access,
        message: NewMessage,
        nonce: WriteNonce,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Stamped<Written<Appended>>, AppendError> {
        let NewMessage { id, text } = message;
        let mut call = self.call(&self.scripts.append, access);
        call.arg(MAX_MESSAGES)
            .arg(id.to_string())
            .arg(text.as_str())
            .arg(Quote::of(text.as_str()).as_str());
        call.arg(nonce.to_string());
        add_key(&mut call, keyed);
        call.arg(condition_field(expected));
        let response =
            self.run::<AppendedFields, RepeatedAppend>(access, call, claim, OnOutage::Wait).await?;
        let appended = match response.value {
            Reply::Nil => return Err(AppendError::NotFound),
            Reply::Revoked => return Err(AppendError::Revoked),
            Reply::Refused => return Err(AppendError::Full),
            Reply::KeyReused => return Err(AppendError::KeyReused),
            Reply::PreconditionFailed => return Err(AppendError::PreconditionFailed),
            Reply::Done((now, number, version, name, first, previous)) => {
                let utterance = Utterance {
                    id,
                    text,
                    reply: ReplySource::Computed(ClientName::new(&name)),
                    created_at: time(now)?,
                };
                let earlier = first
                    .zip(previous)
                    .map(|(first, previous)| (Quote::of(&first), Quote::of(&previous)));
                let earlier = earlier.as_ref().map(|(first, previous)| Earlier { first, previous });
                let message = utterance.with_reply(number, earlier);
                written(Appended { message, version, nonce: Some(nonce) }, WriteOutcome::Applied)
            }
            Reply::Replayed((number, version, nonce, first, entries, is_own)) => {
                let nonce =
                    if nonce.is_empty() { None } else { Some(nonce.parse().map_err(damaged)?) };
                let after = number.saturating_sub(1);
                let mut messages = replay(Some(first), entries, after)?;
                let message = messages.pop().ok_or_else(|| damaged(entry::DamagedEntry))?;
                written(
                    Appended { message, version, nonce },
                    if is_own { WriteOutcome::Applied } else { WriteOutcome::Replayed },
                )
            }
        };
        Ok(response.stamp.on(appended))
    }

    pub(in crate::store) async fn patch_as(
        &self,
        claim: Claim,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Stamped<Written<Session>>, PatchError> {
        // The merge is done here and not in the script: Lua's JSON would damage large numbers and
        // empty arrays.
        for _ in 0..PATCH_ROUNDS {
            let found = self.fetch(Claim::Look, access, keyed, OnOutage::Wait).await?;
            let (before, revision) = match found.value {
                Reply::Nil | Reply::Refused | Reply::PreconditionFailed => {
                    return Err(PatchError::NotFound);
                }
                Reply::Revoked => return Err(PatchError::Revoked),
                Reply::KeyReused => return Err(PatchError::KeyReused),
                Reply::Replayed(session) => {
                    return Ok(found.stamp.on(written(session, WriteOutcome::Replayed)));
                }
                Reply::Done(found) => found,
            };
            if !expected.allows(before.tag()) {
                return Err(PatchError::PreconditionFailed);
            }
            let tag = match expected {
                Expected::Any => String::new(),
                Expected::OneOf(_) | Expected::NoneOf(_) => before.tag().to_string(),
            };
            let client_data = before.client_data.merged(patch)?;
            let nonce = WriteNonce::random();
            let mut call = self.call(&self.scripts.patch, access);
            call.arg(revision)
                .arg(client_data.as_str())
                .arg(name_field(&client_data))
                .arg(tag)
                .arg(nonce.to_string());
            add_key(&mut call, keyed);
            call.arg(MAX_KEPT_PATCHES);
            let response = self.run::<Patched, ()>(access, call, claim, OnOutage::Wait).await?;
            let (created, active, message_count, version, expires) = match response.value {
                Reply::Nil => return Err(PatchError::NotFound),
                Reply::Revoked => return Err(PatchError::Revoked),
                Reply::Refused
                | Reply::KeyReused
                | Reply::PreconditionFailed
                | Reply::Replayed(()) => continue,
                Reply::Done(patched) => patched,
            };
            let patched = Session {
                client_data,
                created_at: time(created)?,
                last_activity: time(active)?,
                expires_at: time(expires)?,
                message_count,
                version,
                nonce,
            };
            return Ok(response.stamp.on(written(patched, WriteOutcome::Applied)));
        }
        Err(PatchError::Contended)
    }

    pub(in crate::store) async fn delete_as(
        &self,
        claim: Claim,
        access: Access,
        expected: &Expected,
    ) -> Result<Served<()>, DeleteError> {
        let mut call = self.call(&self.scripts.delete, access);
        call.arg(condition_field(expected));
        let response = self.run::<i64, ()>(access, call, claim, OnOutage::Wait).await?;
        match response.value {
            Reply::PreconditionFailed => return Err(DeleteError::PreconditionFailed),
            Reply::Revoked => return Err(DeleteError::Revoked),
            _ => {}
        }
        self.live.ended(access.session);
        self.lost.forget(access.session);
        if let Caller::Subject(owner) = access.caller
            && response.stamp.is_owned
        {
            self.remove_owned(owner, access.session).await;
        }
        match response.value {
            Reply::Done(_) => Ok(from_redis(())),
            Reply::Nil
            | Reply::Refused
            | Reply::KeyReused
            | Reply::PreconditionFailed
            | Reply::Revoked
            | Reply::Replayed(()) => Err(DeleteError::NotFound),
        }
    }

    pub(in crate::store) async fn read_history(
        &self,
        access: Access,
        at: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        let mut call = self.call(&self.scripts.history, access);
        let side = match at {
            Cursor::After(_) => "after",
            Cursor::Before(_) => "before",
        };
        call.arg(at.number()).arg(size.messages()).arg(side);
        let response = self
            .run::<(u64, Option<String>, Vec<String>, u64), ()>(
                access,
                call,
                Claim::Look,
                OnOutage::Wait,
            )
            .await?;
        let (message_count, first, entries, skipped) = match response.value {
            Reply::Done(page) => page,
            Reply::Revoked => return Err(ReadError::Revoked),
            Reply::Nil
            | Reply::Refused
            | Reply::KeyReused
            | Reply::PreconditionFailed
            | Reply::Replayed(()) => {
                return Err(ReadError::NotFound);
            }
        };
        let messages = replay(first, entries, skipped)?;
        Ok(from_redis(HistoryPage { messages, message_count }))
    }

    /// The session and the revision of its data; or, when a patch with this key was made before,
    /// the session after that patch.
    async fn fetch(
        &self,
        claim: Claim,
        access: Access,
        keyed: Option<Keyed>,
        on_outage: OnOutage,
    ) -> Result<Stamped<Reply<(Session, u64), Session>>, StoreFault> {
        let mut call = self.call(&self.scripts.read, access);
        add_key(&mut call, keyed);
        let response = self.run::<Record, RepeatedPatch>(access, call, claim, on_outage).await?;
        let found = match response.value {
            Reply::Nil => Reply::Nil,
            Reply::Refused => Reply::Refused,
            Reply::KeyReused => Reply::KeyReused,
            Reply::PreconditionFailed => Reply::PreconditionFailed,
            Reply::Revoked => Reply::Revoked,
            Reply::Done((
                created,
                active,
                message_count,
                version,
                revision,
                nonce,
                data,
                expires,
            )) => {
                let fields = (created, active, message_count, version, expires, nonce, data);
                Reply::Done((session(fields)?, revision))
            }
            Reply::Replayed(fields) => Reply::Replayed(session(fields)?),
        };
        Ok(response.stamp.on(found))
    }
}

fn from_redis<T>(value: T) -> Served<T> {
    Served { value, source: Source::Redis }
}

fn written<T>(value: T, outcome: WriteOutcome) -> Written<T> {
    Written { value, source: Source::Redis, outcome }
}
