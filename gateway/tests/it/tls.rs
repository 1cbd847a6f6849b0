//! TLS at both sides of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto_contracts::control::InstanceState;
use rustls::ServerConfig;
use service_kit::testing::{Authority, Issued, VALID};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::{Connection, Request};
use crate::eventually;
use crate::testbed::{INFO, SESSIONS, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

const MIB: usize = 1024 * 1024;

/// Passes bytes on between a side with TLS and one without.
struct Relay {
    addr: SocketAddr,
    /// Connections so far.
    opened: Arc<AtomicUsize>,
    _runtime: Runtime,
}

/// What a relay does with each connection.
#[derive(Clone)]
enum Side {
    /// Accepts TLS, as the instance behind it does not.
    Accepts(Arc<ServerConfig>),
    /// Begins TLS, as the client in front of it does not.
    Begins(TlsConnector),
    /// Rejects everything, as an instance without TLS does.
    Rejects,
}

impl Relay {
    fn start(side: Side, to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bound");
        let addr = listener.local_addr().expect("bound");
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        runtime.spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let side = side.clone();
                // An error of a connection ends only this task.
                tokio::spawn(async move { relay(side, from, to).await });
            }
        });
        Self { addr, opened, _runtime: runtime }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

async fn relay(side: Side, mut from: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut to = TcpStream::connect(to).await?;
    match side {
        Side::Accepts(config) => {
            let mut from = TlsAcceptor::from(config).accept(from).await?;
            copy_bidirectional(&mut from, &mut to).await?;
        }
        Side::Begins(connector) => {
            let name = "127.0.0.1".try_into().expect("a name");
            let mut to = connector.connect(name, to).await?;
            copy_bidirectional(&mut from, &mut to).await?;
        }
        Side::Rejects => {
            let _hello = from.read(&mut [0; 1024]).await?;
            from.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }
    Ok(())
}

fn by_tls(authority: &Authority) -> Setup {
    Setup::new()
        .ca_file(authority.ca_file())
        .stateful_setting("tls_name = 'stateful-svc'")
        .threads(1)
}

#[test]
fn requests_to_instances_are_by_tls_on_kept_connections() {
    let authority = Authority::new();
    let upstream = Upstream::start("stateful-1");
    let side = Side::Accepts(authority.server("stateful-svc", VALID));
    let relay = Relay::start(side, upstream.addr());
    let gateway = by_tls(&authority).stateful_at(relay.addr).checked_once().start();
    let checked = relay.opened();

    let mut client = gateway.connect();
    for _ in 0..10 {
        assert_eq!(client.send(&Request::get(SESSIONS)).status, 200);
    }
    assert_eq!(relay.opened(), checked + 1, "one connection for all");

    // More than the connection takes at once, in both directions.
    let body = vec![b'x'; MIB];
    let reply = client.send(&Request::new("POST", SESSIONS).body(&body));
    assert_eq!(reply.status, 200);
    assert!(upstream.last().body == body);
    upstream.act(Act::Long(3 * MIB));
    assert_eq!(client.send(&Request::get(SESSIONS)).body.len(), 3 * MIB);

    // By Pingora's engine.
    upstream.act(Act::Echo);
    let mut client = gateway.connect();
    let path = format!("{}/live", session_path(gateway.key_at("stateful-1")));
    let upgrade = Request::get(&path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13");
    assert_eq!(client.send(&upgrade).status, 101);
    client.write(b"\x81\x05hello");
    assert_eq!(client.read_exactly(7), b"\x81\x05hello");
}

#[test]
fn surplus_bytes_of_an_instance_are_no_response_by_tls_either() {
    let authority = Authority::new();
    let upstream = Upstream::start("stateful-1");
    let side = Side::Accepts(authority.server("stateful-svc", VALID));
    let relay = Relay::start(side, upstream.addr());
    let gateway = by_tls(&authority).stateful_at(relay.addr).checked_once().start();
    let response =
        |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    upstream.act(Act::Raw((response("ok") + &response("forged")).into_bytes()));
    let mut client = gateway.connect();
    for _ in 0..3 {
        assert_eq!(client.send(&Request::get(SESSIONS)).body, b"ok");
    }
}

#[test]
fn an_instance_whose_tls_does_not_fit_gets_no_request_and_the_gateway_tells_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::start("stateful-1");
    for (side, fault) in [
        (Side::Accepts(other.server("stateful-svc", VALID)), "TLS_CA_FILE must name the file"),
        (Side::Accepts(authority.server("stateful-svc", (-3, -2))), "has expired: renew it"),
        (Side::Accepts(authority.server("stateful-svc", (2, 3))), "not valid yet"),
        (Side::Accepts(authority.server("stateless-svc", VALID)), "not for stateful-svc"),
        (Side::Rejects, "has no TLS on this port"),
    ] {
        let relay = Relay::start(side, upstream.addr());
        let setup = by_tls(&authority).stateful_at(relay.addr);
        let gateway = setup.checked_every(Duration::from_secs(1)).start_unready();
        eventually(fault, || {
            let instances = gateway.stateful().instances;
            let error = instances.first().and_then(|instance| instance.last_error.as_ref());
            error.is_some_and(|error| error.contains(fault)).then_some(())
        });
        assert_ne!(gateway.stateful().instances[0].state, InstanceState::Healthy);
        assert_eq!(gateway.send(&Request::get(SESSIONS)).status, 503);
        assert_eq!(upstream.count(), 0, "no request has reached it");
    }
}

fn with_certificate(upstream: &Upstream, issued: &Issued) -> TestGateway {
    Setup::new()
        .stateless([upstream])
        .server(&format!("tls_cert = '{}'", issued.chain.display()))
        .server(&format!("tls_key = '{}'", issued.key.display()))
        .section("[timeouts]\nheader_ms = 1500")
        .start()
}

#[test]
fn clients_of_a_listener_with_a_certificate_use_tls() {
    let authority = Authority::new();
    let upstream = Upstream::start("stateless-1");
    let issued = authority.issue("gateway", &["127.0.0.1"], VALID);
    let gateway = with_certificate(&upstream, &issued);
    let connector = |authority: &Authority| {
        let config = authority.trusted().client_config().expect("an authority");
        Side::Begins(TlsConnector::from(Arc::new(config)))
    };
    let relay = Relay::start(connector(&authority), gateway.addr);
    let mut client = Connection::open(relay.addr).expect("connects");
    for _ in 0..3 {
        assert_eq!(client.send(&Request::get(INFO)).status, 200);
    }
    let body = vec![b'x'; MIB / 2];
    let reply = client.send(&Request::new("POST", "/api/v1/stateless/calculate").body(&body));
    assert_eq!(reply.status, 200);
    upstream.act(Act::Long(3 * MIB));
    assert_eq!(client.send(&Request::get(INFO)).body.len(), 3 * MIB);
    assert_eq!(relay.opened(), 1, "the connection was kept");
    upstream.act(Act::ok());

    // Requests in one segment are served in order.
    let mut client = Connection::open(relay.addr).expect("connects");
    let two = [Request::get(INFO).head(), Request::get(INFO).head()].concat();
    client.write(&two);
    assert_eq!(client.reply_to("GET").status, 200);
    assert_eq!(client.reply_to("GET").status, 200);
    let served = upstream.count();

    // Neither a client that trusts another authority is served, nor one without TLS.
    let relay = Relay::start(connector(&Authority::new()), gateway.addr);
    let mut client = Connection::open(relay.addr).expect("connects");
    client.write(&Request::get(INFO).head());
    assert!(client.is_closed_by_peer());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let received = runtime.block_on(async {
        let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
        stream.write_all(&Request::get(INFO).head()).await.expect("written");
        let mut received = Vec::new();
        let _reset_or_closed = stream.read_to_end(&mut received).await;
        received
    });
    assert!(!received.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&received));
    // One that sends nothing is cut off.
    let ended = runtime.block_on(async {
        let mut stream = TcpStream::connect(gateway.addr).await.expect("connects");
        tokio::time::timeout(crate::TIMEOUT, stream.read(&mut [0; 1])).await
    });
    assert!(ended.is_ok(), "a silent client keeps its connection");
    assert_eq!(upstream.count(), served);
}

