//! A proxy between the stateful instances and their Redis that can lose replies: it ends a connection after an act on a session
//! was executed and before its reply is passed on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod commands;

use commands::{Commands, Seen};

const PIECE: usize = 64 * 1024;

/// A running proxy. It ends with this; its connections break then.
pub struct ReplyCutter {
    addr: SocketAddr,
    orders: Arc<Orders>,
    listening: JoinHandle<()>,
}

/// What is to be lost. Its counters are independent of each other.
#[derive(Default)]
struct Orders {
    /// One in so many replies is lost; 0 for none.
    every: AtomicU64,
    acts: AtomicU64,
    cut: AtomicU64,
}

impl ReplyCutter {
    /// Listens on a free port of this machine and passes everything on to that address, which need not answer yet. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// When there is no port.
    pub fn before(redis: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        let orders = Arc::<Orders>::default();
        let shared = Arc::clone(&orders);
        let listening = tokio::spawn(async move {
            // Connections end with the listener's task.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(pass_on(client, redis, Arc::clone(&shared)));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, orders, listening })
    }

    /// Where it takes connections, as `SESSION_REDIS_URL` says it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Loses one in so many replies to acts from now on; 0 for none. An attempt that follows a lost reply keeps its own.
    pub fn cut_every(&self, acts: u64) {
        self.orders.every.store(acts, Ordering::Relaxed);
    }

    /// How many replies were lost.
    pub fn cut(&self) -> u64 {
        self.orders.cut.load(Ordering::Relaxed)
    }
}

impl Drop for ReplyCutter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Orders {
    /// Whether the reply to this act is lost.
    fn is_lost(&self) -> bool {
        let every = self.every.load(Ordering::Relaxed);
        let is_lost = every > 0 && self.acts.fetch_add(1, Ordering::Relaxed).is_multiple_of(every);
        self.cut.fetch_add(u64::from(is_lost), Ordering::Relaxed);
        is_lost
    }
}

/// Passes on what comes until either side ends, or a reply is lost. Whoever waits for more meets the end of the connection.
async fn pass_on(client: TcpStream, redis: SocketAddr, orders: Arc<Orders>) {
    let Ok(server) = TcpStream::connect(redis).await else { return };
    let _faster = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // An act was sent and its reply has not come. A connection of the pool has one act at a time.
    let awaited = AtomicBool::new(false);
    let there = async {
        let (mut piece, mut commands) = (vec![0; PIECE], Commands::default());
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            if commands.read(&piece[..length]).contains(&Seen::Act) {
                awaited.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            let is_reply = awaited.swap(false, Ordering::SeqCst);
            if is_reply && orders.is_lost() || to_client.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
