//! Bytes that no HTTP client would send, and what comes back.

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

use crate::answer::Answer;

/// Where the bytes go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The gateway's plain port.
    Gateway,
    /// Nginx's TLS port, in TLS.
    Nginx,
    /// Nginx's TLS port, without TLS.
    NginxInClear,
    /// Nginx's plain port, which redirects.
    NginxToRedirect,
}

/// Sends the bytes on a connection of their own and reads until the other side closes it. The request must be one
/// after which it does: refused for good, or with `Connection: close`.
pub(crate) async fn exchange(stack: &Stack, door: Door, bytes: &[u8]) -> Result<Answer> {
    let component = if door == Door::Gateway { "gateway" } else { "nginx" };
    let exchanged = async {
        match door {
            Door::Gateway | Door::NginxInClear => {
                talk(TcpStream::connect(stack.addr_of(component)?).await?, bytes).await
            }
            Door::NginxToRedirect => talk(TcpStream::connect(("127.0.0.1", stack.ports().http)).await?, bytes).await,
            Door::Nginx => talk(tls(stack).await?, bytes).await,
        }
    };
    let patience = std::time::Duration::from_secs(20);
    let answer = tokio::time::timeout(patience, exchanged).await.context("the connection stays open")??;
    parse(&answer)
}

/// A connection to Nginx, in TLS.
pub(crate) async fn tls(stack: &Stack) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(stack.addr_of("nginx")?).await?;
    Ok(connector(stack)?.connect(ServerName::try_from("localhost")?, stream).await?)
}

fn connector(stack: &Stack) -> Result<tokio_rustls::TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(stack.ca_path())?)?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

async fn talk(stream: impl AsyncRead + AsyncWrite, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let send = async {
        // Whoever refuses early may close before all is sent; the answer tells.
        let _refused_early = to.write_all(bytes).await;
        let _closed = to.flush().await;
    };
    // TLS may end without its farewell, and TCP with a reset where the rest of a refused request was left unread.
    let receive = async {
        let _cut_off = from.read_to_end(&mut answer).await;
    };
    tokio::join!(send, receive);
    Ok(answer)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let shown = || format!("no HTTP answer: {:?}", String::from_utf8_lossy(bytes));
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").with_context(shown)?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)).with_context(shown)?.parse()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').with_context(shown)?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value.trim())?);
    }
    Ok(Answer { status, version: Version::HTTP_11, headers, body: bytes[end + 4..].to_vec() })
}
