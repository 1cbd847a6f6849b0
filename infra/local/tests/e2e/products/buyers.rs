//! 100 buyers of a stock of 50: 50 get one unit each, also when each repeats its request and an
//! instance is killed meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use local_stack::Stack;
use proto_contracts::products::Reservation;
use proto_contracts::{ErrorCode, Role};
use serde_json::json;

use super::{PRODUCTS, User};
use crate::accounts::database;
use crate::api::Api;
use crate::small_stack;
use crate::until::until;

const BUYERS: usize = 100;
const STOCK: i32 = 50;
/// Reservations before the instance is killed.
const BEFORE_KILL: usize = 10;

#[tokio::test]
async fn a_hundred_buyers_of_a_stock_of_fifty() -> Result<()> {
    let stack = small_stack().stateless(3).start().await?;
    let api = Api::on_gateway(&stack)?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    // They are few, as each registration takes a while; each buyer has a key of its own.
    let mut users = Vec::new();
    for number in 0..4 {
        users.push(User::new(&stack, &api, &format!("buyer-{number}"), Role::User).await?);
    }
    for with_kill in [false, true] {
        let id = format!("fifty-{with_kill}");
        let body = json!({"id": id, "name": "Fifty", "price": "1", "stock": STOCK});
        ensure!(admin.create(body).await?.status == 201);
        let reserved = AtomicUsize::new(0);
        let repeated = AtomicUsize::new(0);
        let buyers = (0..BUYERS).map(|number| {
            let (user, id) = (&users[number % users.len()], &id);
            let key = format!("buyer-key-{with_kill}-{number}");
            let (reserved, repeated) = (&reserved, &repeated);
            async move { buy_twice(user, id, &key, reserved, repeated).await }
        });
        let killer = async {
            if with_kill {
                until("some have reserved", async || {
                    Ok((reserved.load(Ordering::Relaxed) >= BEFORE_KILL).then_some(()))
                })
                .await?;
                stack.kill("stateless-2").await?;
                stack.start_component("stateless-2").await?;
            }
            anyhow::Ok(())
        };
        let (bought, ()) = tokio::try_join!(try_join_all(buyers), killer)?;
        let mut bought: Vec<_> = bought.into_iter().flatten().collect();
        bought.sort();
        compare(&stack, &id, &bought).await?;
        let repeated = repeated.load(Ordering::Relaxed);
        eprintln!("{} of {BUYERS} bought, {repeated} repetitions after an error", bought.len());
    }
    stack.shutdown().await;
    Ok(())
}

/// Reserves one unit, until the response says whether it did, and once more. Returns the
/// reservation.
async fn buy_twice(
    user: &User,
    id: &str,
    key: &str,
    reserved: &AtomicUsize,
    repeated: &AtomicUsize,
) -> Result<Option<String>> {
    let buy = async || {
        until("the outcome is known", async || {
            // The connection may break with the instance.
            match user.reserve(id, Some(key)).await {
                Ok(response) if matches!(response.status, 201 | 409) => Ok(Some(response)),
                Ok(response) => {
                    ensure!(matches!(response.status, 429 | 502 | 503 | 504), "{response}");
                    repeated.fetch_add(1, Ordering::Relaxed);
                    Ok(None)
                }
                Err(_) => Ok(None),
            }
        })
        .await
    };
    let first = buy().await?;
    if first.status == 409 {
        first.problem(ErrorCode::OutOfStock);
        // A key of a rejected request is not kept; there is still nothing.
        buy().await?.problem(ErrorCode::OutOfStock);
        return Ok(None);
    }
    reserved.fetch_add(1, Ordering::Relaxed);
    let again = buy().await?;
    ensure!((again.status, &again.body) == (201, &first.body), "{again} in place of {first}");
    ensure!(again.header("idempotency-replayed") == Some("true"), "{again}");
    Ok(Some(first.json::<Reservation>().id))
}

/// The database has what the buyers know, and nothing else.
async fn compare(stack: &Stack, id: &str, bought: &[String]) -> Result<()> {
    let database = database(stack).await?;
    let sql = "SELECT id::text FROM reservations WHERE product_id = $1 ORDER BY 1";
    let rows = database.query(sql, &[&id]).await?;
    let stored = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    assert_eq!(stored, bought);
    assert_eq!(stored.len(), usize::try_from(STOCK)?);
    let sql = "SELECT count(*) FROM audit_log WHERE action = 'product_reserved' AND object = $1";
    let entries: i64 = database.query_one(sql, &[&format!("product:{id}")]).await?.try_get(0)?;
    assert_eq!(entries, i64::from(STOCK));
    // Every instance shows the empty stock.
    for number in 1..=3 {
        let instance = Api::on_instance(stack, &format!("stateless-{number}"))?;
        let read = instance.get(&format!("{PRODUCTS}/{id}")).await?;
        let shown: serde_json::Value = read.json();
        assert_eq!(shown["stock"].as_i64().context("a stock")?, 0, "{read}");
    }
    Ok(())
}
