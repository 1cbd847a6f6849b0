//! Leases in Redis, and what is said about them: one counter for each, and a channel of the same name.

use std::collections::BTreeSet;
use std::time::Duration;

use proto_contracts::SessionDigest;
use redis::aio::ConnectionLike;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind};

use super::RedisStore;
use super::claim::{Claim, LeaseId, Mark};
use super::failure::Failure;
use super::fields::{self, millis};
use super::scripts::{Answer, Reply};
use crate::store::StoreFault;

/// A lease that nobody ends or renews goes away after this time. It only tidies up: an instance that stood still for longer,
/// or a Redis whose clock jumps by more, would have it end too early.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// Which Redis it is, and since which start or promotion. Of a cluster: all its masters, as a session's node may fail over
/// while a lease's does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Server {
    /// One server.
    One {
        /// Drawn at its start.
        run: String,
        /// Drawn at its promotion.
        replication: String,
    },
    /// The ids and epochs of the masters. An epoch is raised by a failover (and by a slot that moves).
    Cluster(BTreeSet<(String, u64)>),
}

impl Server {
    /// Asks the server at the other end.
    pub(in crate::store) async fn of(connection: &mut impl ConnectionLike) -> RedisResult<Self> {
        let info: String = redis::cmd("INFO").arg("server").arg("replication").query_async(connection).await?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(str::to_owned).unwrap_or_default()
        };
        if field("redis_mode") == "cluster" {
            let nodes: String = redis::cmd("CLUSTER").arg("NODES").query_async(connection).await?;
            return Ok(Self::Cluster(nodes.lines().filter_map(master).collect()));
        }
        Ok(Self::One { run: field("run_id"), replication: field("master_replid") })
    }
}

/// The id and epoch in a line of `CLUSTER NODES`, if it is a master's that owns slots:
/// `id address flags its-master ping pong epoch link slots…`.
fn master(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_owner = words.get(2)?.split(',').any(|flag| flag == "master") && words.len() > 8;
    Some(((*words.first()?).to_owned(), words.get(6)?.parse().ok()?)).filter(|_| is_owner)
}

/// What is told on a lease's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Told {
    /// Drop your copy of the session, and confirm.
    Drop(SessionDigest),
    /// You renewed your lease; the number is the one that you sent along.
    Renewed(u64),
    /// You asked whether you would hear this.
    Echo(u64),
}

impl Told {
    /// Reads a message; `None` for one of a later version of this program.
    pub(in crate::store) fn parse(text: &[u8]) -> Option<Self> {
        let (word, rest) = text.split_at(text.iter().position(|byte| *byte == b' ')?);
        let rest = &rest[1..];
        let number = || std::str::from_utf8(rest).ok()?.parse().ok();
        match word {
            b"drop" => SessionDigest::parse_bytes(rest).map(Self::Drop),
            b"renewed" => number().map(Self::Renewed),
            b"echo" => number().map(Self::Echo),
            _ => None,
        }
    }
}

impl RedisStore {
    /// Asks the holder of a lease to drop its copy. Tells how often the lease was renewed; `None` when there is none.
    pub(super) async fn ask_holder(&self, session: SessionDigest, lease: LeaseId) -> Result<Option<u64>, StoreFault> {
        let mut call = self.scripts.tell_lease.prepare_invoke();
        call.key(lease.key()).arg(format!("drop {session}"));
        Ok(self.send(&lease.key(), &call, None).await?.answer)
    }

    /// The copies of a session that are not known to be gone.
    pub(super) async fn drops_left(&self, session: SessionDigest) -> Result<Vec<Mark>, StoreFault> {
        let mut get = redis::cmd("HGET");
        get.arg(fields::record_key(session)).arg("drops");
        let drops: Option<String> = self.command(&fields::record_key(session), &get).await?;
        Mark::list(&drops.unwrap_or_default()).map_err(|error| StoreFault::Damaged(error.into()))
    }

    /// Copies of this lease, up to this ticket, are gone. Tells which are left of others.
    pub(in crate::store) async fn confirm(
        &self,
        session: SessionDigest,
        lease: LeaseId,
        ticket: u64,
    ) -> Result<Vec<Mark>, StoreFault> {
        let mut call = self.scripts.confirm.prepare_invoke();
        call.key(fields::record_key(session)).arg(lease.to_string()).arg(ticket);
        let left: Option<String> = self.send(&fields::record_key(session), &call, None).await?.answer;
        self.count_confirmed();
        Mark::list(&left.unwrap_or_default()).map_err(|error| StoreFault::Damaged(error.into()))
    }

    /// Ends a lease unless it was renewed more often than this; whether it has ended.
    pub(super) async fn end_lease(&self, lease: LeaseId, renewed: u64) -> Result<bool, StoreFault> {
        let mut call = self.scripts.end_lease.prepare_invoke();
        call.key(lease.key()).arg(renewed);
        Ok(self.send::<u8>(&lease.key(), &call, None).await?.answer == 1)
    }

    /// Ends a lease of one's own, which one has stopped to trust.
    pub(in crate::store) async fn give_back(&self, lease: LeaseId) -> Result<(), StoreFault> {
        Ok(self.command(&lease.key(), redis::cmd("DEL").arg(lease.key())).await?)
    }

