//! Lesson 11. Made false by a user who does not log out.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto_contracts::PoolName;
use proto_contracts::agent::Action;
use proto_contracts::control::Strategy;

use crate::lesson::catalogue::{Lesson, needs};
use crate::lesson::finding::{Finding, Unit};
use crate::lesson::room::Room;
use crate::lesson::school::{Options, School};
use crate::lesson::user::User;
use crate::lesson::visitor::{Visit, Visitor};

const REQUESTS: usize = 100;
/// The user is known, and is no admin.
const FORBIDDEN: u16 = 403;
/// The user is unknown.
const UNAUTHORIZED: u16 = 401;
const POSTGRES: &str = "postgres";
/// Bounds the wait for a revocation, which takes less than a second.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two reads that wait for it.
const STEP: Duration = Duration::from_millis(50);

struct Tokens {
    requests: usize,
    /// Lookups in Redis while the session was read so often.
    lookups: u64,
    /// Requests with the revoked token whose user the stateless service knew.
    stateless: usize,
    /// Reads of the session with it that succeeded.
    sessions: usize,
    /// Requests without PostgreSQL: with a signed token whose user was known, and with a forged one
    /// whose user was not.
    accepted: usize,
    rejected: usize,
}

pub(super) async fn run(school: &mut School, options: Options) -> Result<Vec<Finding>> {
    let room = school.room(needs(Lesson::Token)).await?;
    room.set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    let requests = options.sample(REQUESTS);
    let user = User::register(room.visitor()).await?;
    let (mut visitor, _) = room.with_session(user.visitor(room.visitor()).await?).await?;
    // Redis gets the script with its first use, which is a lookup more.
    visitor.read().await?;
    let before = room.lookups().await?;
    let read = count(&mut visitor, requests, Visitor::read, 200).await?;
    ensure!(read == requests, "only {read} of {requests} reads succeed");
    let lookups = room.lookups().await? - before;

    if !options.falsify {
        user.log_out_everywhere(&mut visitor).await?;
        await_revocation(&mut visitor).await?;
    }
    let sessions = count(&mut visitor, requests, Visitor::read, 200).await?;
    let stateless = count(&mut visitor, requests, Visitor::audit, FORBIDDEN).await?;

    let mut again = user.visitor(room.visitor()).await?;
    let mut forger = user.forger(room.visitor()).await?;
    let (accepted, rejected) = without_postgres(room, requests, &mut again, &mut forger).await?;
    let tokens = Tokens { requests, lookups, stateless, sessions, accepted, rejected };
    Ok(judge(&tokens))
}

/// The role is in the token: who is no admin may not read the audit log, and who has no token is
/// unknown.
async fn without_postgres(
    room: &Room,
    requests: usize,
    signed: &mut Visitor,
    forged: &mut Visitor,
) -> Result<(usize, usize)> {
    room.act(POSTGRES, Action::Kill).await?;
    let accepted = count(signed, requests, Visitor::audit, FORBIDDEN).await?;
    let rejected = count(forged, requests, Visitor::audit, UNAUTHORIZED).await?;
    room.act(POSTGRES, Action::Start).await?;
    Ok((accepted, rejected))
}

/// How many of these requests get this status.
async fn count(
    visitor: &mut Visitor,
    requests: usize,
    send: impl AsyncFn(&mut Visitor) -> Result<Visit>,
    status: u16,
) -> Result<usize> {
    let mut counted = 0;
    for _ in 0..requests {
        counted += usize::from(send(visitor).await?.status == status);
    }
    Ok(counted)
}

async fn await_revocation(visitor: &mut Visitor) -> Result<()> {
    let begin = Instant::now();
    while visitor.read().await?.status != UNAUTHORIZED {
        ensure!(begin.elapsed() < TIMEOUT, "sessions accept a revoked token for {TIMEOUT:?}");
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

fn judge(tokens: &Tokens) -> Vec<Finding> {
    let Tokens { requests, lookups, stateless, sessions, accepted, rejected } = tokens;
    let share = |what: &str, part: &usize, p| Finding::share(what, *part, *requests, p);
    vec![
        Finding::ratio(
            "lookups in Redis to read a session",
            Unit::PerRequest,
            *lookups as f64,
            *requests,
            1.0,
        ),
        share("signed tokens known, without PostgreSQL", accepted, 1.0),
        share("forged ones unknown, without PostgreSQL", rejected, 1.0),
        share("revoked ones known, stateless service", stateless, 1.0),
        share("revoked ones known, session", sessions, 0.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(lookups: u64, revoked: [usize; 2], offline: [usize; 2]) -> bool {
        let ([stateless, sessions], [accepted, rejected]) = (revoked, offline);
        let tokens = Tokens { requests: 100, lookups, stateless, sessions, accepted, rejected };
        judge(&tokens).iter().all(Finding::holds)
    }

    #[test]
    fn a_lookup_of_tokens_or_a_session_that_forgets_fails_the_lesson() {
        assert!(holds(100, [100, 0], [100, 100]));
        assert!(!holds(100, [100, 100], [100, 100]), "nobody logged out");
        assert!(!holds(100, [0, 0], [100, 100]), "the stateless service looks up revocations");
        assert!(!holds(100, [100, 0], [0, 100]), "it looks up users");
        assert!(!holds(100, [100, 0], [100, 0]), "it trusts a forged token");
        assert!(!holds(0, [100, 0], [100, 100]), "sessions are not looked up");
        assert!(!holds(300, [100, 0], [100, 100]), "three lookups a read");
    }
}
