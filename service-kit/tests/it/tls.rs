//! What a readiness probe reports of a server whose TLS cannot be used.

mod redis_servers;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use secrecy::SecretString;
use service_kit::postgres::{self, PostgresTarget, PostgresTimeouts};
use service_kit::redis::{self, RedisTarget, RedisTimeouts};
use service_kit::testing::{Authority, VALID};
use service_kit::tls::Trust;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// No test depends on it.
const LONG: Duration = Duration::from_secs(60);

/// What a server does with a connection.
#[derive(Clone)]
enum Served {
    Tls(Arc<ServerConfig>),
    /// It responds as a server of its kind without TLS.
    Plain,
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Postgres,
    Redis,
}

async fn serve(kind: Kind, served: Served, mut stream: TcpStream) {
    if let Kind::Postgres = kind {
        // SSLRequest.
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.expect("a request for TLS");
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        let response = if let Served::Plain = served { b"N" } else { b"S" };
        stream.write_all(response).await.expect("written");
    }
    match served {
        Served::Tls(config) => {
            // The client breaks the handshake off, or its first message gets no response.
            if let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await {
                let _sent = stream.read(&mut [0; 1024]).await;
            }
        }
        Served::Plain => {
            let _sent = stream.read(&mut [0; 1024]).await;
            let _gone = stream.write_all(b"-ERR Protocol error: unbalanced quotes\r\n").await;
            // So that what was sent is read before the connection is reset.
            let _closed = stream.read_to_end(&mut Vec::new()).await;
        }
        Served::Closed => {
            let _sent = stream.read(&mut [0; 1024]).await;
        }
    }
}

/// The fault that the probe reports of such a server.
async fn probed(kind: Kind, served: Served, trust: &Trust) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve(kind, served.clone(), stream));
        }
    });
    let fault = match kind {
        Kind::Postgres => {
            let url = format!("postgresql://u:p@{addr}/d?sslmode=verify-full");
            let target = PostgresTarget::parse(&SecretString::from(url), trust).expect("a URL");
            let timeouts = PostgresTimeouts { wait: LONG, connect: LONG, statement: LONG };
            postgres::probe(target.pool_within("test", timeouts).expect("a pool")).await
        }
        Kind::Redis => {
            let url = SecretString::from(format!("rediss://{addr}"));
            let target = RedisTarget::parse(&url, trust).expect("a URL");
            let timeouts = RedisTimeouts { connect: LONG, wait: LONG, response: LONG };
            redis::probe(target.pool(timeouts).expect("a pool")).await
        }
    };
    server.abort();
    fault.expect_err("not a server").into_owned()
}

#[tokio::test]
async fn a_probe_tells_what_is_wrong_with_the_tls_of_a_server_and_what_to_do() {
    let ours = Authority::new();
    let trust = ours.trusted();
    for kind in [Kind::Postgres, Kind::Redis] {
        for (name, days, authority, fault) in [
            ("127.0.0.1", VALID, &Authority::new(), "authority that is not trusted here: TLS_CA"),
            ("127.0.0.1", (-3, -2), &ours, "has expired: renew it"),
            ("127.0.0.1", (2, 3), &ours, "not valid yet: compare the clocks"),
            ("db.example", VALID, &ours, "for DnsName(\"db.example\"), not for 127.0.0.1"),
            ("127.0.0.2", VALID, &ours, "for IpAddress(127.0.0.2), not for 127.0.0.1"),
        ] {
            let served = Served::Tls(authority.server(name, days));
            let found = probed(kind, served, &trust).await;
            assert!(found.contains(fault), "{kind:?}: {found}, not {fault}");
        }
        let plain = probed(kind, Served::Plain, &trust).await;
        assert!(plain.contains("has no TLS"), "{kind:?}: {plain}");
        let closed = probed(kind, Served::Closed, &trust).await;
        assert!(closed.contains("within the TLS handshake"), "{kind:?}: {closed}");
        // So the faults above were not the test's own.
        let good = probed(kind, Served::Tls(ours.server("127.0.0.1", VALID)), &trust).await;
        assert!(!good.contains("TLS") && !good.contains("certificate"), "{kind:?}: {good}");
    }
}