    /// See [`RedisPool::outdate_connections`](service_kit::redis::RedisPool::outdate_connections).
    pub(in crate::store) fn outdate_connections(&self) {
        self.pool.outdate_connections();
    }

    /// Takes a lease that nobody has had.
    pub(in crate::store) async fn take_lease(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
    ) -> RedisResult<()> {
        let mut call = self.scripts.take_lease.prepare_invoke();
        let taken: u8 = call.key(lease.key()).arg(millis(KEPT_FOR)).invoke_async(connection).await?;
        if taken == 1 { Ok(()) } else { Err(RedisError::from((ErrorKind::Client, "somebody has had the lease"))) }
    }

    /// Renews a lease, and has that told on its channel; `false` when it has ended.
    pub(in crate::store) async fn renew_lease(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
        number: u64,
    ) -> RedisResult<bool> {
        let mut call = self.scripts.renew_lease.prepare_invoke();
        call.key(lease.key()).arg(millis(KEPT_FOR)).arg(format!("renewed {number}"));
        Ok(call.invoke_async::<u8>(connection).await? == 1)
    }

    /// Has something told on one's own channel, to see whether it is heard.
    pub(in crate::store) async fn echo(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
        number: u64,
    ) -> RedisResult<()> {
        let mut call = self.scripts.tell_lease.prepare_invoke();
        call.key(lease.key()).arg(format!("echo {number}")).invoke_async::<Option<u64>>(connection).await.map(drop)
    }

    /// Starts the idle time of sessions anew, whoever owns them.
    ///
    /// # Errors
    /// When Redis did not do so, or not for all; it does no harm to do it again.
    pub(in crate::store) async fn touch(&self, sessions: &[SessionDigest]) -> Result<Vec<Touched>, StoreFault> {
        let mut touched = Vec::with_capacity(sessions.len());
        for part in self.pool.by_slot(sessions, fields::record_key) {
            touched.append(&mut self.touch_part(&part).await?);
        }
        Ok(touched)
    }

    /// The same for sessions of one slot, or of one server.
    async fn touch_part(&self, sessions: &[SessionDigest]) -> Result<Vec<Touched>, StoreFault> {
        let Some(first) = sessions.first() else { return Ok(Vec::new()) };
        let mut connection = self.pool.owner_of(&fields::record_key(*first)).await.map_err(Failure::from)?;
        let pipe = self.touches(sessions);
        let mut answers = pipe.query_async::<Vec<Answer<Reply<(i64,)>>>>(&mut *connection).await;
        if answers.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            self.scripts.touch.prepare_invoke().load_async(&mut *connection).await.map_err(Failure::from)?;
            answers = pipe.query_async(&mut *connection).await;
        }
        let touched =
            sessions.iter().zip(answers.map_err(Failure::from)?).filter_map(|(session, answer)| match answer.reply {
                Some(Reply::Done((ends,))) => {
                    self.live.used(*session);
                    Some(Touched { session: *session, ends, now: answer.now })
                }
                _ => None,
            });
        Ok(touched.collect())
    }

    fn touches(&self, sessions: &[SessionDigest]) -> Pipeline {
        let (idle, absolute) = (millis(self.lifetime.idle), millis(self.lifetime.absolute));
        let (claim, lease, ticket) = Claim::Look.fields();
        let mut pipe = redis::pipe();
        for session in sessions {
            pipe.cmd("EVALSHA").arg(self.scripts.touch.get_hash()).arg(2);
            pipe.arg(fields::record_key(*session)).arg(fields::messages_key(*session));
            pipe.arg(idle).arg(absolute).arg("").arg(claim).arg(&lease).arg(ticket);
        }
        pipe
    }
}

/// A session whose idle time was started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Touched {
    pub(in crate::store) session: SessionDigest,
    /// When it ends, in milliseconds since 1970.
    pub(in crate::store) ends: i64,
    /// Redis's time, in milliseconds since 1970.
    pub(in crate::store) now: i64,
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};

    use super::*;

    #[test]
    fn a_cluster_is_its_masters_that_own_slots() {
        let owner = "07c3 127.0.0.1:7000@17000 myself,master - 0 0 3 connected 0-5460 [5461->-67ed]";
        assert_eq!(master(owner), Some(("07c3".to_owned(), 3)));
        for other in [
            "67ed 127.0.0.1:7001@17001 master - 0 0 2 connected",
            "292f 127.0.0.1:7002@17002 slave 07c3 0 0 3 connected",
            "",
        ] {
            assert_eq!(master(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_told_on_a_channel_reads_back() {
        let session = SessionId::generate(AffinityKey::random()).digest();
        assert_eq!(Told::parse(format!("drop {session}").as_bytes()), Some(Told::Drop(session)));
        assert_eq!(Told::parse(b"renewed 12"), Some(Told::Renewed(12)));
        assert_eq!(Told::parse(b"echo 0"), Some(Told::Echo(0)));
        for odd in ["", "drop", "drop x", "renewed -1", "sing 1", "drop \u{e9}"] {
            assert_eq!(Told::parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
