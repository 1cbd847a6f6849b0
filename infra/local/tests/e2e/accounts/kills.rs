//! PostgreSQL killed again and again under changes of accounts: no acknowledged change is lost, and
//! each has exactly one entry of the audit log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use proto_contracts::ErrorCode;
use proto_contracts::accounts::User;
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio_postgres::Client;

use super::users::USERS;
use super::{AUTH, PASSWORD, database, me, register, tokens};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

/// Writers that repeat a change with its key until it is acknowledged, and writers without keys,
/// which never repeat one.
const WRITERS: [Keys; 6] = [Keys::Sent, Keys::Sent, Keys::Sent, Keys::Sent, Keys::None, Keys::None];
/// Every so many changes a writer registers a user.
const REGISTERS_EVERY: usize = 25;
/// Acknowledged changes between two kills.
const BETWEEN_KILLS: usize = 30;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Sent,
    None,
}

/// `make kill-postgres` kills it 10 times.
#[tokio::test]
async fn no_acknowledged_change_is_lost_when_postgresql_is_killed() -> Result<()> {
    let kills = match std::env::var("TANDEM_TEST_KILLS") {
        Ok(kills) => kills.parse().context("TANDEM_TEST_KILLS")?,
        Err(_) => 2,
    };
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let (stop, stopped) = watch::channel(());
    let acknowledged = Acknowledged::default();
    let mut writers = writers(&api, &acknowledged, &stopped, false).await?;
    let killer = async {
        for _ in 0..kills {
            acknowledged.some_more().await?;
            stack.kill("postgres").await?;
            stack.start_component("postgres").await?;
        }
        stop.send(())?;
        anyhow::Ok(())
    };
    let running = try_join_all(writers.iter_mut().map(Writer::run));
    let (written, ()) = tokio::try_join!(running, killer)?;
    let database = until("PostgreSQL is back", async || Ok(database(&stack).await.ok())).await?;
    compare(&database, &api, &writers, &written).await?;
    stack.shutdown().await;
    Ok(())
}

/// When changes were acknowledged, in order.
#[derive(Default)]
pub(crate) struct Acknowledged(Mutex<Vec<Instant>>);

impl Acknowledged {
    fn times(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until more changes are acknowledged.
    pub(crate) async fn some_more(&self) -> Result<()> {
        let before = self.times().len();
        until("changes are acknowledged", async || {
            Ok((self.times().len() - before >= BETWEEN_KILLS).then_some(()))
        })
        .await
    }

    /// The longest time without an acknowledged change that ended after `since`.
    pub(crate) fn longest_gap(&self, since: Instant) -> Duration {
        let times = self.times();
        let gaps = times.windows(2).filter(|pair| pair[1] > since);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// Writers, each with a user of its own.
pub(crate) async fn writers<'a>(
    api: &'a Api,
    acknowledged: &'a Acknowledged,
    stopped: &watch::Receiver<()>,
    may_time_out: bool,
) -> Result<Vec<Writer<'a>>> {
    let mut writers = Vec::new();
    for (number, keys) in WRITERS.into_iter().enumerate() {
        let user = format!("writer-{number}");
        register(api, &user).await?;
        let token = tokens(api, &user).await?.access_token;
        let stopped = stopped.clone();
        writers.push(Writer {
            api,
            user,
            token,
            keys,
            acknowledged,
            stopped,
            may_time_out,
            unknown: 0,
            replayed: 0,
        });
    }
    Ok(writers)
}

pub(crate) struct Writer<'a> {
    api: &'a Api,
    user: String,
    token: String,
    keys: Keys,
    acknowledged: &'a Acknowledged,
    stopped: watch::Receiver<()>,
    /// Whether the instance may need longer than the gateway waits.
    may_time_out: bool,
    /// Changes whose outcome the client does not know.
    unknown: usize,
    /// Changes that were made by an attempt whose response was an error.
    replayed: usize,
}

/// A change: the name that a user has since then, and whether the client was told so.
pub(crate) struct Written {
    user: String,
    name: String,
    is_acknowledged: bool,
}

