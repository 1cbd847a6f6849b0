//! Changes of products while the cache or PostgreSQL is away: nothing is changed that the cache does
//! not know of, a short outage is waited for, and each request is executed once.

use anyhow::{Result, ensure};
use proto_contracts::products::Product;
use proto_contracts::{ErrorCode, Role};
use serde_json::json;

use super::{PRODUCTS, User, product};
use crate::accounts::database;
use crate::api::Api;
use crate::small_stack;
use crate::until::until;

#[tokio::test]
async fn without_the_cache_nothing_is_changed() -> Result<()> {
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let before: Product = api.get(&product("p001")).await?.json();
    stack.kill("redis-cache").await?;
    admin.patch("p001", json!({"stock": 77})).await?.problem(ErrorCode::CacheUnavailable);
    admin.reserve("p001", Some("no-cache-key")).await?.problem(ErrorCode::CacheUnavailable);
    let body = json!({"id": "uncached", "name": "x", "price": "1", "stock": 1});
    admin.create(body).await?.problem(ErrorCode::CacheUnavailable);
    // Reads bypass it.
    assert_eq!(api.get(&product("p001")).await?.json::<Product>(), before);
    api.get(&product("uncached")).await?.problem(ErrorCode::ProductNotFound);
    let sql = "SELECT count(*) FROM audit_log WHERE action LIKE 'product_%'";
    let entries: i64 = database(&stack).await?.query_one(sql, &[]).await?.try_get(0)?;
    assert_eq!(entries, 0);
    stack.start_component("redis-cache").await?;
    until("changes work again", async || {
        let changed = admin.patch("p001", json!({"stock": 78})).await?;
        Ok((changed.status == 200).then_some(()))
    })
    .await?;
    assert_eq!(api.get(&product("p001")).await?.json::<Product>().stock, 78);
    stack.shutdown().await;
    Ok(())
}

/// PostgreSQL ends the transaction of an instance that hangs within it. The instance tries again.
#[tokio::test]
async fn an_instance_that_hangs_within_a_change_executes_it_once() -> Result<()> {
    let stack = small_stack().start().await?;
    let api = Api::on_instance(&stack, "stateless-1")?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let database = database(&stack).await?;
    let within = async |state: &str| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = $1 \
                   AND query LIKE '%pg_advisory_xact_lock(7001%'";
        anyhow::Ok(database.query_one(sql, &[&state]).await?.try_get::<_, i64>(0)?)
    };
    database.execute("SELECT pg_advisory_lock(7001, hashtext('p001'))", &[]).await?;
    let buy = async {
        let bought = admin.reserve("p001", None).await?;
        // After three seconds, its own timeout is first.
        ensure!(matches!(bought.status, 201 | 503), "{bought}");
        anyhow::Ok(bought.status == 201)
    };
    let hang = async {
        until("it waits for the lock", async || Ok((within("active").await? == 1).then_some(())))
            .await?;
        stack.pause("stateless-1")?;
        database.execute("SELECT pg_advisory_unlock(7001, hashtext('p001'))", &[]).await?;
        until("it is within the change", async || {
            Ok((within("idle in transaction").await? == 1).then_some(()))
        })
        .await?;
        until("PostgreSQL ended it", async || {
            Ok((within("idle in transaction").await? == 0).then_some(()))
        })
        .await?;
        stack.resume("stateless-1")?;
        anyhow::Ok(())
    };
    let (is_bought, ()) = tokio::try_join!(buy, hang)?;
    let sql = "SELECT count(*) FROM reservations WHERE product_id = 'p001'";
    let reserved: i64 = database.query_one(sql, &[]).await?.try_get(0)?;
    assert_eq!(reserved, i64::from(is_bought));
    stack.shutdown().await;
    Ok(())
}

/// Redis and PostgreSQL restart under changes, which wait for them.
#[tokio::test]
async fn short_outages_are_waited_for() -> Result<()> {
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let body = json!({"id": "patient", "name": "x", "price": "1", "stock": 1_000});
    ensure!(admin.create(body).await?.status == 201);
    let mut reserved = 0;
    for (round, component) in
        ["redis-cache", "postgres", "redis-cache", "postgres"].iter().enumerate()
    {
        stack.kill(component).await?;
        let buy = async |number: usize| {
            let key = format!("patient-key-{round}-{number}");
            until("it is reserved", async || {
                let response = admin.reserve("patient", Some(&key)).await?;
                ensure!(matches!(response.status, 201 | 503), "{response}");
                Ok((response.status == 201).then_some(()))
            })
            .await
        };
        let buyers = futures_util::future::try_join_all((0..5).map(buy));
        let restart = async { Ok(stack.start_component(component).await?) };
        tokio::try_join!(buyers, restart)?;
        reserved += 5;
        let path = format!("{PRODUCTS}/patient");
        let read = until("the product is read", async || {
            let read = api.get(&path).await?;
            Ok((read.status == 200).then_some(read))
        });
        assert_eq!(read.await?.json::<Product>().stock, 1_000 - reserved);
    }
    stack.shutdown().await;
    Ok(())
}
