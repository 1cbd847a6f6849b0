//! Round robin of stateless requests.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use proto_contracts::Verdict;

use crate::api::Api;
use crate::small_stack;

#[tokio::test]
async fn three_thousand_gets_are_spread_within_1_percent_of_the_mean() -> Result<()> {
    let stack = small_stack().stateless(3).stateful(1).start().await?;
    let api = Api::on_gateway(&stack)?;
    let served: Vec<String> = stream::iter(0..3_000)
        .map(|_| async {
            let response = api.get("/api/v1/stateless/random").await?;
            ensure!(
                response.status == 200 && response.stamp().verdict == Verdict::Off,
                "{response}"
            );
            anyhow::Ok(response.served_by().to_owned())
        })
        .buffer_unordered(32)
        .try_collect()
        .await?;
    let mut counts = BTreeMap::<String, u32>::new();
    for instance in served {
        *counts.entry(instance).or_default() += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|count| count.abs_diff(1_000) <= 10), "{counts:?}");
    stack.shutdown().await;
    Ok(())
}
