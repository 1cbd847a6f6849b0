//! Instances with HTTP/2 without TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, Response, Version};
use proto_contracts::{Verdict, headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;

use crate::client::Request;
use crate::testbed::{SESSIONS, Setup};

const NAME: &str = "stateful-1";
/// Begins every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
const HEALTHY: &str = "HTTP/1.1 200 OK\r\nx-instance-id: stateful-1\r\ncontent-length: 7\r\n\
                       connection: close\r\n\r\nhealthy";

/// An instance with HTTP/2 by prior knowledge, and health checks by HTTP/1.1.
#[derive(Clone)]
struct H2cUpstream {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl H2cUpstream {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("does not block");
        let addr = listener.local_addr().expect("an address");
        let upstream = Self { addr, connections: Arc::default(), seen: Arc::default() };
        let own = upstream.clone();
        thread::spawn(move || {
            let runtime =
                runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(own.clone().serve(stream));
                }
            });
        });
        upstream
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut first = [0; PREFACE.len()];
        if stream.peek(&mut first).await.is_err() {
            return;
        }
        if first != PREFACE {
            let mut request = [0; 4_096];
            let _closed_by_peer = stream.read(&mut request).await;
            let _closed_by_peer = stream.write_all(HEALTHY.as_bytes()).await;
            return;
        }
        self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let own = self.clone();
            tokio::spawn(async move {
                let (head, mut body) = request.into_parts();
                let mut text = Vec::new();
                while let Some(Ok(piece)) = body.data().await {
                    let _freed = body.flow_control().release_capacity(piece.len());
                    text.extend_from_slice(&piece);
                }
                let text = String::from_utf8(text).expect("text");
                let response = Response::builder()
                    .version(Version::HTTP_2)
                    .header(headers::INSTANCE_ID, NAME)
                    .body(());
                own.seen.lock().expect("no panic").push((head.headers, head.uri.to_string()));
                let mut stream =
                    respond.send_response(response.expect("a response"), false).expect("sent");
                stream.send_data(Bytes::from(format!("got {text}")), true).expect("sent");
            });
        }
    }
}

#[test]
fn requests_share_a_connection_and_have_the_headers_of_http_1() {
    let upstream = H2cUpstream::start();
    let gateway =
        Setup::new().stateful_at(upstream.addr).stateful_setting("protocol = 'h2c'").start();
    let mut client = gateway.connect();
    for number in 0..20 {
        let request = Request::new("POST", SESSIONS)
            .header("cookie", "affinity=0000000c; a=b")
            .json(&format!("{number}"));
        let reply = client.send(&request);
        assert_eq!((reply.status, reply.body), (200, format!("got {number}").into_bytes()));
        let reply = client.send(&Request::get(SESSIONS).header("cookie", "affinity=0000000c"));
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"got "[..]));
        assert_eq!((reply.verdict(), reply.served_by()), (Verdict::Home, NAME));
        assert_ne!(reply.header("connection"), Some("close"), "the client's connection stays open");
    }
    let seen = upstream.seen.lock().expect("no panic");
    assert_eq!(seen.len(), 40);
    let (first, uri) = &seen[0];
    assert_eq!(first.get(COOKIE).map(|value| value.as_bytes()), Some(&b"a=b"[..]));
    assert_eq!(
        first.get(headers::AFFINITY_KEY).map(|value| value.as_bytes()),
        Some(&b"0000000c"[..])
    );
    assert!(first.contains_key(headers::REQUEST_ID) && !first.contains_key(HOST), "{first:?}");
    assert!(uri.ends_with(SESSIONS), "{uri}");
    // At most one for each of the gateway's threads.
    assert!(upstream.connections.load(Ordering::SeqCst) <= 2, "{:?}", upstream.connections);
}

#[test]
fn a_client_of_http_1_0_needs_no_host() {
    let upstream = H2cUpstream::start();
    let gateway =
        Setup::new().stateful_at(upstream.addr).stateful_setting("protocol = 'h2c'").start();
    let mut client = gateway.connect();
    client.write(format!("GET {SESSIONS} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!(client.reply_to("GET").status, 200);
}