impl Writer<'_> {
    pub(crate) async fn run(&mut self) -> Result<Vec<Written>> {
        let mut written = Vec::new();
        while !self.stopped.has_changed()? {
            let number = written.len();
            let name = format!("{} {number}", self.user);
            let user = if number % REGISTERS_EVERY == REGISTERS_EVERY - 1 {
                format!("{}-{number}", self.user)
            } else {
                self.user.clone()
            };
            let key = format!("key-{}-{number}", self.user);
            let is_acknowledged = loop {
                let response = self.send(&user, &name, &key).await?;
                if (200..300).contains(&response.status) {
                    let changed: User = response.json();
                    ensure!((&changed.id, &changed.name) == (&user, &name), "{response}");
                    let is_replay = response.header("idempotency-replayed").is_some();
                    self.replayed += usize::from(is_replay);
                    break true;
                }
                if response.status == 504 && self.may_time_out {
                    // The gateway's, which waits for an instance that waits for a failover.
                    response.problem(ErrorCode::UpstreamTimeout);
                } else {
                    response.problem(ErrorCode::DatabaseUnavailable);
                }
                tokio::time::sleep(PAUSE).await;
                if self.keys == Keys::None {
                    self.unknown += 1;
                    break false;
                }
            };
            if is_acknowledged {
                self.acknowledged.times().push(Instant::now());
            }
            written.push(Written { user, name, is_acknowledged });
        }
        Ok(written)
    }

    /// Changes the writer's name, or registers another user.
    async fn send(&self, user: &str, name: &str, key: &str) -> Result<Response> {
        let mut request = if user == self.user {
            let request = self.api.request(Method::PATCH, &format!("{USERS}/{user}"));
            request.bearer_auth(&self.token).json(&json!({ "name": name }))
        } else {
            let body = json!({"username": user, "name": name, "password": PASSWORD});
            self.api.request(Method::POST, &format!("{AUTH}/register")).json(&body)
        };
        if self.keys == Keys::Sent {
            request = request.header("idempotency-key", key);
        }
        Response::to(request).await
    }
}

/// Compares what was acknowledged with the audit log and the users.
pub(crate) async fn compare(
    database: &Client,
    api: &Api,
    writers: &[Writer<'_>],
    written: &[Vec<Written>],
) -> Result<()> {
    let sql = "SELECT object, after ->> 'name', count(*) FROM audit_log \
               WHERE action IN ('user_registered', 'user_changed') GROUP BY 1, 2";
    let mut entries = BTreeMap::new();
    for row in database.query(sql, &[]).await? {
        let change: (String, String) = (row.try_get(0)?, row.try_get(1)?);
        entries.insert(change, row.try_get::<_, i64>(2)?);
    }
    let (mut acknowledged, mut lost, mut wrong) = (0, 0, Vec::new());
    for (writer, written) in writers.iter().zip(written) {
        for Written { user, name, is_acknowledged } in written {
            let found = entries.get(&(user.clone(), name.clone())).copied().unwrap_or(0);
            let is_right = if *is_acknowledged { found == 1 } else { (0..=1).contains(&found) };
            if !is_right {
                wrong.push(format!("{found} entries of {user} {name:?}, {is_acknowledged}"));
            }
            acknowledged += usize::from(*is_acknowledged);
            lost += usize::from(!is_acknowledged && found == 1);
        }
        // The last change that has an entry is what the user is called.
        let last = written.iter().rev().find(|change| {
            let change = (change.user.clone(), change.name.clone());
            change.0 == writer.user && entries.contains_key(&change)
        });
        let user = until("the user can be read", async || {
            let response = me(api, &writer.token).await?;
            Ok((response.status == 200).then(|| response.json::<User>()))
        })
        .await?;
        assert_eq!(Some(&user.name), last.map(|change| &change.name));
    }
    let unknown: usize = writers.iter().map(|writer| writer.unknown).sum();
    let replayed: usize = writers.iter().map(|writer| writer.replayed).sum();
    eprintln!(
        "{acknowledged} changes acknowledged, {replayed} of them by a repetition; {unknown} unknown, \
         of which {lost} were committed"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(acknowledged > 0);
    Ok(())
}
