//! The issuer's keys rotate while everything runs, and no token is rejected.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::accounts::Tokens;
use rcgen::{KeyPair, PKCS_ED25519};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, SESSIONS};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const PASSWORD: &str = "correct horse battery staple";
const CLIENTS: usize = 4;

#[tokio::test]
async fn keys_rotate_under_load_and_no_token_is_rejected() -> Result<()> {
    let stack = small_stack()
        .stateless(2)
        .stateful(2)
        .env("stateful-svc", "JWT_JWKS_REFRESH_S", "2")
        .env("gateway", "JWT_JWKS_REFRESH_S", "2")
        .start()
        .await?;
    let api = Api::on_gateway(&stack)?;
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU32::new(0));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let username = format!("client-{number}");
        let body = json!({"username": username, "name": username, "password": PASSWORD});
        let registered = api.post("/api/v1/auth/register", &body).await?;
        ensure!(registered.status == 201, "{registered}");
        let (api, stop, sent) = (api.clone(), Arc::clone(&stop), Arc::clone(&sent));
        clients.push(tokio::spawn(async move { use_tokens(&api, &username, &stop, &sent).await }));
    }
    until("all clients send", async || Ok((sent.load(Ordering::Relaxed) > 50).then_some(())))
        .await?;

    // A key signs a minute after its file was written: this one in a few seconds.
    add_key(&stack, "2", Duration::from_secs(52))?;
    let signs = async || {
        let token = log_in(&api, "client-0").await?.access_token;
        Ok((key_of(&token)? == "2").then_some(()))
    };
    until("the new key signs", signs).await?;
    let before = sent.load(Ordering::Relaxed);
    until("its tokens are used", async || {
        Ok((sent.load(Ordering::Relaxed) > before + 100).then_some(()))
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    let mut keys = Vec::new();
    for client in clients {
        keys.extend(client.await??);
    }
    assert!(keys.contains(&"1".to_owned()) && keys.contains(&"2".to_owned()), "{keys:?}");
    stack.shutdown().await;
    Ok(())
}

/// Creates and reads sessions with ever new tokens; returns the keys that signed them. Any response
/// but success is an error.
async fn use_tokens(
    api: &Api,
    username: &str,
    stop: &AtomicBool,
    sent: &AtomicU32,
) -> Result<Vec<String>> {
    let mut tokens = log_in(api, username).await?;
    let mut keys = vec![key_of(&tokens.access_token)?];
    while !stop.load(Ordering::Relaxed) {
        let token = &tokens.access_token;
        let create = api.request(Method::POST, SESSIONS).bearer_auth(token).json(&json!({}));
        let created = Response::to(create).await?;
        ensure!(created.status == 201, "{created}");
        let id: Value = created.json();
        let path = format!("{SESSIONS}/{}", id["session_id"].as_str().context("an id")?);
        for _ in 0..5 {
            let read = Response::to(api.request(Method::GET, &path).bearer_auth(token)).await?;
            ensure!(read.status == 200, "{read}");
        }
        sent.fetch_add(6, Ordering::Relaxed);
        let body = json!({"refresh_token": tokens.refresh_token});
        let refreshed = api.post("/api/v1/auth/refresh", &body).await?;
        ensure!(refreshed.status == 200, "{refreshed}");
        tokens = refreshed.json();
        keys.push(key_of(&tokens.access_token)?);
        keys.dedup();
    }
    Ok(keys)
}

async fn log_in(api: &Api, username: &str) -> Result<Tokens> {
    let body = json!({"username": username, "password": PASSWORD});
    let response = api.post("/api/v1/auth/login", &body).await?;
    ensure!(response.status == 200, "{response}");
    Ok(response.json())
}

/// Adds a key of the issuer as if its file had been written so long ago.
fn add_key(stack: &Stack, id: &str, age: Duration) -> Result<()> {
    let folder = stack.state_dir().join("token-keys");
    let written = folder.join(format!("{id}.new"));
    fs::write(&written, KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem())?;
    File::options().write(true).open(&written)?.set_modified(SystemTime::now() - age)?;
    // In one step: the issuer reads the folder at any time.
    fs::rename(&written, folder.join(format!("{id}.pem")))?;
    Ok(())
}

/// The id of the key that signed a token.
fn key_of(token: &str) -> Result<String> {
    service_kit::testing::issuer::key_id(token).context("a key id")
}
