//! Reads of sessions with an access token, compared with the same reads without one.

use std::sync::Arc;

use anyhow::{Result, ensure};
use http::HeaderValue;
use proto_contracts::Endpoint;
use serde::Deserialize;
use serde_json::json;

use super::env::BenchEnv;
use super::reads::reads;
use super::report::{Bound, Ratio, Section, Spread};
use super::rounds::{Round, ratio, row};
use super::sessions::{Routed, Sessions};
use crate::client::Client;
use crate::request;
use crate::target::Target;

pub(crate) async fn measure(env: &BenchEnv<'_>) -> Result<Section> {
    let gateway = env.gateway().await?;
    let sessions = (env.plan.connections, env.plan.sessions);
    let without = Sessions::create(&gateway, sessions.0, sessions.1, Routed::Unmarked).await?;
    let with = without.read_with(authorization(&gateway).await?);
    let (mut anonymous, mut known) = (Vec::new(), Vec::new());
    for _ in 0..env.plan.rounds {
        anonymous.push(Round::measure(&env.processes, reads(env, &gateway, &without)).await?);
        known.push(Round::measure(&env.processes, reads(env, &gateway, &with)).await?);
    }
    let verification = anonymous
        .iter()
        .zip(&known)
        .map(|(anonymous, known)| known.cpu_of("service") - anonymous.cpu_of("service"));
    let ratios = vec![
        Ratio {
            name: "requests/s, with a token over without".to_owned(),
            ratio: ratio(&known, &anonymous, |round| round.rps),
            bound: None,
        },
        Ratio {
            name: "CPU of the service for a token, µs".to_owned(),
            ratio: Spread::of(verification),
            bound: Some(Bound::AtMost(100.0)),
        },
    ];
    Ok(Section {
        title: "Reads of sessions with and without a token".to_owned(),
        rows: vec![row("without a token", &anonymous), row("with a token", &known)],
        ratios,
        ..Section::default()
    })
}

/// The credentials of a new user.
async fn authorization(gateway: &Arc<Target>) -> Result<HeaderValue> {
    #[derive(Deserialize)]
    struct Tokens {
        access_token: String,
    }

    let (username, password) = ("bench", "correct horse battery staple");
    let mut client = Client::new(Arc::clone(gateway));
    let user = json!({"username": username, "name": "x", "password": password});
    let registered =
        client.send(request::post(Endpoint::Register.templates().canonical, &user)).await?;
    ensure!(registered.status == 201, "cannot register a user: {}", registered.status);
    let login = json!({"username": username, "password": password});
    let logged_in =
        client.send(request::post(Endpoint::Login.templates().canonical, &login)).await?;
    ensure!(logged_in.status == 200, "cannot log in: {}", logged_in.status);
    let Tokens { access_token } = serde_json::from_slice(&logged_in.body)?;
    Ok(HeaderValue::from_str(&format!("Bearer {access_token}"))?)
}
