//! Real servers of Redis that accept TLS alone: one, a master with a Sentinel, and a cluster.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::aio::ConnectionLike;
use secrecy::SecretString;
use service_kit::redis::{RedisPool, RedisTarget, RedisTimeouts};
use service_kit::testing::{Authority, Issued, VALID};
use tokio::time::sleep;

use super::LONG;

/// A server, killed on drop.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited_for = self.process.wait();
    }
}

/// The certificate of all servers, and what trusts it.
struct Servers {
    authority: Authority,
    certificate: Issued,
}

impl Servers {
    fn new() -> Self {
        let authority = Authority::new();
        let certificate = authority.issue("server", &["127.0.0.1"], VALID);
        Self { authority, certificate }
    }

    /// Starts a server with these settings besides those of TLS.
    fn start(&self, name: &str, settings: &str, arguments: &[&str]) -> Server {
        let port = free_port();
        let path = self.authority.folder();
        let config = path.join(format!("{name}.conf"));
        let own = path.join(name);
        fs::create_dir(&own).expect("a folder");
        let Issued { chain, key } = &self.certificate;
        let text = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\nlogfile {}\ntls-cert-file {}\n\
             tls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\ntls-replication yes\n{settings}\n",
            own.display(),
            path.join(format!("{name}.log")).display(),
            chain.display(),
            key.display(),
            self.authority.ca_file().display(),
        );
        fs::write(&config, text).expect("written");
        let process = Command::new("redis-server")
            .arg(&config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server, of the package of that name");
        Server { process, port }
    }

    fn target(&self, url: String) -> RedisTarget {
        RedisTarget::parse(&SecretString::from(url), &self.authority.trusted()).expect("a URL")
    }

    fn pool(&self, url: String) -> RedisPool {
        self.target(url).pool(TIMEOUTS).expect("a pool")
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.authority.folder().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Waits until a command at the server returns what is awaited.
    async fn until(&self, name: &str, pool: &RedisPool, command: &[&str], awaited: &str) {
        let begin = Instant::now();
        loop {
            let seen = match pool.get().await {
                Ok(mut connection) => match send::<String>(&mut *connection, command).await {
                    Ok(text) if text.contains(awaited) => return,
                    Ok(text) => text,
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            assert!(begin.elapsed() < LONG, "{command:?}: {seen}\n{}", self.log(name));
            sleep(Duration::from_millis(20)).await;
        }
    }
}

const TIMEOUTS: RedisTimeouts = RedisTimeouts { connect: LONG, wait: LONG, response: LONG };

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

async fn send<T: redis::FromRedisValue>(
    connection: &mut impl ConnectionLike,
    command: &[&str],
) -> RedisResult<T> {
    let mut cmd = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        cmd.arg(argument);
    });
    cmd.query_async(connection).await
}

/// Writes and reads a key, and gets a message of a channel.
async fn is_used(target: &RedisTarget, pool: &RedisPool) {
    let (mut subscribed, mut pushes) = target.channel(TIMEOUTS).await.expect("a channel");
    subscribed.subscribe("news").await.expect("subscribed");
    let mut connection = pool.owner_of("key").await.expect("a connection");
    let written: String = send(&mut *connection, &["SET", "key", "value"]).await.expect("written");
    assert_eq!(written, "OK");
    let read: String = send(&mut *connection, &["GET", "key"]).await.expect("read");
    assert_eq!(read, "value");
    let _receivers: u64 = send(&mut *connection, &["PUBLISH", "news", "x"]).await.expect("sent");
    loop {
        let push = pushes.recv().await.expect("the channel is open");
        match push.kind {
            redis::PushKind::Message => break,
            redis::PushKind::Disconnection => panic!("disconnected"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn one_server_is_used_by_tls() {
    let servers = Servers::new();
    let one = servers.start("one", "", &[]);
    let url = format!("rediss://127.0.0.1:{}", one.port);
    let pool = servers.pool(url.clone());
    servers.until("one", &pool, &["PING"], "PONG").await;
    is_used(&servers.target(url), &pool).await;
}

#[tokio::test]
async fn a_master_that_a_sentinel_names_is_used_by_tls() {
    let servers = Servers::new();
    let master = servers.start("master", "", &[]);
    let pool = servers.pool(format!("rediss://127.0.0.1:{}", master.port));
    servers.until("master", &pool, &["PING"], "PONG").await;
    let watch = format!("sentinel monitor sessions 127.0.0.1 {} 1", master.port);
    let sentinel = servers.start("sentinel", &watch, &["--sentinel"]);
    let pool = servers.pool(format!("rediss://127.0.0.1:{}", sentinel.port));
    servers.until("sentinel", &pool, &["INFO", "sentinel"], "status=ok").await;

    let url = format!("rediss+sentinel://127.0.0.1:{}/sessions", sentinel.port);
    let pool = servers.pool(url.clone());
    is_used(&servers.target(url), &pool).await;
}

#[tokio::test]
async fn the_owner_of_a_slot_is_used_by_tls() {
    let servers = Servers::new();
    let settings = format!("cluster-enabled yes\ntls-cluster yes\ncluster-port {}", free_port());
    let node = servers.start("node", &settings, &[]);
    let pool = servers.pool(format!("rediss://127.0.0.1:{}", node.port));
    servers.until("node", &pool, &["PING"], "PONG").await;
    servers.until("node", &pool, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"], "OK").await;
    servers.until("node", &pool, &["CLUSTER", "INFO"], "cluster_state:ok").await;

    let url = format!("rediss+cluster://127.0.0.1:{}", node.port);
    let pool = servers.pool(url.clone());
    is_used(&servers.target(url), &pool).await;
}
