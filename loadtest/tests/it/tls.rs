//! Targets with TLS, like Nginx.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::dummy::{Behaviour, Dummy};
use crate::{compare, plan};

/// A server with a self-signed certificate, and the certificate's file.
async fn start() -> (Dummy, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .expect("a usable certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), made.cert.pem()).expect("written");
    (
        Dummy::start_with(|_| Behaviour::Respond, Some(TlsAcceptor::from(Arc::new(config)))).await,
        file,
    )
}

#[tokio::test]
async fn a_trusted_target_is_loaded() {
    let (server, authority) = start().await;
    let options = format!("--duration 1 --rate 20 --cacert {}", authority.path().display());
    let report = compare(&format!("https://{}", server.addr), &options).await;
    assert_eq!(report.errors(), 0);
    assert_eq!(server.seen(|seen| seen.requests), 40);
}

#[tokio::test]
async fn an_untrusted_target_is_not_loaded() {
    let (server, _) = start().await;
    let (_, authority) = start().await;
    let options = format!("--duration 1 --cacert {}", authority.path().display());
    let plan = plan(&format!("https://{}", server.addr), &options).await.expect("a good plan");
    let error = loadtest::compare(&plan).await.expect_err("rejected");
    assert!(error.to_string().contains("is the system up?"), "{error}");
    assert_eq!(server.seen(|seen| seen.requests), 0);
}
