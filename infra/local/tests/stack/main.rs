//! Stacks with real programs, several at once.

mod agent;
mod api_document;
mod command_line;
mod data;
mod driver;
mod full_disk;
mod lab;
mod lessons;
mod monitoring;
mod rolls;
mod texts;
mod two_gateways;
mod whole;

/// A client that trusts no CA.
fn client_without_ca() -> anyhow::Result<reqwest::Client> {
    let config = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build()?)
}
