//! Sends raw bytes and parses the response.

use std::sync::Arc;

use anyhow::{Context, Result};
use local_stack::Stack;
use reqwest::Version;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::response::Response;

/// The listener that receives the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The gateway's port, in TLS if it has that.
    Gateway,
    /// Nginx's TLS port, in TLS.
    Nginx,
    /// Nginx's TLS port, without TLS.
    NginxPlaintext,
    /// Nginx's plain port, which redirects.
    NginxRedirect,
}

/// Sends the bytes on a new connection and reads until the server closes it. It must close after
/// the request: on an error, or by `Connection: close`.
pub(crate) async fn exchange(stack: &Stack, listener: Listener, bytes: &[u8]) -> Result<Response> {
    let exchanged = async {
        match listener {
            Listener::Gateway => send_and_read(gateway(stack).await?, bytes).await,
            Listener::NginxPlaintext => {
                send_and_read(TcpStream::connect(stack.addr_of("nginx")?).await?, bytes).await
            }
            Listener::NginxRedirect => {
                send_and_read(TcpStream::connect(("127.0.0.1", stack.ports().http)).await?, bytes)
                    .await
            }
            Listener::Nginx => send_and_read(tls(stack).await?, bytes).await,
        }
    };
    let timeout = std::time::Duration::from_secs(20);
    let response =
        tokio::time::timeout(timeout, exchanged).await.context("the connection stays open")??;
    parse(&response)
}

/// A connection, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to the gateway, in TLS if it has that.
pub(crate) async fn gateway(stack: &Stack) -> Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect(stack.addr_of("gateway")?).await?;
    if stack.urls().gateway.starts_with("http:") {
        return Ok(Box::new(stream));
    }
    Ok(Box::new(connector(stack)?.connect(ServerName::try_from("127.0.0.1")?, stream).await?))
}

/// A connection to Nginx, in TLS.
pub(crate) async fn tls(stack: &Stack) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(stack.addr_of("nginx")?).await?;
    Ok(connector(stack)?.connect(ServerName::try_from("localhost")?, stream).await?)
}

/// A client of TLS that trusts the stack's CA and speaks HTTP/1.1.
pub(crate) fn connector(stack: &Stack) -> Result<tokio_rustls::TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(stack.ca_path())?)?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

async fn send_and_read(stream: impl AsyncRead + AsyncWrite, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut response = Vec::new();
    let send = async {
        // An early rejection may close the connection before all is sent.
        let _rejected_early = to.write_all(bytes).await;
        let _closed = to.flush().await;
    };
    // TLS may end without close_notify, and TCP with a reset after an unread rest of the request.
    let receive = async {
        let _cut_off = from.read_to_end(&mut response).await;
    };
    tokio::join!(send, receive);
    Ok(response)
}

fn parse(bytes: &[u8]) -> Result<Response> {
    let shown = || format!("no HTTP response: {:?}", String::from_utf8_lossy(bytes));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").with_context(shown)?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5))
        .with_context(shown)?
        .parse()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').with_context(shown)?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value.trim())?);
    }
    Ok(Response { status, version: Version::HTTP_11, headers, body: bytes[end + 4..].to_vec() })
}
