//! Leases in Redis: a renewal counter for each, and a channel of the same name.

use std::time::Duration;

use proto_contracts::SessionDigest;
use redis::aio::ConnectionLike;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind};

use super::RedisStore;
use super::claim::{Claim, LeaseId, Mark};
use super::failure::Failure;
use super::fields::{self, millis};
use super::scripts::{Reply, Response};
use crate::store::StoreFault;

/// The TTL of a lease in Redis. It only cleans up, and exceeds any pause of an instance and any
/// jump of Redis's clock, which could otherwise end a lease too early.
const LEASE_TTL: Duration = Duration::from_hours(1);

/// A message on a lease's channel, to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum LeaseMessage {
    /// Drop the copy of the session, and confirm.
    Drop(SessionDigest),
    /// The lease was renewed, with the number of the renewal request.
    Renewed(u64),
    /// A test of the subscription, with the number of the request.
    Echo(u64),
}

impl LeaseMessage {
    /// Parses a message; `None` for one of a later version of this program.
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
    /// Publishes a drop request to the holder of a lease. Returns the lease's number of renewals;
    /// `None` when it does not exist.
    pub(super) async fn request_drop(
        &self,
        session: SessionDigest,
        lease: LeaseId,
    ) -> Result<Option<u64>, StoreFault> {
        let mut call = self.scripts.publish_to_lease.prepare_invoke();
        call.key(lease.key()).arg(format!("drop {session}"));
        Ok(self.send(&lease.key(), &call, None).await?.response)
    }

    /// The copies of a session that may still exist.
    pub(super) async fn drops_left(&self, session: SessionDigest) -> Result<Vec<Mark>, StoreFault> {
        let mut get = redis::cmd("HGET");
        get.arg(fields::record_key(session)).arg("drops");
        let drops: Option<String> = self.command(&fields::record_key(session), &get).await?;
        Mark::list(&drops.unwrap_or_default()).map_err(|error| StoreFault::Damaged(error.into()))
    }

    /// Confirms that the lease's copies up to this ticket are dropped. Returns the remaining ones.
    pub(in crate::store) async fn confirm(
        &self,
        session: SessionDigest,
        lease: LeaseId,
        ticket: u64,
    ) -> Result<Vec<Mark>, StoreFault> {
        let mut call = self.scripts.confirm.prepare_invoke();
        call.key(fields::record_key(session)).arg(lease.to_string()).arg(ticket);
        let left: Option<String> =
            self.send(&fields::record_key(session), &call, None).await?.response;
        self.count_confirmed();
        Mark::list(&left.unwrap_or_default()).map_err(|error| StoreFault::Damaged(error.into()))
    }

    /// Deletes a lease unless it was renewed more often than this; `true` when it does not exist
    /// any more.
    pub(super) async fn end_lease(&self, lease: LeaseId, renewed: u64) -> Result<bool, StoreFault> {
        let mut call = self.scripts.end_lease.prepare_invoke();
        call.key(lease.key()).arg(renewed);
        Ok(self.send::<u8>(&lease.key(), &call, None).await?.response == 1)
    }

    /// Deletes this instance's own lease, which must not be trusted any more.
    pub(in crate::store) async fn release_lease(&self, lease: LeaseId) -> Result<(), StoreFault> {
        Ok(self.command(&lease.key(), redis::cmd("DEL").arg(lease.key())).await?)
    }

    /// See [`RedisPool::outdate_connections`](service_kit::redis::RedisPool::outdate_connections).
    pub(in crate::store) fn outdate_connections(&self) {
        self.pool.outdate_connections();
    }

    /// Creates a lease.
    pub(in crate::store) async fn take_lease(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
    ) -> RedisResult<()> {
        let mut call = self.scripts.take_lease.prepare_invoke();
        let taken: u8 =
            call.key(lease.key()).arg(millis(LEASE_TTL)).invoke_async(connection).await?;
        if taken == 1 {
            Ok(())
        } else {
            Err(RedisError::from((ErrorKind::Client, "the lease exists already")))
        }
    }

    /// Renews a lease, and publishes that to its channel; `false` when the lease was deleted.
    pub(in crate::store) async fn renew_lease(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
        number: u64,
    ) -> RedisResult<bool> {
        let mut call = self.scripts.renew_lease.prepare_invoke();
        call.key(lease.key()).arg(millis(LEASE_TTL)).arg(format!("renewed {number}"));
        Ok(call.invoke_async::<u8>(connection).await? == 1)
    }

    /// Publishes to the instance's own channel, to test the subscription.
    pub(in crate::store) async fn echo(
        &self,
        connection: &mut impl ConnectionLike,
        lease: LeaseId,
        number: u64,
    ) -> RedisResult<()> {
        let mut call = self.scripts.publish_to_lease.prepare_invoke();
        call.key(lease.key())
            .arg(format!("echo {number}"))
            .invoke_async::<Option<u64>>(connection)
            .await
            .map(drop)
    }

    /// Resets the idle time of sessions, whatever their owner.
    ///
    /// # Errors
    /// When Redis did not do so for all; a retry does no harm.
    pub(in crate::store) async fn touch(
        &self,
        sessions: &[SessionDigest],
    ) -> Result<Vec<Touched>, StoreFault> {
        let mut touched = Vec::with_capacity(sessions.len());
        for part in self.pool.by_slot(sessions, fields::record_key) {
            touched.append(&mut self.touch_part(&part).await?);
        }
        Ok(touched)
    }

    /// The same for sessions of one hash slot or one server.
    async fn touch_part(&self, sessions: &[SessionDigest]) -> Result<Vec<Touched>, StoreFault> {
        let Some(first) = sessions.first() else { return Ok(Vec::new()) };
        let mut connection =
            self.pool.owner_of(&fields::record_key(*first)).await.map_err(Failure::from)?;
        let pipe = self.touches(sessions);
        let mut responses =
            pipe.query_async::<Vec<Response<Reply<(i64,)>>>>(&mut *connection).await;
        if responses
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
        {
            self.scripts
                .touch
                .prepare_invoke()
                .load_async(&mut *connection)
                .await
                .map_err(Failure::from)?;
            responses = pipe.query_async(&mut *connection).await;
        }
        let touched = sessions.iter().zip(responses.map_err(Failure::from)?).filter_map(
            |(session, response)| match response.reply {
                Some(Reply::Done((ends,))) => {
                    self.live.used(*session);
                    Some(Touched { session: *session, ends, now: response.now })
                }
                _ => None,
            },
        );
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

/// A session whose idle time was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Touched {
    pub(in crate::store) session: SessionDigest,
    /// Its expiry, in milliseconds since 1970.
    pub(in crate::store) ends: i64,
    /// Redis's time, in milliseconds since 1970.
    pub(in crate::store) now: i64,
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};

    use super::*;

    #[test]
    fn messages_are_parsed() {
        let session = SessionId::generate(AffinityKey::random()).digest();
        assert_eq!(
            LeaseMessage::parse(format!("drop {session}").as_bytes()),
            Some(LeaseMessage::Drop(session))
        );
        assert_eq!(LeaseMessage::parse(b"renewed 12"), Some(LeaseMessage::Renewed(12)));
        assert_eq!(LeaseMessage::parse(b"echo 0"), Some(LeaseMessage::Echo(0)));
        for odd in ["", "drop", "drop x", "renewed -1", "sing 1", "drop \u{e9}"] {
            assert_eq!(LeaseMessage::parse(odd.as_bytes()), None, "{odd}");
        }
    }
}
