//! Files of users: uploads, downloads, quotas, and what a crash leaves.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::{Plan, Stack};
use proto_contracts::files::{File, FilePage};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use sha2::{Digest as _, Sha256};

use crate::accounts::{register, tokens};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

mod contents;
mod deaths;
mod hostile_forms;
mod hostile_names;
mod memory;
mod quotas;
mod s3;
pub(crate) mod s3_server;

const FILES: &str = "/api/v1/files";

/// A lease so short that a test sees what happens after it.
fn stack_with_short_leases() -> Plan {
    small_stack().env("stateless-svc", "FILES_LEASE_S", "6")
}

/// A user of the API.
#[derive(Clone)]
pub(crate) struct User {
    api: Api,
    name: String,
    token: String,
}

impl User {
    /// A new one.
    pub(crate) async fn new(api: &Api, name: &str) -> Result<Self> {
        register(api, name).await?;
        let user = Self { api: api.clone(), name: name.to_owned(), token: String::new() };
        user.logged_in_again().await
    }

    /// The same with a new token: one lasts a quarter of an hour.
    pub(crate) async fn logged_in_again(&self) -> Result<Self> {
        let token = tokens(&self.api, &self.name).await?.access_token;
        Ok(Self { token, ..self.clone() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, &format!("{FILES}{path}")).bearer_auth(&self.token)
    }

    /// Uploads a file as the whole body.
    async fn send(&self, name: &str, content: impl Into<reqwest::Body>) -> Result<Response> {
        let disposition = format!("attachment; filename=\"{name}\"");
        let request = self.request(Method::POST, "").header(CONTENT_DISPOSITION, disposition);
        Response::to(request.body(content)).await
    }

    /// The same; anything but 201 is an error.
    pub(crate) async fn upload(
        &self,
        name: &str,
        content: impl Into<reqwest::Body>,
    ) -> Result<File> {
        let response = self.send(name, content).await?;
        ensure!(response.status == 201, "{response}");
        Ok(response.json())
    }

    /// Uploads a form, whose boundary is `b`.
    async fn send_form(&self, form: impl Into<reqwest::Body>) -> Result<Response> {
        let request = self.request(Method::POST, "");
        let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=b");
        Response::to(request.body(form)).await
    }

    /// The content, or a part of it.
    pub(crate) async fn content(
        &self,
        id: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response> {
        let path = format!("/{id}/content");
        let headers =
            headers.iter().map(|(name, value)| Ok((name.clone(), HeaderValue::from_str(value)?)));
        let headers = headers.collect::<Result<HeaderMap>>()?;
        Response::to(self.request(Method::GET, &path).headers(headers)).await
    }

    async fn get(&self, path: &str) -> Result<Response> {
        Response::to(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Response> {
        Response::to(self.request(Method::DELETE, &format!("/{id}"))).await
    }

    /// All files, page by page.
    async fn all(&self) -> Result<Vec<File>> {
        let (mut files, mut query) = (Vec::new(), "?limit=100".to_owned());
        loop {
            let page: FilePage = self.get(&query).await?.json();
            files.extend(page.files);
            let Some(cursor) = page.next_cursor else { return Ok(files) };
            query = format!("?limit=100&cursor={cursor}");
        }
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Content without repetitions.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut content: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    content.truncate(length);
    content
}

/// Every file below a folder.
pub(crate) fn stored(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => {
                    found.insert(entry.file_name().into_string().ok().context("text")?);
                }
            }
        }
    }
    Ok(found)
}

/// Waits until the store holds these files alone, and each row is of one of them.
async fn settled(stack: &Stack, expected: &[&File]) -> Result<()> {
    settled_in(stack, &stack.files(), expected).await
}

/// The same of a store in this folder.
async fn settled_in(stack: &Stack, folder: &Path, expected: &[&File]) -> Result<()> {
    let expected: BTreeSet<_> = expected.iter().map(|file| file.id.clone()).collect();
    let database = crate::accounts::database(stack).await?;
    let mut seen = String::new();
    // The lease is 6 s, and a sweep follows within three more.
    for _ in 0..300 {
        let rows = database.query("SELECT id::text, state FROM files", &[]).await?;
        let rows: BTreeSet<(String, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let content = stored(folder)?;
        let all_stored = rows.iter().all(|(_, state)| state == "stored");
        let ids: BTreeSet<_> = rows.iter().map(|(id, _)| id.clone()).collect();
        if all_stored && ids == expected && content == expected {
            return Ok(());
        }
        seen = format!("rows {rows:?}, content {content:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("expected {expected:?}, and there is: {seen}")
}
