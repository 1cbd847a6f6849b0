//! Keys that move with a membership change: the theoretical minimum, and as `explain` predicted.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use local_stack::{Stack, Store};
use proto_contracts::control::Explanation;
use proto_contracts::{AffinityKey, PoolName, headers};
use reqwest::Method;

use crate::api::{Api, SESSIONS};
use crate::keys::keys;
use crate::response::Response;
use crate::small_stack;

const SEED: u64 = 6;
const KEYS: usize = 10_000;
/// How many of them are checked by real requests too.
const REQUESTED: usize = 2_000;
/// For how many keys `explain` predicts a change: each response measures it over 20,000 keys.
const EXPLAINED: usize = 20;
const AT_ONCE: usize = 32;

type Homes = BTreeMap<AffinityKey, String>;

/// The pool's routing, by requests and by `explain`.
struct Routing<'a> {
    stack: &'a Stack,
    api: Api,
    control: Api,
}

impl Routing<'_> {
    /// The homes of these keys by real requests.
    async fn homes_by_request(&self, count: usize) -> Result<Homes> {
        let home = |key: AffinityKey| async move {
            // An instance serves the 405 of this method too, without a side effect.
            let request = self
                .api
                .request(Method::PATCH, SESSIONS)
                .header(headers::AFFINITY_KEY, key.to_string());
            let response = Response::to(request).await?;
            ensure!(response.status == 405 && response.stamp().key == Some(key), "{response}");
            Ok((key, response.served_by().to_owned()))
        };
        stream::iter(keys(SEED).take(count)).map(home).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// The homes of these keys by `explain`.
    async fn homes_by_explain(&self, count: usize) -> Result<Homes> {
        let home = |key: AffinityKey| async move {
            let first =
                self.explain(key, "").await?.ranking.into_iter().next().context("a ranking")?;
            Ok((key, first.name.to_string()))
        };
        stream::iter(keys(SEED).take(count)).map(home).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn explain(&self, key: AffinityKey, change_query: &str) -> Result<Explanation> {
        let path = format!("/control/v1/pools/stateful/explain?key={key}{change_query}");
        let response = self.control.get(&path).await?;
        ensure!(response.status == 200, "{response}");
        let explanation: Explanation = response.json();
        ensure!(explanation.key == key);
        Ok(explanation)
    }

    /// A change predicted by `explain`: the keys' new homes, the share of all keys that move, the
    /// epoch.
    async fn explain_change(&self, change: &str, now: &Homes) -> Result<(Homes, f64, String)> {
        let mut homes = Homes::new();
        let mut change_summary = None;
        for key in keys(SEED).take(EXPLAINED) {
            let change = self.explain(key, change).await?.change.context("a predicted change")?;
            let home = change.home.as_ref().context("a home")?.to_string();
            ensure!(change.moves == (home != now[&key]), "{key} at {}: {change:?}", now[&key]);
            homes.insert(key, home);
            change_summary = Some((change.moved_percent, change.epoch.to_string()));
        }
        let (moved_percent, epoch) = change_summary.context("at least one key")?;
        Ok((homes, moved_percent, epoch))
    }

    async fn epoch(&self) -> Result<String> {
        Ok(self.stack.control().pool(PoolName::Stateful).await?.epoch.to_string())
    }
}

/// Whether all of these homes are the same in the larger map.
fn agrees(some: &Homes, all: &Homes) -> bool {
    some.iter().all(|(key, home)| all[key] == *home)
}

#[tokio::test]
async fn membership_changes_move_the_minimum_that_explain_predicts() -> Result<()> {
    let stack = small_stack().store(Store::Memory).start().await?;
    let routing =
        Routing { stack: &stack, api: Api::on_gateway(&stack)?, control: Api::control(&stack)? };

    let three = routing.homes_by_explain(KEYS).await?;
    let epoch_of_three = routing.epoch().await?;
    assert_eq!(three.len(), KEYS, "the seed draws no key twice");
    assert!(agrees(&routing.homes_by_request(REQUESTED).await?, &three));

    // A fourth instance gets its share from all others; no key moves between those.
    let (predicted, predicted_percent, predicted_epoch) =
        routing.explain_change("&with=stateful-4", &three).await?;
    stack.scale(PoolName::Stateful, 4).await?;
    let four = routing.homes_by_explain(KEYS).await?;
    let moved: Vec<_> = four.iter().filter(|&(key, home)| three[key] != *home).collect();
    assert!((2_200..=2_800).contains(&moved.len()), "{} of {KEYS} moved", moved.len());
    assert!(moved.iter().all(|(_, home)| *home == "stateful-4"));
    assert!(agrees(&routing.homes_by_request(REQUESTED).await?, &four));
    assert!(agrees(&predicted, &four));
    assert_eq!(predicted_epoch, routing.epoch().await?);
    // Both are samples of the same share, a quarter: of 10,000 keys one standard deviation is 0.43
    // %, of the 20,000 of `explain` 0.31 %. Four of the two together.
    let moved_percent = moved.len() as f64 * 100.0 / KEYS as f64;
    assert!(
        (predicted_percent - moved_percent).abs() < 2.1,
        "{predicted_percent} % predicted, {moved_percent} % moved"
    );

    // Without it the ranking of every key is as before, and so is the epoch.
    let (predicted, predicted_percent, predicted_epoch) =
        routing.explain_change("&without=stateful-4", &four).await?;
    stack.scale(PoolName::Stateful, 3).await?;
    assert_eq!(routing.homes_by_explain(KEYS).await?, three);
    assert!(agrees(&routing.homes_by_request(REQUESTED).await?, &three));
    assert!(agrees(&predicted, &three));
    assert_eq!((&predicted_epoch, &routing.epoch().await?), (&epoch_of_three, &epoch_of_three));
    assert!(
        (predicted_percent - moved_percent).abs() < 2.1,
        "{predicted_percent} % predicted, {moved_percent} % moved"
    );

    // Homes depend on names: an instance that returns on another port keeps its keys.
    let before = stack.addr_of("stateful-2")?;
    stack.kill("stateful-2").await?;
    stack.start_on("stateful-2", stack.ports().spare()?).await?;
    assert_ne!(stack.addr_of("stateful-2")?, before);
    assert_eq!(routing.epoch().await?, epoch_of_three);
    assert!(agrees(&routing.homes_by_request(REQUESTED).await?, &three));
    stack.shutdown().await;
    Ok(())
}
