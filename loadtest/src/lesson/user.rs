//! A user of a lesson, who logs in.

use anyhow::{Context as _, Result, ensure};
use proto_contracts::Endpoint;
use proto_contracts::accounts::{Login, Register, Tokens};
use serde_json::json;
use uuid::Uuid;

use crate::lesson::visitor::Visitor;
use crate::request;

const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct User {
    username: String,
}

impl User {
    /// A new user.
    pub(crate) async fn register(mut visitor: Visitor) -> Result<Self> {
        let username = format!("lesson-{}", Uuid::new_v4().simple());
        let (name, password) = ("A lesson's user".to_owned(), PASSWORD.to_owned());
        let new = Register { username: username.clone(), name, password };
        let path = Endpoint::Register.templates().canonical;
        let status = visitor.send(request::post(path, &new)).await?.status;
        ensure!(status == 201, "cannot register a user: {status}");
        Ok(Self { username })
    }

    /// Logs in: this client has the user's token from now on.
    pub(crate) async fn visitor(&self, mut visitor: Visitor) -> Result<Visitor> {
        let token = self.log_in(&mut visitor).await?;
        visitor.authorize(&token)?;
        Ok(visitor)
    }

    /// This client has a token of the user with another signature.
    pub(crate) async fn forger(&self, mut visitor: Visitor) -> Result<Visitor> {
        let token = self.log_in(&mut visitor).await?;
        let (claims, signature) = token.rsplit_once('.').context("a token has a signature")?;
        // The first of its characters is six bits of the signature; the last has unused ones.
        let (first, rest) = signature.split_at(1);
        let other = if first == "A" { "B" } else { "A" };
        visitor.authorize(&format!("{claims}.{other}{rest}"))?;
        Ok(visitor)
    }

    async fn log_in(&self, visitor: &mut Visitor) -> Result<String> {
        let (username, password) = (self.username.clone(), PASSWORD.to_owned());
        let login = Login { username, password, cookie: false };
        let path = Endpoint::Login.templates().canonical;
        let response = visitor.send(request::post(path, &login)).await?;
        ensure!(response.status == 200, "cannot log in: {}", response.status);
        Ok(response.json::<Tokens>()?.access_token)
    }

    /// Revokes every token of the user.
    pub(crate) async fn log_out_everywhere(&self, visitor: &mut Visitor) -> Result<()> {
        let path = Endpoint::Logout.templates().canonical;
        let body = json!({"everywhere": true});
        let status = visitor.send(request::post(path, &body)).await?.status;
        ensure!(matches!(status, 200 | 204), "cannot log out {}: {status}", self.username);
        Ok(())
    }
}
