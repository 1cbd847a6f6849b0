//! Sessions in Redis: any instance serves any session, and each act is one round trip.
//!
//! Each act is one script (`redis/*.lua`), so that it is atomic; only [`RedisStore::patch`] takes two, of which the second
//! checks that nothing came between. See `docs/adr/0003-session-writes-are-single-scripts.md`.

use async_trait::async_trait;
use jiff::Timestamp;
use proto_contracts::SessionDigest;
use proto_contracts::stateful::MAX_MESSAGES;
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation};
use service_kit::redis::RedisPool;

use super::{AppendError, CreateError, DeleteError, PatchError, ReadError, Served, SessionStore, Source, StoreFault};
use crate::domain::client_data::{ClientData, MergePatch};
use crate::domain::conversation::{self, ClientName, Earlier, Quote, Utterance};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::lifetime::Lifetime;
use crate::domain::live_sessions::LiveSessions;
use crate::domain::message::{Appended, HistoryPage, NewMessage};
use crate::domain::session::Session;

mod entry;
mod outage;
mod scripts;

use outage::Outage;
use scripts::{Reply, Scripts};

/// How often a patch is merged anew when others changed the data in between. Of those that race, one wins each round.
const PATCH_ROUNDS: usize = 16;

/// Sessions in Redis.
pub struct RedisStore {
    pool: RedisPool,
    scripts: Scripts,
    lifetime: Lifetime,
    live: LiveSessions,
    outage: Outage,
}

/// `created, active, count, version, revision, data, expires`, as `read.lua` returns them.
type Record = (i64, i64, u64, u64, u64, String, i64);
/// `created, active, count, version, expires`, as `patch.lua` returns them.
type Patched = (i64, i64, u64, u64, i64);
/// `now, number, version, name, first, previous`, as `append.lua` returns them.
type Said = (i64, u64, u64, String, Option<String>, Option<String>);

impl RedisStore {
    /// A store on this Redis, which need not be there yet.
    pub fn new(pool: RedisPool, lifetime: Lifetime) -> Self {
        let live = LiveSessions::new(lifetime.idle);
        Self { pool, scripts: Scripts::new(), lifetime, live, outage: Outage::default() }
    }

