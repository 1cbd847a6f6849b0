//! Refresh tokens in cookies: no script sees them, and only our own pages can use them.

use anyhow::{Context as _, Result};
use proto_contracts::ErrorCode;
use proto_contracts::accounts::{REFRESH_COOKIE, Tokens};
use reqwest::Method;
use reqwest::header::{COOKIE, ORIGIN};
use serde_json::json;

use super::{AUTH, PASSWORD, me, post, refresh, register};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

#[tokio::test]
async fn a_cookie_is_for_our_own_pages() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let own = stack.urls().https.context("Nginx runs")?;
    register(&api, "browser").await?;
    let first = log_in(&api).await?;

    for foreign in [
        None,
        // Another port of the same host is of the same site, so its pages' requests have the
        // cookie.
        Some(format!("https://127.0.0.1:{}", stack.ports().gateway)),
        Some("https://127.0.0.1".to_owned()),
        Some(own.replace("https", "http")),
        Some("https://evil.example".to_owned()),
        Some("null".to_owned()),
    ] {
        for path in ["refresh", "logout"] {
            let refused = send(&api, path, foreign.as_deref(), &first).await?;
            refused.problem(ErrorCode::OriginNotAllowed);
            assert_eq!(refused.header("set-cookie"), None, "{foreign:?}");
        }
    }
    // A page of another port can add a cookie.
    let two = format!("{first}; {REFRESH_COOKIE}=rt_another");
    let refused = send(&api, "refresh", Some(&own), &two).await?;
    refused.problem(ErrorCode::OriginNotAllowed);

    let refreshed = send(&api, "refresh", Some(&own), &first).await?;
    let tokens = refreshed.object(200, &["access_token", "token_type", "expires_in"]);
    let access = tokens["access_token"].as_str().context("text")?;
    assert_eq!(me(&api, access).await?.status, 200);
    let second = cookie(&refreshed)?;
    assert_ne!(second, first);
    // The first response may have been lost.
    let repeated = send(&api, "refresh", Some(&own), &first).await?;
    assert_eq!(cookie(&repeated)?, second);

    let ended = send(&api, "logout", Some(&own), &second).await?;
    assert_eq!(ended.status, 204, "{ended}");
    let cleared = ended.header("set-cookie").context("the cookie is deleted")?;
    assert!(cleared.contains(&format!("{REFRESH_COOKIE}=; ")), "{cleared}");
    assert!(cleared.contains("Max-Age=0"), "{cleared}");
    let late = send(&api, "refresh", Some(&own), &second).await?;
    late.problem(ErrorCode::InvalidRefreshToken);

    // Without a token in the body and without a cookie there is nothing to refresh or to end.
    for path in ["refresh", "logout"] {
        post(&api, path, json!({})).await?.problem(ErrorCode::InvalidBody);
    }
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_token_in_the_body_needs_no_origin_and_sets_no_cookie() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    register(&api, "program").await?;
    let body = json!({"username": "program", "password": PASSWORD});
    let logged_in = post(&api, "login", body).await?;
    assert_eq!(logged_in.header("set-cookie"), None, "{logged_in}");
    let refreshed = refresh(&api, &logged_in.json::<Tokens>().refresh_token).await?;
    assert_eq!((refreshed.status, refreshed.header("set-cookie")), (200, None), "{refreshed}");
    stack.shutdown().await;
    Ok(())
}

/// Logs in for a cookie; returns what a browser sends from then on.
async fn log_in(api: &Api) -> Result<String> {
    let body = json!({"username": "browser", "password": PASSWORD, "cookie": true});
    let logged_in = post(api, "login", body).await?;
    logged_in.object(200, &["access_token", "token_type", "expires_in"]);
    let set = logged_in.header("set-cookie").context("a cookie")?;
    let attributes: Vec<_> = set.split("; ").skip(1).collect();
    let expected =
        ["Path=/api/v1/auth", "Max-Age=2592000", "HttpOnly", "Secure", "SameSite=Strict"];
    assert_eq!(attributes, expected, "{set}");
    cookie(&logged_in)
}

fn cookie(response: &Response) -> Result<String> {
    let cookie = response.cookie()?;
    anyhow::ensure!(cookie.starts_with(&format!("{REFRESH_COOKIE}=rt_")), "{cookie}");
    Ok(cookie)
}

/// Sends `{}` with this cookie, from a page of this origin.
async fn send(api: &Api, path: &str, origin: Option<&str>, cookie: &str) -> Result<Response> {
    let mut request = api.request(Method::POST, &format!("{AUTH}/{path}")).json(&json!({}));
    if let Some(origin) = origin {
        request = request.header(ORIGIN, origin);
    }
    Response::to(request.header(COOKIE, cookie)).await
}
