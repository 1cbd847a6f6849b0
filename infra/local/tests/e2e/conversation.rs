//! A person at the board: single requests, with a cookie jar and without.

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::control::{Conversation, Exchanged};
use proto_contracts::headers;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::traffic::sessions_in_redis;

struct Person<'a> {
    stack: &'a Stack,
    control: Api,
    name: &'static str,
}

impl<'a> Person<'a> {
    fn of(stack: &'a Stack, name: &'static str) -> Result<Self> {
        Ok(Self { stack, control: Api::control(stack)?, name })
    }

    async fn act(&self, act: &str, cookie_jar: bool) -> Result<Conversation> {
        let mut body = json!({"person": self.name, "act": act, "cookie_jar": cookie_jar});
        if act == "say" {
            body["message"] = Value::from("Do you remember me?");
        }
        let request = self.control.request(Method::POST, "/control/v1/conversation").json(&body);
        let token = self.stack.control_token().expose_secret();
        let response = Response::to(request.bearer_auth(token)).await?;
        ensure!(response.status == 200, "{response}");
        let text = String::from_utf8_lossy(&response.body);
        // Eight digits of the key, then 32 of the secret.
        let secret = text
            .split(|c: char| !c.is_ascii_hexdigit() && c != '-')
            .find(|word| word.len() == 41 && word.as_bytes()[8] == b'-');
        ensure!(secret.is_none(), "the response has the id of a session: {text}");
        Ok(response.json())
    }

    /// Of the only or last request.
    async fn last(&self, act: &str, cookie_jar: bool) -> Result<Exchanged> {
        self.act(act, cookie_jar).await?.exchanges.pop().context("an exchange")
    }
}

fn header<'a>(exchanged: &'a Exchanged, name: &str) -> Option<&'a str> {
    exchanged.headers.iter().find(|header| header.name == name).map(|header| &*header.value)
}

fn sent<'a>(exchanged: &'a Exchanged, name: &str) -> Option<&'a str> {
    exchanged.sent.iter().find(|header| header.name == name).map(|header| &*header.value)
}

#[tokio::test]
async fn a_person_sees_what_the_cookie_is_for() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let ada = Person::of(&stack, "A")?;
    let nobody = ada.act("read", true).await?;
    assert!(!nobody.has_session && nobody.exchanges.is_empty(), "{nobody:?}");

    let first = ada.act("say", true).await?;
    assert!(first.has_session);
    let [created, said] = &first.exchanges[..] else { panic!("two requests: {first:?}") };
    assert_eq!((created.status, said.status), (Some(201), Some(201)), "{first:?}");
    assert!(header(created, "set-cookie").is_some(), "{created:?}");
    let home = header(said, headers::SERVED_BY).context("an instance")?.to_owned();
    for _ in 0..5 {
        let said = ada.last("say", true).await?;
        assert!(sent(&said, "cookie").is_some_and(|cookie| cookie.starts_with("affinity=")));
        assert_eq!(header(&said, headers::SERVED_BY), Some(&*home));
        assert!(header(&said, headers::AFFINITY).is_some_and(|stamp| stamp.starts_with("home;")));
    }
    for _ in 0..5 {
        let said = ada.last("say", false).await?;
        assert_eq!(sent(&said, "cookie"), None);
        assert!(header(&said, headers::AFFINITY).is_some_and(|stamp| stamp.starts_with("new;")));
    }
    let read = ada.last("read", false).await?;
    assert_eq!(header(&read, headers::SERVED_BY), Some(&*home), "its path has the key");
    assert!(
        read.path.contains("<session ") && read.body.contains("\"message_count\":11"),
        "{read:?}"
    );
    assert!(header(&read, "etag").is_some(), "{read:?}");
    assert_eq!(ada.last("info", true).await?.status, Some(200));

    let bob = Person::of(&stack, "B")?;
    let other = bob.act("say", true).await?;
    let [created, said] = &other.exchanges[..] else { panic!("two requests: {other:?}") };
    assert_eq!(sent(created, "cookie"), None, "his jar is empty");
    assert_ne!(sent(said, headers::FORWARDED_FOR), sent(&read, headers::FORWARDED_FOR));
    assert_ne!(sent(said, "cookie"), None);

    assert_eq!(ada.last("end", true).await?.status, Some(204));
    assert!(ada.act("read", true).await?.exchanges.is_empty(), "she has no session");
    // He does not end his: the driver does, when it stops.
    assert_eq!(sessions_in_redis(&stack).await?, 1);
    stack.stop("driver").await?;
    assert_eq!(sessions_in_redis(&stack).await?, 0);
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_pool_that_is_away_is_seen_as_such() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let ada = Person::of(&stack, "A")?;
    ada.act("say", true).await?;
    stack.kill("stateful-1").await?;
    stack.kill("stateful-2").await?;
    stack.kill("stateful-3").await?;
    let failed = ada.last("read", true).await?;
    assert!(failed.status.is_some_and(|status| status >= 500), "{failed:?}");
    assert!(failed.body.contains("\"code\""), "{failed:?}");
    stack.shutdown().await;
    Ok(())
}
