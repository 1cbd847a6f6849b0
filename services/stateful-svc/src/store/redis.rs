//! Sessions in Redis: any instance serves any session, and each act is one round trip.
//!
//! Each act is one script (`redis/*.lua`), so that it is atomic; only [`RedisStore::patch`] takes two, of which the second
//! checks that nothing came between. See `docs/adr/0003-session-writes-are-single-scripts.md`.

use async_trait::async_trait;
use jiff::Timestamp;
use proto_contracts::stateful::MAX_MESSAGES;
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation};
use service_kit::redis::RedisPool;

use super::{
    Access, AppendError, CreateError, DeleteError, Done, PatchError, ReadError, Served, SessionStore, Source,
    StoreFault, Written,
};
use crate::domain::caller::Caller;
use crate::domain::client_data::{ClientData, MergePatch};
use crate::domain::conversation::{self, ClientName, Earlier, Quote, Utterance};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::keyed::{Keyed, MAX_KEPT_PATCHES};
use crate::domain::lifetime::Lifetime;
use crate::domain::live_sessions::LiveSessions;
use crate::domain::message::{Appended, HistoryPage, Message, NewMessage};
use crate::domain::session::Session;
use crate::domain::session_tag::{Expected, WriteNonce};

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

/// `created, active, count, version, revision, nonce, data, expires`, as `read.lua` returns them.
type Record = (i64, i64, u64, u64, u64, String, String, i64);
/// `created, active, count, version, expires, nonce, data`, as `read.lua` returns them of a patch that was made before.
type PatchedBefore = (i64, i64, u64, u64, i64, String, String);
/// `created, active, count, version, expires`, as `patch.lua` returns them.
type Patched = (i64, i64, u64, u64, i64);
/// `now, number, version, name, first, previous`, as `append.lua` returns them.
type Said = (i64, u64, u64, String, Option<String>, Option<String>);
/// `number, version, first, entries`, as `append.lua` returns them of a message that was taken before.
type SaidBefore = (u64, u64, String, Vec<String>);
/// `created, expires`, as `create.lua` returns them, and `created, expires, nonce` of a session that was created before.
type Created = (i64, i64);
type CreatedBefore = (i64, i64, String);

impl RedisStore {
    /// A store on this Redis, which need not be there yet.
    pub fn new(pool: RedisPool, lifetime: Lifetime) -> Self {
        let live = LiveSessions::new(lifetime.idle);
        Self { pool, scripts: Scripts::new(), lifetime, live, outage: Outage::default() }
    }

