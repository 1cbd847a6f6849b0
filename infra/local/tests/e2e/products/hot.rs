//! Many buyers of one product at once, and everybody else meanwhile.

use anyhow::{Context, Result, ensure};
use proto_contracts::Role;
use serde_json::json;

use super::User;
use crate::accounts::database;
use crate::api::Api;
use crate::small_stack;
use crate::until::until;

/// More than an instance has connections to PostgreSQL.
const BUYERS: usize = 48;
/// Of the sessions that may wait for a product's lock: two of the instance, and two that it gave up
/// after its timeout of 3 s. PostgreSQL ends those after 5 s.
const IN_DATABASE: i64 = 4;
const IN_FLIGHT: &str = "http_server_active_requests ";

/// Writes of a product wait for its lock. However many wait, they take no connection from others.
#[tokio::test]
async fn a_hot_product_holds_nobody_else_up() -> Result<()> {
    let stack = small_stack().stateless(1).start().await?;
    let api = Api::on_instance(&stack, "stateless-1")?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let buyer = User::new(&stack, &api, "buyer", Role::User).await?;
    for id in ["hot", "other"] {
        let body = json!({"id": id, "name": id, "price": "1", "stock": BUYERS});
        ensure!(admin.create(body).await?.status == 201);
    }
    let holder = database(&stack).await?;
    holder.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7001, hashtext('hot'))").await?;
    let buyers: Vec<_> = (0..BUYERS)
        .map(|number| {
            let buyer = buyer.clone();
            tokio::spawn(async move { reserved(&buyer, &format!("hot-buyer-{number}")).await })
        })
        .collect();

    let observer = database(&stack).await?;
    let waiting = "SELECT count(*) FROM pg_locks \
                   WHERE locktype = 'advisory' AND classid = 7001 AND NOT granted";
    let in_flight = async || {
        let metrics = String::from_utf8(api.get("/metrics").await?.body)?;
        let lines = metrics.lines().filter(|line| line.starts_with(IN_FLIGHT));
        let number = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).next();
        number.context("the number of requests")
    };
    until("most buyers wait", async || {
        let wait = in_flight().await? >= 40.0;
        let waiting: i64 = observer.query_one(waiting, &[]).await?.get(0);
        Ok((wait && waiting > 0).then_some(()))
    })
    .await?;
    for _ in 0..5 {
        let other = buyer.reserve("other", None).await?;
        ensure!(other.status == 201, "{other}");
        let waiting: i64 = observer.query_one(waiting, &[]).await?.get(0);
        ensure!(waiting <= IN_DATABASE, "{waiting} wait in the database");
    }

    holder.batch_execute("COMMIT").await?;
    for buyer in buyers {
        buyer.await??;
    }
    let sql = "SELECT stock, (SELECT count(*) FROM reservations WHERE product_id = products.id) \
               FROM products WHERE id = 'hot'";
    let row = observer.query_one(sql, &[]).await?;
    let (stock, reservations): (i32, i64) = (row.get(0), row.get(1));
    ensure!((stock, reservations) == (0, i64::try_from(BUYERS)?), "{stock} {reservations}");
    stack.shutdown().await;
    Ok(())
}

/// Reserves a unit, and repeats the request while its outcome is unknown: a wait for the lock has a
/// timeout.
async fn reserved(buyer: &User, key: &str) -> Result<()> {
    until("it is reserved", async || {
        let response = buyer.reserve("hot", Some(key)).await?;
        ensure!(matches!(response.status, 201 | 503), "{response}");
        Ok((response.status == 201).then_some(()))
    })
    .await
    .with_context(|| key.to_owned())
}