/// Without a length, the end of the connection is that of the body, which a client by TLS distinguishes from a cut.
#[test]
fn a_response_without_a_length_ends_unlike_one_that_is_cut() {
    let authority = Authority::new();
    let upstream = Upstream::start("stateless-1");
    let issued = authority.issue("gateway", &["127.0.0.1"], VALID);
    let gateway = with_certificate(&upstream, &issued);
    let config = authority.trusted().client_config().expect("an authority");
    let connector = TlsConnector::from(Arc::new(config));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let response = |act: Act| {
        upstream.act(act);
        runtime.block_on(async {
            let stream = TcpStream::connect(gateway.addr).await.expect("connects");
            let name = "127.0.0.1".try_into().expect("a name");
            let mut stream = connector.connect(name, stream).await.expect("a handshake");
            let request = format!("GET {INFO} HTTP/1.0\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut received = Vec::new();
            let ended = tokio::time::timeout(crate::TIMEOUT, stream.read_to_end(&mut received));
            (ended.await.expect("it ends").is_ok(), received)
        })
    };
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n".to_vec();
    let whole = [&chunked[..], b"0\r\n\r\n"].concat();
    let (has_ended, received) = response(Act::Raw(whole));
    assert!(has_ended && received.ends_with(b"\r\n\r\nok"), "{received:?}");
    let (has_ended, received) = response(Act::RawThenClose(chunked));
    assert!(!has_ended && received.ends_with(b"ok"), "{received:?}");
}

#[test]
fn settings_of_tls_that_do_not_fit_are_named() {
    let authority = Authority::new();
    let issued = authority.issue("gateway", &["127.0.0.1"], VALID);
    let other = authority.issue("other", &["127.0.0.1"], VALID);
    let (chain, key) = (issued.chain.display(), issued.key.display());
    for (text, fault) in [
        (format!("[server]\ntls_cert = '{chain}'"), "tls_key belong together"),
        (format!("[server]\ntls_key = '{key}'"), "tls_key belong together"),
        (
            format!("[server]\ntls_cert = '{chain}'\ntls_key = '{}'", other.key.display()),
            "cannot be used together",
        ),
        ("[server]\ntls_cert = '/absent'\ntls_key = '/absent'".to_owned(), "cannot be read"),
        ("[pools.stateless]\ntls_name = 'a b'".to_owned(), "[pools.stateless] tls_name is \"a b\""),
        (
            "[pools.stateful]\ntls_name = 'a'\nprotocol = 'h2c'".to_owned(),
            "[pools.stateful] protocol must be http1 with tls_name",
        ),
    ] {
        let file = authority.folder().join("gateway.toml");
        std::fs::write(&file, &text).expect("written");
        let ca_file = authority.ca_file().display().to_string();
        let read =
            gateway::Config::load(&file, |name| (name == "TLS_CA_FILE").then(|| ca_file.clone()));
        let error = read.expect_err(fault).to_string();
        assert!(error.contains(fault), "{error}, not {fault}");
    }
}