    /// A call of the script with what all scripts take.
    fn call<'a>(&self, script: &'a Script, access: Access) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        let session = access.session;
        // The braces make a Cluster keep both keys on one node.
        call.key(format!("session:{{{session}}}:meta")).key(format!("session:{{{session}}}:messages"));
        call.arg(millis(self.lifetime.idle)).arg(millis(self.lifetime.absolute)).arg(caller_field(access.caller));
        call
    }

    async fn run<T: FromRedisValue, R: FromRedisValue>(
        &self,
        access: Access,
        call: &ScriptInvocation<'_>,
    ) -> Result<Reply<T, R>, StoreFault> {
        let reply = self.outage.watch(self.send(call).await)?;
        match reply {
            Reply::Nil => self.live.ended(access.session),
            Reply::Refused | Reply::KeyReused | Reply::Done(_) | Reply::Replayed(_) => self.live.used(access.session),
        }
        Ok(reply)
    }

    async fn send<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreFault> {
        let mut connection = self.pool.get().await.map_err(|error| StoreFault::Unavailable(error.into()))?;
        call.invoke_async(&mut *connection).await.map_err(fault)
    }

    /// The session and the revision of its data; or, when the patch that is about to be made was made before, the session
    /// as it was then.
    async fn fetch(&self, access: Access, keyed: Option<Keyed>) -> Result<Reply<(Session, u64), Session>, StoreFault> {
        let mut call = self.call(&self.scripts.read, access);
        add_key(&mut call, keyed);
        Ok(match self.run::<Record, PatchedBefore>(access, &call).await? {
            Reply::Nil => Reply::Nil,
            Reply::Refused => Reply::Refused,
            Reply::KeyReused => Reply::KeyReused,
            Reply::Done((created, active, message_count, version, revision, nonce, data, expires)) => {
                let fields = (created, active, message_count, version, expires, nonce, data);
                Reply::Done((session(fields)?, revision))
            }
            Reply::Replayed(fields) => Reply::Replayed(session(fields)?),
        })
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn create(
        &self,
        access: Access,
        client_data: ClientData,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, CreateError> {
        let nonce = WriteNonce::random();
        let mut call = self.call(&self.scripts.create, access);
        call.arg(client_data.as_str()).arg(name_field(&client_data)).arg(nonce.to_string());
        add_key(&mut call, keyed);
        let (created, expires, nonce, source, done) = match self.run::<Created, CreatedBefore>(access, &call).await? {
            Reply::Nil => return Err(CreateError::Exists),
            Reply::Refused => return Err(CreateError::Deleted),
            Reply::KeyReused => return Err(CreateError::KeyReused),
            Reply::Done((created, expires)) => (created, expires, nonce, Source::Created, Done::Now),
            Reply::Replayed((created, expires, nonce)) => {
                (created, expires, nonce.parse().map_err(damaged)?, Source::Redis, Done::Before)
            }
        };
        let (created_at, expires_at) = (time(created)?, time(expires)?);
        // The fingerprint says that the data of a repetition is the data of the first request.
        let value = Session {
            client_data,
            created_at,
            last_activity: created_at,
            expires_at,
            message_count: 0,
            version: 1,
            nonce,
        };
        Ok(Written { value, source, done })
    }

    async fn read(&self, access: Access) -> Result<Served<Session>, ReadError> {
        match self.fetch(access, None).await? {
            Reply::Done((session, _)) | Reply::Replayed(session) => Ok(from_redis(session)),
            Reply::Nil | Reply::Refused | Reply::KeyReused => Err(ReadError::NotFound),
        }
    }

    async fn append(
        &self,
        access: Access,
        message: NewMessage,
        keyed: Option<Keyed>,
    ) -> Result<Written<Appended>, AppendError> {
        let NewMessage { id, text } = message;
        let mut call = self.call(&self.scripts.append, access);
        call.arg(MAX_MESSAGES).arg(id.to_string()).arg(text.as_str()).arg(Quote::of(text.as_str()).as_str());
        call.arg(WriteNonce::random().to_string());
        add_key(&mut call, keyed);
        match self.run::<Said, SaidBefore>(access, &call).await? {
            Reply::Nil => Err(AppendError::NotFound),
            Reply::Refused => Err(AppendError::Full),
            Reply::KeyReused => Err(AppendError::KeyReused),
            Reply::Done((now, number, version, name, first, previous)) => {
                let utterance = Utterance { id, text, name: ClientName::new(&name), created_at: time(now)? };
                let earlier = first.zip(previous).map(|(first, previous)| (Quote::of(&first), Quote::of(&previous)));
                let earlier = earlier.as_ref().map(|(first, previous)| Earlier { first, previous });
                Ok(written(Appended { message: utterance.answered(number, earlier), version }, Done::Now))
            }
            Reply::Replayed((number, version, first, entries)) => {
                let after = number.saturating_sub(1);
                let mut messages = replay(Some(first), entries, after)?;
                let message = messages.pop().ok_or_else(|| damaged(entry::DamagedEntry))?;
                Ok(written(Appended { message, version }, Done::Before))
            }
        }
    }

    async fn patch(
        &self,
        access: Access,
        patch: &MergePatch,
        expected: &Expected,
        keyed: Option<Keyed>,
    ) -> Result<Written<Session>, PatchError> {
        // The merge is done here and not in the script: Lua's JSON would damage large numbers and empty arrays.
        for _ in 0..PATCH_ROUNDS {
            let (found, revision) = match self.fetch(access, keyed).await? {
                Reply::Nil | Reply::Refused => return Err(PatchError::NotFound),
                Reply::KeyReused => return Err(PatchError::KeyReused),
                Reply::Replayed(session) => return Ok(written(session, Done::Before)),
                Reply::Done(found) => found,
            };
            if !expected.allows(found.tag()) {
                return Err(PatchError::Overtaken);
            }
            let tag = match expected {
                Expected::Any => String::new(),
                Expected::OneOf(_) => found.tag().to_string(),
            };
            let client_data = found.client_data.merged(patch)?;
            let nonce = WriteNonce::random();
            let mut call = self.call(&self.scripts.patch, access);
            call.arg(revision).arg(client_data.as_str()).arg(name_field(&client_data)).arg(tag).arg(nonce.to_string());
            add_key(&mut call, keyed);
            call.arg(MAX_KEPT_PATCHES);
            let patched: Patched = match self.run::<Patched, ()>(access, &call).await? {
                Reply::Nil => return Err(PatchError::NotFound),
                Reply::Refused | Reply::KeyReused | Reply::Replayed(()) => continue,
                Reply::Done(patched) => patched,
            };
            let (created, active, message_count, version, expires) = patched;
            let patched = Session {
                client_data,
                created_at: time(created)?,
                last_activity: time(active)?,
                expires_at: time(expires)?,
                message_count,
                version,
                nonce,
            };
            return Ok(written(patched, Done::Now));
        }
        Err(PatchError::Contended)
    }

    async fn delete(&self, access: Access) -> Result<Served<()>, DeleteError> {
        let reply = self.run::<i64, ()>(access, &self.call(&self.scripts.delete, access)).await?;
        self.live.ended(access.session);
        match reply {
            Reply::Done(_) => Ok(from_redis(())),
            Reply::Nil | Reply::Refused | Reply::KeyReused | Reply::Replayed(()) => Err(DeleteError::NotFound),
        }
    }

    async fn history(&self, access: Access, after: Cursor, size: PageSize) -> Result<Served<HistoryPage>, ReadError> {
        let mut call = self.call(&self.scripts.history, access);
        call.arg(after.number()).arg(size.messages());
        let page: (u64, Option<String>, Vec<String>) = match self.run::<_, ()>(access, &call).await? {
            Reply::Done(page) => page,
            Reply::Nil | Reply::Refused | Reply::KeyReused | Reply::Replayed(()) => return Err(ReadError::NotFound),
        };
        let (message_count, first, entries) = page;
        let messages = replay(first, entries, after.number())?;
        Ok(from_redis(HistoryPage { messages, message_count }))
    }

    fn live_sessions(&self) -> u64 {
        self.live.count()
    }
}

fn from_redis<T>(value: T) -> Served<T> {
    Served { value, source: Source::Redis }
}

fn written<T>(value: T, done: Done) -> Written<T> {
    Written { value, source: Source::Redis, done }
}

fn session(fields: PatchedBefore) -> Result<Session, StoreFault> {
    let (created, active, message_count, version, expires, nonce, data) = fields;
    Ok(Session {
        client_data: ClientData::restore(data).map_err(damaged)?,
        created_at: time(created)?,
        last_activity: time(active)?,
        expires_at: time(expires)?,
        message_count,
        version,
        nonce: nonce.parse().map_err(damaged)?,
    })
}

/// The messages after the `after`-th, with the replies that they got; the entries start with the `after`-th itself.
fn replay(first: Option<String>, entries: Vec<String>, after: u64) -> Result<Vec<Message>, StoreFault> {
    let page: Result<Vec<_>, _> = entries.into_iter().map(entry::parse).collect();
    let mut page = page.map_err(damaged)?.into_iter();
    let previous = if after == 0 { None } else { page.next() };
    let previous = previous.map(|before| Quote::of(before.text.as_str()));
    let first = first.map_or(Quote::of(""), |first| Quote::of(&first));
    Ok(conversation::replay(&first, previous, after + 1, page))
}

/// The last arguments of a script that knows repetitions: key and fingerprint, empty when there is no key.
fn add_key(call: &mut ScriptInvocation<'_>, keyed: Option<Keyed>) {
    match keyed {
        Some(Keyed { key, fingerprint }) => call.arg(key.to_string()).arg(fingerprint.to_string()),
        None => call.arg("").arg(""),
    };
}

fn caller_field(caller: Caller) -> String {
    match caller {
        Caller::Anonymous => String::new(),
        Caller::Subject(subject) => subject.to_string(),
    }
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
