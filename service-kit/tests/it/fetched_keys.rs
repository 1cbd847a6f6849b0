//! Keys that are fetched from their issuer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::poll;
use prometheus::Registry;
use serde_json::{Value, json};
use service_kit::config::Env;
use service_kit::testing::issuer::{Issuer, claims};
use service_kit::tokens::{InvalidToken, TokenSettings, TokenVerifier};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// What the key server responds: a status and the keys.
#[derive(Clone)]
struct Published(Arc<Mutex<(u16, Vec<Value>)>>);

impl Published {
    fn set(&self, status: u16, keys: Vec<Value>) {
        *self.0.lock().expect("no panic") = (status, keys);
    }

    /// Serves it on a free port, in this thread's runtime.
    fn serve(&self) -> String {
        let published = self.clone();
        let server = HttpServer::new(move || {
            let published = published.clone();
            let handler = move || {
                let (status, keys) = published.0.lock().expect("no panic").clone();
                async move {
                    let status = status.try_into().expect("a status");
                    HttpResponse::build(status).json(json!({"keys": keys}))
                }
            };
            App::new().route("/jwks.json", web::get().to(handler))
        });
        let server = server.workers(1).bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/jwks.json", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        url
    }
}

fn verifier(url: &str) -> TokenVerifier<String> {
    let env = Env::from_pairs([("JWT_JWKS_URL", url), ("JWT_JWKS_REFRESH_S", "86400")]);
    let settings = TokenSettings::from_env(&env).expect("valid").expect("with keys");
    TokenVerifier::new(settings, |claims| claims.sub.clone())
}

fn token(issuer: &Issuer, kid: &str) -> String {
    issuer.sign(&json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}), &claims("ada"))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn keys_rotate_and_outlive_outages_of_their_issuer() {
    let (old, new, foreign) = (Issuer::new(), Issuer::new(), Issuer::new());
    let published = Published(Arc::new(Mutex::new((503, Vec::new()))));
    let tokens = verifier(&published.serve());
    let metrics = Registry::new();
    tokens.keys().register(&metrics).expect("metrics");
    let verify = |token: &str| tokens.verify(token.as_bytes());
    let fetches = |outcome: &str| {
        let families = metrics.gather();
        let fetches = families.iter().find(|family| family.name() == "token_keys_fetches_total");
        let of = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == outcome;
        let fetches = fetches.expect("registered").get_metric().iter().find(of);
        fetches.expect("a series").get_counter().get_value()
    };

    let (by_old, by_new) = (token(&old, "1"), token(&new, "2"));
    assert_eq!(verify(&by_old), Err(InvalidToken::KeysUnavailable));
    assert!(tokens.keys().probe().expect_err("no keys").contains("/jwks.json"));
    tokio::spawn(tokens.keys().clone().follow());
    until("a failure is counted", || fetches("failed") >= 1.0).await;
    assert_eq!(verify(&by_old), Err(InvalidToken::KeysUnavailable), "never invalid");

    published.set(200, vec![old.jwk("1")]);
    until("the first set has come", || verify(&by_old) == Ok("ada".to_owned())).await;
    assert_eq!(tokens.keys().probe(), Ok(()));

    // The issuer is away: known keys stay, and an unknown one is not called invalid.
    published.set(503, Vec::new());
    let (failed, begin) = (fetches("failed"), Instant::now());
    until("the unknown key is fetched soon", || {
        // Within a second of a fetch the set is current, and the key is none of the issuer's.
        let outcome = verify(&by_new).expect_err("unknown");
        let unavailable = outcome == InvalidToken::KeysUnavailable;
        assert!(unavailable || begin.elapsed() < Duration::from_secs(10), "{outcome}");
        fetches("failed") > failed
    })
    .await;
    assert_eq!(verify(&by_old), Ok("ada".to_owned()));
    assert_eq!(verify(&by_new), Err(InvalidToken::KeysUnavailable));

    published.set(200, vec![old.jwk("1"), new.jwk("2")]);
    until("the new key has come", || verify(&by_new) == Ok("ada".to_owned())).await;
    assert_eq!(verify(&by_old), Ok("ada".to_owned()));
    assert_eq!(verify(&token(&foreign, "2")), Err(InvalidToken::Untrusted));

    // A removed key is not trusted any more, although its token was verified before. The fetch is
    // caused by a token that names an unknown key, of which there is at most one a second.
    published.set(200, vec![new.jwk("2")]);
    until("the old key is removed", || {
        let _unknown = verify(&token(&foreign, "3"));
        verify(&by_old).is_err()
    })
    .await;
    assert_eq!(verify(&by_new), Ok("ada".to_owned()));
    let fetched = fetches("fetched");
    for _ in 0..1_000 {
        let _unknown = verify(&token(&foreign, "4"));
    }
    assert!(fetches("fetched") - fetched <= 3.0, "a flood of unknown keys causes no fetches");
}

#[tokio::test]
async fn readiness_waits_until_the_first_fetch_has_ended() {
    let published = json!({"keys": [Issuer::new().jwk("1")]}).to_string();
    for (status, body) in [("200 OK", published.as_str()), ("503 Service Unavailable", "{}")] {
        let issuer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/jwks.json", issuer.local_addr().expect("bound"));
        let tokens = verifier(&url);
        let keys = tokens.keys().clone();
        let mut probe = std::pin::pin!(keys.probe_after_first_fetch());
        assert!(poll!(&mut probe).is_pending(), "no fetch was sent");
        tokio::spawn(tokens.keys().clone().follow());
        let (mut fetch, _) = issuer.accept().await.expect("a fetch");
        assert!(poll!(&mut probe).is_pending(), "the issuer has not responded");
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        fetch.write_all(response.as_bytes()).await.expect("sent");
        let found = timeout(Duration::from_secs(30), probe).await.expect("the fetch has ended");
        assert_eq!(found.is_ok(), status == "200 OK", "{found:?}");
    }
}

#[test]
fn settings_about_keys_exclude_each_other() {
    let url = ("JWT_JWKS_URL", "http://127.0.0.1:8000/.well-known/jwks.json");
    for (pairs, text) in [
        (vec![url, ("JWT_PUBLIC_KEY", "x")], "JWT_PUBLIC_KEY and JWT_JWKS_URL are both set"),
        (vec![url, ("JWT_JWKS_FILE", "x")], "JWT_JWKS_FILE and JWT_JWKS_URL are both set"),
        (vec![("JWT_JWKS_URL", "jwks.json")], "must be an http or https URL"),
        (vec![("JWT_JWKS_URL", "http://a:b@host/")], "without a password"),
        (vec![url, ("JWT_JWKS_REFRESH_S", "0")], "JWT_JWKS_REFRESH_S is 0, not within 1 to"),
    ] {
        let error = TokenSettings::from_env(&Env::from_pairs(pairs)).expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
}
