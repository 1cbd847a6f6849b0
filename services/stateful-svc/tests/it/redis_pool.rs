//! The pool of connections to Redis.

use std::time::Duration;

use futures_util::future::join_all;
use secrecy::SecretString;
use service_kit::redis::{RedisTarget, RedisTimeouts};
use service_kit::tls::Trust;
use tokio::time::sleep;

use crate::redis_server::RedisServer;

#[tokio::test]
async fn of_connections_that_were_idle_when_redis_hangs_one_is_checked_and_no_other() {
    let server = RedisServer::start().await;
    let target = RedisTarget::parse(&SecretString::from(server.url()), &Trust::system())
        .expect("a Redis URL");
    let pool = target.pool(RedisTimeouts::STORE).expect("a pool");
    let connections = join_all((0..8).map(|_| pool.get())).await;
    assert!(connections.iter().all(Result::is_ok));
    drop(connections);
    // Longer than a connection may be idle without a check.
    sleep(Duration::from_millis(5_100)).await;
    let mut redis = server.connect().await.expect("connected");
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.expect("reset");
    server.freeze();
    assert!(pool.get().await.is_err());
    server.resume();
    // Redis executes what it received meanwhile before this.
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut server.connect().await.expect("connected"))
        .await
        .expect("info");
    assert!(stats.contains("cmdstat_ping:calls=1,"), "{stats}");
    assert!(pool.get().await.is_ok());
}
