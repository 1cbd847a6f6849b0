//! A way to Redis on which a reply can be lost together with its connection.

use std::path::Path;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use service_kit::redis::{RedisTarget, RedisTimeouts};
use stateful_svc::store::redis::RedisStore;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::redis_server::RedisServer;
use crate::subject::LIFETIME;

/// A socket before a Redis, that passes everything on until it is to cut.
pub(crate) struct Way {
    folder: TempDir,
    cut: Cut,
}

type Cut = Arc<Mutex<Option<Order>>>;

/// Which reply is lost, and when its connection breaks.
struct Order {
    /// Only replies to commands that contain this count.
    marker: Vec<u8>,
    /// How many of them come before it.
    before: usize,
    /// Notified when the reply has come, and so its command was executed.
    done: oneshot::Sender<()>,
    /// What is waited for before the connection breaks.
    may_go_on: oneshot::Receiver<()>,
}

impl Way {
    pub(crate) fn to(server: &RedisServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let cut = Cut::default();
        let (shared, socket) = (Arc::clone(&cut), server.socket());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, socket.clone(), Arc::clone(&shared)));
            }
        });
        Self { folder, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("socket").display())
    }

    pub(crate) fn store(&self) -> RedisStore {
        let target = RedisTarget::parse(&SecretString::from(self.url())).expect("a Redis URL");
        RedisStore::new(&target, target.pool(RedisTimeouts::STORE).expect("a pool"), LIFETIME)
    }

    /// Loses a reply, after so many others. The first channel tells when its command was executed; the connection breaks
    /// when the second one is sent to.
    pub(crate) fn cut_after(&self, before: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        self.order("", before)
    }

    pub(crate) fn cut_at_once_after(&self, before: usize) {
        self.cut_after(before).1.send(()).expect("somebody waits");
    }

    /// Loses the reply to the next command that contains this text, after so many others that do.
    pub(crate) fn cut_reply_to(&self, text: &str, before: usize) {
        self.order(text, before).1.send(()).expect("somebody waits");
    }

    /// Whether the reply was lost.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut.lock().expect("not poisoned").is_none()
    }

    fn order(&self, marker: &str, before: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (done, is_done) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        *self.cut.lock().expect("not poisoned") = Some(Order { marker: marker.into(), before, done, may_go_on });
        (is_done, go_on)
    }
}

async fn pass_on(client: UnixStream, socket: impl AsRef<Path>, cut: Cut) {
    let server = UnixStream::connect(socket).await.expect("Redis is there");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // A pooled connection has one command at a time, which comes in one piece unless it is long.
    let command = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&command);
    let there = tokio::spawn(async move {
        let mut piece = vec![0; 256 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            *sent.lock().expect("not poisoned") = piece[..length].to_vec();
            if to_server.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
    });
    let mut reply = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_server.read(&mut reply).await {
        let order = its_turn(&cut, &command.lock().expect("not poisoned"));
        if let Some(Order { done, may_go_on, .. }) = order {
            // The test may not care.
            let _told = done.send(());
            may_go_on.await.expect("the test tells");
            break;
        }
        if to_client.write_all(&reply[..length]).await.is_err() {
            break;
        }
    }
    there.abort();
}

fn its_turn(cut: &Cut, command: &[u8]) -> Option<Order> {
    let mut cut = cut.lock().expect("not poisoned");
    let order = cut.as_mut()?;
    let marker = &order.marker;
    if !marker.is_empty() && !command.windows(marker.len()).any(|part| part == marker) {
        return None;
    }
    match order.before.checked_sub(1) {
        Some(before) => {
            order.before = before;
            None
        }
        None => cut.take(),
    }
}
