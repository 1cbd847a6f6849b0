//! The plain exchange: serves the common requests at a fraction of the cost of a general proxy.
//!
//! It reads bytes by the walkers of [`crate::http_strict`], decides by [`crate::decision`], and
//! writes bytes. Pingora owns the connections. Rare requests (upgrades, `Expect`, HTTP/2 to
//! instances) are handed over to its proxy ([`crate::proxy`]) before anything is sent or counted.
//!
//! `run` serves one request, `attempt` is one try at one instance, `upstream` has the kept
//! connections to instances.

mod attempt;
mod buffers;
mod chunk;
mod client;
mod compose;
mod download;
mod error;
mod head;
mod linger;
mod read;
mod room;
mod run;
mod sending;
mod timer;
mod transport;
mod upload;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

pub use linger::{discard, linger};
pub use read::poll_read;
pub use timer::Timer;

use crate::config::{Engine, Protocol};
use crate::decision::Decisions;
use crate::exchange::client::Client;
use crate::exchange::head::Request;
use crate::exchange::linger::close;
use crate::exchange::room::Room;
use crate::exchange::run::{Run, Served};
use crate::exchange::upload::Upload;
use crate::http_strict::{Body, Framing, ScannedRequest, Scanner};

/// Serves requests by the plain exchange.
pub struct PlainExchange {
    decisions: Arc<Decisions>,
    room: Arc<Room>,
    /// Whether no pool needs HTTP/2.
    only_http1: bool,
}

/// A request whose header is complete, and the part of its body that arrived with it.
#[derive(Debug)]
pub struct Incoming {
    /// All bytes so far.
    pub bytes: BytesMut,
    /// The scanner of the header.
    pub scanner: Scanner,
    /// Bytes of the header.
    pub header_len: usize,
}

impl Incoming {
    /// The bytes of the request, with the canonical target in its header, and those of later ones.
    /// Copied only if the target differs or there are later ones.
    pub fn into_canonical(self) -> (BytesMut, BytesMut) {
        let Self { mut bytes, scanner, header_len } = self;
        let framing = scanner.request().map_or(Framing::None, |request| request.framing());
        let later = match Body::new(framing).take(&bytes[header_len..]) {
            Ok(taken) if taken.complete => bytes.split_off(header_len + taken.len),
            _ => BytesMut::new(),
        };
        let Some((sent, target)) = scanner.rewritten_target() else { return (bytes, later) };
        let parts = [&bytes[..sent.start], target.as_bytes(), &bytes[sent.end..]];
        (BytesMut::from(&parts.concat()[..]), later)
    }
}

impl PlainExchange {
    /// An exchange with these decisions, for `most` connections of clients and as many to instances.
    pub fn new(decisions: Arc<Decisions>, most: usize) -> Self {
        let room = Arc::new(Room::new(most));
        let only_http1 = decisions.pools.iter().all(|pool| pool.protocol() == Protocol::Http1);
        Self { decisions, room, only_http1 }
    }

    /// Whether it serves such a request, under the current configuration.
    pub fn takes(&self, head: &ScannedRequest<'_>) -> bool {
        self.only_http1
            && !(head.upgrade && head.connection.upgrade)
            && !head.expects_continue
            && self.decisions.traffic.load().engine == Engine::Plain
    }

    /// Serves a request. Returns the bytes of later ones if the connection is kept.
    pub async fn serve(
        &self,
        stream: &mut Stream,
        timer: &mut Timer,
        shutdown: &ShutdownWatch,
        peer: Option<IpAddr>,
        incoming: &Incoming,
    ) -> Option<BytesMut> {
        let Incoming { bytes, scanner, header_len } = incoming;
        let head = scanner.request()?;
        let body = &bytes[*header_len..];
        let (upload, taken) = Upload::begin(head.framing(), body);
        let mut run = Run {
            decisions: &self.decisions,
            room: &self.room,
            shutdown,
            client: Client { stream, timer, early: BytesMut::from(&body[taken..]) },
            request: Request::new(head, bytes),
            upload,
            ctx: self.decisions.begin(),
            status: None,
            response_bytes: 0,
            keeps: false,
        };
        let served = run.serve(peer).await;
        // The request is no longer in flight.
        let Run { mut client, upload, ctx, .. } = run;
        drop(ctx);
        match served {
            Served::Keep => return Some(client.early),
            Served::Close if !upload.is_complete() || client.has_unread().await => {
                linger(client.stream).await;
            }
            Served::Close => close(client.stream).await,
            Served::Abort => {}
        }
        None
    }
}
