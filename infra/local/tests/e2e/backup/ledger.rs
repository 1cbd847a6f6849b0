//! What was acknowledged: sessions with a message each, products, and files with their content.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use local_stack::Stack;
use proto_contracts::Role;
use proto_contracts::files::File;
use proto_contracts::headers::IDEMPOTENCY_KEY;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::accounts::users::token_of;
use crate::accounts::{database, tokens};
use crate::api::{Api, SESSIONS};
use crate::files::{User, bytes, sha256};
use crate::response::Response;
use crate::until::until;

const PRODUCTS: &str = "/api/v1/stateless/products";
const AT_ONCE: usize = 16;

/// What was acknowledged.
pub(super) struct Ledger {
    sessions: Vec<String>,
    rows: usize,
    files: Vec<File>,
    pub(super) user: User,
}

impl Ledger {
    pub(super) async fn write(stack: &Stack, rows: usize, files: usize) -> Result<Self> {
        let api = Api::on_gateway(stack)?;
        // A name may be taken by an attempt whose response was lost.
        let attempt = AtomicUsize::new(0);
        let name = || format!("owner-{}", attempt.fetch_add(1, Ordering::Relaxed));
        let user =
            until("a user is there", || async { Ok(User::new(&api, &name()).await.ok()) }).await?;
        let sessions = stream::iter(0..rows)
            .map(|number| session(&api, number))
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let mut ledger = Self { sessions, rows: 0, files: Vec::new(), user };
        ledger.more_rows(stack, "admin", rows).await?;
        ledger.more_files(files).await?;
        Ok(ledger)
    }

    /// Creates products, in the order of their numbers.
    pub(super) async fn more_rows(
        &mut self,
        stack: &Stack,
        admin: &str,
        rows: usize,
    ) -> Result<()> {
        let api = Api::on_gateway(stack)?;
        let attempt = AtomicUsize::new(0);
        let admin = until("an admin is there", || async {
            let name = format!("{admin}-{}", attempt.fetch_add(1, Ordering::Relaxed));
            Ok(token_of(stack, &api, &name, Role::Admin).await.is_ok().then_some(name))
        })
        .await?;
        // A token lasts a quarter of an hour.
        for begin in (self.rows..self.rows + rows).step_by(5_000) {
            let end = (begin + 5_000).min(self.rows + rows);
            let token = until("the admin logs in", || async {
                Ok(tokens(&api, &admin).await.ok().map(|tokens| tokens.access_token))
            })
            .await?;
            let creating = stream::iter(begin..end).map(Ok);
            creating
                .try_for_each_concurrent(AT_ONCE, |number| create(&api, &token, number))
                .await?;
        }
        self.rows += rows;
        Ok(())
    }

    async fn more_files(&mut self, files: usize) -> Result<()> {
        self.user = self.user.logged_in_again().await?;
        for number in 0..files {
            let content = bytes(1_000 + number * 37);
            let name = format!("file {number}");
            let file = until("a file is stored", || async {
                Ok(self.user.upload(&name, content.clone()).await.ok())
            })
            .await?;
            ensure!(file.sha256 == sha256(&content));
            self.files.push(file);
        }
        Ok(())
    }

    /// Compares all of it with what the system serves.
    pub(super) async fn check(&self, stack: &Stack) -> Result<()> {
        let api = Api::on_gateway(stack)?;
        let numbered = self.sessions.iter().enumerate();
        stream::iter(numbered)
            .map(Ok::<_, anyhow::Error>)
            .try_for_each_concurrent(AT_ONCE, |(number, session)| {
                let api = &api;
                async move {
                    let response = api.get(&format!("{SESSIONS}/{session}/history")).await?;
                    ensure!(response.status == 200, "session {number}: {response}");
                    let page: Value = response.json();
                    let message = &page["messages"][0]["message"];
                    ensure!(*message == json!(format!("message {number}")), "{page}");
                    Ok(())
                }
            })
            .await?;
        let database = database(stack).await?;
        let rows = database
            .query("SELECT id, name FROM products WHERE id LIKE 'ledger-%' ORDER BY id", &[])
            .await?;
        ensure!(rows.len() == self.rows, "{} of {} rows are there", rows.len(), self.rows);
        for (number, row) in rows.iter().enumerate() {
            ensure!(row.get::<_, &str>(0) == id(number), "{row:?}");
            ensure!(row.get::<_, &str>(1) == format!("product {number}"), "{row:?}");
        }
        let user = self.user.logged_in_again().await?;
        for file in &self.files {
            let content = user.content(&file.id, &[]).await?;
            ensure!(content.status == 200, "{content}");
            ensure!(sha256(&content.body) == file.sha256, "{} has another content", file.id);
        }
        Ok(())
    }
}

/// The idempotency key of a write.
fn key(what: &str, number: usize) -> String {
    sha256(format!("{what} {number}").as_bytes())
}

fn id(number: usize) -> String {
    format!("ledger-{number:06}")
}

/// Sends until it is acknowledged. A busy machine rejects some, or does not say what became of
/// them; with its key, a request is executed once.
async fn acknowledged(request: RequestBuilder, key: &str) -> Result<Response> {
    let request = request.header(IDEMPOTENCY_KEY, key);
    until("a write is acknowledged", || async {
        let response = Response::to(request.try_clone().context("no stream")?).await?;
        ensure!(matches!(response.status, 201 | 409 | 502..=504), "{response}");
        Ok((response.status == 201).then_some(response))
    })
    .await
}

async fn session(api: &Api, number: usize) -> Result<String> {
    let request = api.request(Method::POST, SESSIONS).json(&json!({}));
    let created: Value = acknowledged(request, &key("session", number)).await?.json();
    let id = created["session_id"].as_str().context("an id")?.to_owned();
    let message = json!({"message": format!("message {number}")});
    let request = api.request(Method::POST, &format!("{SESSIONS}/{id}/messages")).json(&message);
    acknowledged(request, &key("message", number)).await?;
    Ok(id)
}

async fn create(api: &Api, token: &str, number: usize) -> Result<()> {
    let body = json!({
        "id": id(number), "name": format!("product {number}"), "price": "1.00", "stock": number,
    });
    let request = api.request(Method::POST, PRODUCTS).bearer_auth(token).json(&body);
    acknowledged(request, &key("product", number)).await.map(drop)
}
