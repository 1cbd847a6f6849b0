//! A proxy for Redis that can lose a reply together with its connection.

use std::path::Path;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use service_kit::redis::{RedisTarget, RedisTimeouts};
use service_kit::tls::Trust;
use stateful_svc::store::redis::RedisStore;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::redis_server::RedisServer;
use crate::subject::LIFETIME;

/// A socket in front of Redis that forwards everything until it is ordered to lose a reply.
pub(crate) struct RedisProxy {
    folder: TempDir,
    cut: Cut,
}

type Cut = Arc<Mutex<Option<Order>>>;

/// The reply to lose, and when to close its connection.
struct Order {
    /// Only replies to commands that contain this count.
    marker: Vec<u8>,
    /// The number of such replies before it.
    before: usize,
    /// Notified when the reply has arrived, so its command was executed.
    done: oneshot::Sender<()>,
    /// Awaited before the connection is closed.
    may_go_on: oneshot::Receiver<()>,
}

impl RedisProxy {
    pub(crate) fn to(server: &RedisServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let cut = Cut::default();
        let (shared, socket) = (Arc::clone(&cut), server.socket());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, socket.clone(), Arc::clone(&shared)));
            }
        });
        Self { folder, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("socket").display())
    }

    pub(crate) fn store(&self) -> RedisStore {
        let target = RedisTarget::parse(&SecretString::from(self.url()), &Trust::system())
            .expect("a Redis URL");
        RedisStore::new(&target, target.pool(RedisTimeouts::STORE).expect("a pool"), LIFETIME)
    }

    /// Loses the reply after `before` others. The first channel is notified when the command was
    /// executed; a message to the second one closes the connection.
    pub(crate) fn cut_after(&self, before: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        self.order("", before)
    }

    pub(crate) fn cut_at_once_after(&self, before: usize) {
        self.cut_after(before).1.send(()).expect("the proxy waits");
    }

    /// Loses the reply to a command that contains this text, after `before` others that do.
    pub(crate) fn cut_reply_to(&self, text: &str, before: usize) {
        self.order(text, before).1.send(()).expect("the proxy waits");
    }

    /// Whether the reply was lost.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut.lock().expect("not poisoned").is_none()
    }

    /// Loses the reply to a command that contains this text, after `before` others that do. The
    /// channels are those of [`RedisProxy::cut_after`].
    pub(crate) fn order(
        &self,
        marker: &str,
        before: usize,
    ) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (done, is_done) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        *self.cut.lock().expect("not poisoned") =
            Some(Order { marker: marker.into(), before, done, may_go_on });
        (is_done, go_on)
    }
}

async fn forward(client: UnixStream, socket: impl AsRef<Path>, cut: Cut) {
    let server = UnixStream::connect(socket).await.expect("Redis is reachable");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // A pooled connection has one command at a time, which arrives in one read unless it is long.
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
        let order = due_order(&cut, &command.lock().expect("not poisoned"));
        if let Some(Order { done, may_go_on, .. }) = order {
            // The test may have dropped it.
            let _ignored = done.send(());
            may_go_on.await.expect("the test sends");
            break;
        }
        if to_client.write_all(&reply[..length]).await.is_err() {
            break;
        }
    }
    there.abort();
}

fn due_order(cut: &Cut, command: &[u8]) -> Option<Order> {
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