    /// A call of the script with what all scripts take.
    fn call<'a>(&self, script: &'a Script, session: SessionDigest) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        // The braces make a Cluster keep both keys on one node.
        call.key(format!("session:{{{session}}}:meta")).key(format!("session:{{{session}}}:messages"));
        call.arg(millis(self.lifetime.idle)).arg(millis(self.lifetime.absolute));
        call
    }

    async fn run<T: FromRedisValue>(
        &self,
        session: SessionDigest,
        call: &ScriptInvocation<'_>,
    ) -> Result<Reply<T>, StoreFault> {
        let reply = self.outage.watch(self.send(call).await)?;
        match reply {
            Reply::Nil => self.live.ended(session),
            Reply::Refused | Reply::Done(_) => self.live.used(session),
        }
        Ok(reply)
    }

    async fn send<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<Reply<T>, StoreFault> {
        let mut connection = self.pool.get().await.map_err(|error| StoreFault::Unavailable(error.into()))?;
        call.invoke_async(&mut *connection).await.map_err(fault)
    }

    /// The session and the revision of its data.
    async fn fetch(&self, session: SessionDigest) -> Result<Option<(Session, u64)>, StoreFault> {
        let Reply::Done(record) = self.run(session, &self.call(&self.scripts.read, session)).await? else {
            return Ok(None);
        };
        let (created, active, message_count, version, revision, data, expires): Record = record;
        let session = Session {
            client_data: ClientData::restore(data).map_err(damaged)?,
            created_at: time(created)?,
            last_activity: time(active)?,
            expires_at: time(expires)?,
            message_count,
            version,
        };
        Ok(Some((session, revision)))
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn create(&self, session: SessionDigest, client_data: ClientData) -> Result<Served<Session>, CreateError> {
        let mut call = self.call(&self.scripts.create, session);
        call.arg(client_data.as_str()).arg(name_field(&client_data));
        let Reply::Done((created, expires)) = self.run(session, &call).await? else {
            return Err(CreateError::Exists);
        };
        let (created_at, expires_at) = (time(created)?, time(expires)?);
        let created =
            Session { client_data, created_at, last_activity: created_at, expires_at, message_count: 0, version: 1 };
        Ok(Served { value: created, source: Source::Created })
    }

    async fn read(&self, session: SessionDigest) -> Result<Served<Session>, ReadError> {
        let (session, _) = self.fetch(session).await?.ok_or(ReadError::NotFound)?;
        Ok(from_redis(session))
    }

    async fn append(&self, session: SessionDigest, message: NewMessage) -> Result<Served<Appended>, AppendError> {
        let NewMessage { id, text } = message;
        let mut call = self.call(&self.scripts.append, session);
        call.arg(MAX_MESSAGES).arg(id.to_string()).arg(text.as_str()).arg(Quote::of(text.as_str()).as_str());
        let said: Said = match self.run(session, &call).await? {
            Reply::Nil => return Err(AppendError::NotFound),
            Reply::Refused => return Err(AppendError::Full),
            Reply::Done(said) => said,
        };
        let (now, number, version, name, first, previous) = said;
        let utterance = Utterance { id, text, name: ClientName::new(&name), created_at: time(now)? };
        let earlier = first.zip(previous).map(|(first, previous)| (Quote::of(&first), Quote::of(&previous)));
        let earlier = earlier.as_ref().map(|(first, previous)| Earlier { first, previous });
        Ok(from_redis(Appended { message: utterance.answered(number, earlier), version }))
    }

    async fn patch(&self, session: SessionDigest, patch: &MergePatch) -> Result<Served<Session>, PatchError> {
        // The merge is done here and not in the script: Lua's JSON would damage large numbers and empty arrays.
        for _ in 0..PATCH_ROUNDS {
            let (found, revision) = self.fetch(session).await?.ok_or(PatchError::NotFound)?;
            let client_data = found.client_data.merged(patch)?;
            let mut call = self.call(&self.scripts.patch, session);
            call.arg(revision).arg(client_data.as_str()).arg(name_field(&client_data));
            let patched: Patched = match self.run(session, &call).await? {
                Reply::Nil => return Err(PatchError::NotFound),
                Reply::Refused => continue,
                Reply::Done(patched) => patched,
            };
            let (created, active, message_count, version, expires) = patched;
            return Ok(from_redis(Session {
                client_data,
                created_at: time(created)?,
                last_activity: time(active)?,
                expires_at: time(expires)?,
                message_count,
                version,
            }));
        }
        Err(PatchError::Contended)
    }

    async fn delete(&self, session: SessionDigest) -> Result<Served<()>, DeleteError> {
        let reply = self.run::<i64>(session, &self.call(&self.scripts.delete, session)).await?;
        self.live.ended(session);
        match reply {
            Reply::Done(_) => Ok(from_redis(())),
            Reply::Nil | Reply::Refused => Err(DeleteError::NotFound),
        }
    }

    async fn history(
        &self,
        session: SessionDigest,
        after: Cursor,
        size: PageSize,
    ) -> Result<Served<HistoryPage>, ReadError> {
        let mut call = self.call(&self.scripts.history, session);
        call.arg(after.number()).arg(size.messages());
        let page: (u64, Option<String>, Vec<String>) = match self.run(session, &call).await? {
            Reply::Done(page) => page,
            Reply::Nil | Reply::Refused => return Err(ReadError::NotFound),
        };
        let (message_count, first, entries) = page;
        let mut page =
            entries.into_iter().map(entry::parse).collect::<Result<Vec<_>, _>>().map_err(damaged)?.into_iter();
        let previous = if after == Cursor::START { None } else { page.next() };
        let previous = previous.map(|before| Quote::of(before.text.as_str()));
        let first = first.map_or(Quote::of(""), |first| Quote::of(&first));
        let messages = conversation::replay(&first, previous, after.number() + 1, page);
        Ok(from_redis(HistoryPage { messages, message_count }))
    }

    fn live_sessions(&self) -> u64 {
        self.live.count()
    }
}

fn from_redis<T>(value: T) -> Served<T> {
    Served { value, source: Source::Redis }
}

/// The name as the record holds it: empty when there is none, as Lua's nil cannot be stored.
fn name_field(client_data: &ClientData) -> String {
    client_data.name().map(|name| name.as_str().to_owned()).unwrap_or_default()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: i64) -> Result<Timestamp, StoreFault> {
    Timestamp::from_millisecond(millis).map_err(damaged)
}

fn damaged(cause: impl std::error::Error + Send + Sync + 'static) -> StoreFault {
    StoreFault::Damaged(cause.into())
}

/// What an error means for an act that had a connection.
fn fault(error: RedisError) -> StoreFault {
    match error.kind() {
        // The key holds something else, or the script returned it.
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => StoreFault::Damaged(error.into()),
        _ if error.code() == Some("WRONGTYPE") => StoreFault::Damaged(error.into()),
        ErrorKind::Io => StoreFault::NoAnswer(error.into()),
        // Redis answered that it would not: it is loading, read only, out of memory, cannot write to its disk …
        _ => StoreFault::Unavailable(error.into()),
    }
}
