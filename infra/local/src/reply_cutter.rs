//! A fault-injection proxy between the stateful instances and Redis. It drops replies: it closes
//! the connection after Redis has executed a mutation and before the reply is forwarded.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod commands;

use commands::{Commands, Seen};

const CHUNK: usize = 64 * 1024;

/// A running proxy. Dropping it closes its connections.
pub struct ReplyCutter {
    addr: SocketAddr,
    policy: Arc<CutPolicy>,
    listening: JoinHandle<()>,
}

/// Which replies are dropped. The counters are independent of each other.
#[derive(Default)]
struct CutPolicy {
    /// Every n-th reply to a mutation is dropped; 0 for none.
    every: AtomicU64,
    mutations: AtomicU64,
    cut: AtomicU64,
}

impl ReplyCutter {
    /// Listens on a free loopback port and forwards to that address, which need not be up yet. Call
    /// it within a Tokio runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn before(redis: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        let policy = Arc::<CutPolicy>::default();
        let shared = Arc::clone(&policy);
        let listening = tokio::spawn(async move {
            // Connections end with the listener's task.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(forward(client, redis, Arc::clone(&shared)));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, policy, listening })
    }

    /// Its URL, for `SESSION_REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Drops every n-th reply to a mutation from now on; 0 for none. A repeated attempt after a
    /// dropped reply is not counted.
    pub fn cut_every(&self, mutations: u64) {
        self.policy.every.store(mutations, Ordering::Relaxed);
    }

    /// Number of dropped replies.
    pub fn cut(&self) -> u64 {
        self.policy.cut.load(Ordering::Relaxed)
    }
}

impl Drop for ReplyCutter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl CutPolicy {
    /// Whether the reply to this mutation is dropped.
    fn is_dropped(&self) -> bool {
        let every = self.every.load(Ordering::Relaxed);
        let is_dropped =
            every > 0 && self.mutations.fetch_add(1, Ordering::Relaxed).is_multiple_of(every);
        self.cut.fetch_add(u64::from(is_dropped), Ordering::Relaxed);
        is_dropped
    }
}

/// Forwards until either side closes, or a reply is dropped; then both connections are closed.
async fn forward(client: TcpStream, redis: SocketAddr, policy: Arc<CutPolicy>) {
    let Ok(server) = TcpStream::connect(redis).await else { return };
    let _nodelay = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // A mutation was sent and its reply is pending. A pooled connection carries one at a time.
    let is_pending = AtomicBool::new(false);
    let upload = async {
        let (mut chunk, mut commands) = (vec![0; CHUNK], Commands::default());
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            if commands.read(&chunk[..length]).contains(&Seen::Mutation) {
                is_pending.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
    };
    let download = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from_server.read(&mut chunk).await {
            let is_reply = is_pending.swap(false, Ordering::SeqCst);
            if is_reply && policy.is_dropped()
                || to_client.write_all(&chunk[..length]).await.is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = upload => {}
        () = download => {}
    }
}
