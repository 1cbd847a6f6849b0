//! `Authorization: Bearer`, over HTTP: only its subject may use a session that was created with a
//! token.

mod bad_tokens;
mod claims;
mod own_sessions;

use std::process::Command;
use std::time::{Duration, Instant};

use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use serde_json::{Value, json};
use service_kit::testing::Response;

use crate::app::{App, assert_problem, path, send_with, spawn_app, spawn_with};
use crate::program::Program;
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;
use service_kit::testing::issuer::{Issuer, claims, now};

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CONVERSATIONS: &str = "/api/v1/stateful/conversations";

fn app_of(issuer: &Issuer) -> App {
    spawn_with(&[("SESSION_STORE", "memory"), ("JWT_PUBLIC_KEY", &issuer.pem())])
}

async fn with(app: &App, token: Option<&str>, method: &str, target: &str, body: &str) -> Response {
    let credentials = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
    let headers = [("Authorization", credentials.as_str())];
    app.send(method, target, if token.is_some() { &headers } else { &[] }, body).await
}

/// Each operation on a session, by each path.
fn operations(id: &SessionId) -> Vec<(&'static str, String, String)> {
    let conversation = json!({"session_id": id.expose(), "message": "hi"}).to_string();
    let message = json!({"message": "hi"}).to_string();
    let patch = json!({"client_data": {"a": 1}}).to_string();
    vec![
        ("GET", path(Endpoint::Session, id), String::new()),
        ("GET", path(Endpoint::History, id), String::new()),
        ("POST", path(Endpoint::Messages, id), message),
        ("POST", CONVERSATIONS.to_owned(), conversation.clone()),
        ("PATCH", path(Endpoint::Session, id), patch),
        ("GET", format!("/api/stateful/session/{}", id.expose()), String::new()),
        ("GET", format!("/api/stateful/history/{}", id.expose()), String::new()),
        ("POST", "/api/stateful/conversation".to_owned(), conversation),
        ("DELETE", format!("/api/stateful/session/{}", id.expose()), String::new()),
        ("DELETE", path(Endpoint::Session, id), String::new()),
    ]
}

#[actix_web::test]
async fn an_owned_session_is_not_found_by_other_callers() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let (ada, bob) = (issuer.token("ada"), issuer.token("bob"));
    let created = with(&app, Some(&ada), "POST", SESSIONS, "{}").await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.json::<Session>().expect("a session").session_id;
    let never: SessionId =
        "0badcafe-00112233445566778899aabbccddeeff".parse().expect("well formed");

    for stranger in [Some(bob.as_str()), None] {
        for ((method, target, body), (_, unknown, unknown_body)) in
            operations(&id).into_iter().zip(operations(&never))
        {
            let rejected = assert_problem(
                &with(&app, stranger, method, &target, &body).await,
                ErrorCode::SessionNotFound,
            );
            let nothing = with(&app, stranger, method, &unknown, &unknown_body).await;
            let nothing = assert_problem(&nothing, ErrorCode::SessionNotFound);
            assert_eq!(
                rejected.detail, nothing.detail,
                "an owned session looks like one that never existed"
            );
        }
    }
    let unharmed = with(&app, Some(&ada), "GET", &path(Endpoint::Session, &id), "").await;
    assert_eq!(unharmed.header("etag"), created.header("etag"));
    for (method, target, body) in operations(&id) {
        let response = with(&app, Some(&ada), method, &target, &body).await;
        assert!(matches!(response.status, 200 | 201 | 204), "{method} {target}: {response:?}");
    }
    assert_problem(
        &with(&app, Some(&bob), "DELETE", &path(Endpoint::Session, &id), "").await,
        ErrorCode::SessionNotFound,
    );
    assert_eq!(
        with(&app, Some(&ada), "DELETE", &path(Endpoint::Session, &id), "").await.status,
        204
    );
}

#[actix_web::test]
async fn a_session_without_owner_is_open_to_any_caller_with_its_id() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let id = app.create("Ada").await.session_id;
    for token in [None, Some(issuer.token("bob").as_str())] {
        for (method, target, body) in
            operations(&id).into_iter().filter(|(method, ..)| *method != "DELETE")
        {
            let response = with(&app, token, method, &target, &body).await;
            assert!(matches!(response.status, 200 | 201), "{method} {target}: {response:?}");
        }
    }
}

#[actix_web::test]
async fn an_invalid_token_is_rejected_everywhere() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let good = issuer.token("ada");
    let created = with(&app, Some(&good), "POST", SESSIONS, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let open = app.create("Bob").await.session_id;

    let bad = bad_tokens::all(&issuer, &good);
    for (what, token) in &bad {
        let response = with(&app, Some(token), "GET", &path(Endpoint::Session, &id), "").await;
        let problem = assert_problem(&response, ErrorCode::InvalidToken);
        assert_eq!(response.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{what}");
        assert!(
            token.len() < 20 || !problem.detail.contains(&token[..20]),
            "{what}: {}",
            problem.detail
        );
    }
    let (_, expired) = &bad[0];
    for session in [&id, &open] {
        for (method, target, body) in operations(session) {
            assert_problem(
                &with(&app, Some(expired), method, &target, &body).await,
                ErrorCode::InvalidToken,
            );
        }
    }
    for target in [SESSIONS, "/api/stateful/session"] {
        assert_problem(
            &with(&app, Some(expired), "POST", target, "{}").await,
            ErrorCode::InvalidToken,
        );
    }
    let unharmed = with(&app, Some(&good), "GET", &path(Endpoint::Session, &id), "").await;
    assert_eq!((unharmed.status, unharmed.header("etag")), (200, created.header("etag")));
    assert_eq!(
        app.get("/health").await.header("x-live-sessions"),
        "2",
        "no other session was created"
    );
}

#[actix_web::test]
async fn both_names_of_the_algorithm_are_accepted() {
    let (issuer, folder) = (Issuer::new(), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("jwks.json");
    let mut jwk = issuer.jwk("k");
    jwk["alg"] = json!("Ed25519");
    // RFC 9864 has such keys, too; they are ignored.
    let other = json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": jwk["x"], "alg": "ECDH-ES"});
    std::fs::write(&file, json!({"keys": [other, jwk]}).to_string()).expect("written");
    let by_file =
        spawn_with(&[("SESSION_STORE", "memory"), ("JWT_JWKS_FILE", file.to_str().expect("text"))]);
    for app in [app_of(&issuer), by_file] {
        let created = with(&app, Some(&issuer.token("ada")), "POST", SESSIONS, "{}").await;
        for header in [
            json!({"alg": "Ed25519"}),
            json!({"alg": "Ed25519", "typ": "JWT", "kid": "k"}),
            json!({"typ": "JWT", "extra": {"a": [1]}, "alg": "Ed25519"}),
        ] {
            let token = issuer.sign(&header, &claims("ada"));
            let read = with(&app, Some(&token), "GET", created.header("location"), "").await;
            assert_eq!(read.status, 200, "{header}: {read:?}");
        }
    }
}

#[actix_web::test]
async fn other_credentials_are_rejected() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let token = issuer.token("ada");
    let (basic, bare, tab) = ("Basic YTpi".to_owned(), token.clone(), format!("Bearer\t{token}"));
    for credentials in ["", "Bearer", "Bearer ", "Token x", &basic, &bare, &tab] {
        let response = app.send("POST", SESSIONS, &[("Authorization", credentials)], "{}").await;
        assert_problem(&response, ErrorCode::InvalidToken);
    }
    let good = format!("bearer  {token}");
    let twice = [("Authorization", good.as_str()), ("Authorization", good.as_str())];
    assert_problem(&app.send("POST", SESSIONS, &twice, "{}").await, ErrorCode::InvalidToken);
    assert_eq!(
        app.send("POST", SESSIONS, &twice[..1], "{}").await.status,
        201,
        "schemes have no case"
    );

    // A service without keys cannot restrict a session to its owner.
    let keyless = spawn_app();
    assert_problem(
        &with(&keyless, Some(&token), "POST", SESSIONS, "{}").await,
        ErrorCode::InvalidToken,
    );
    assert_eq!(with(&keyless, None, "POST", SESSIONS, "{}").await.status, 201);
}

#[actix_web::test]
async fn clock_skew_is_tolerated_and_a_cached_token_expires() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let token_until = |exp: Value| {
        let mut claims = claims("ada");
        claims["exp"] = exp;
        issuer.sign(&json!({"alg": "EdDSA"}), &claims)
    };
    let created = with(&app, Some(&token_until(json!(now() - 2))), "POST", SESSIONS, "{}").await;
    let session = created.header("location");
    assert_eq!(created.status, 201, "{created:?}");
    let fraction = token_until(json!(now() as f64 + 60.5));
    assert_eq!(with(&app, Some(&fraction), "GET", session, "").await.status, 200);

    let brief = token_until(json!(now() - 6));
    assert_eq!(with(&app, Some(&brief), "GET", session, "").await.status, 200, "and it is cached");
    let start = Instant::now();
    loop {
        let response = with(&app, Some(&brief), "GET", session, "").await;
        if response.status != 200 {
            assert!(assert_problem(&response, ErrorCode::InvalidToken).detail.contains("expired"));
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it stays valid");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_key_of_a_set_is_selected_by_kid() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jwks.json");
    let rsa = json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"});
    let set = json!({"keys": [rsa, old.jwk("old"), new.jwk("new")]});
    std::fs::write(&file, set.to_string()).expect("written");
    let file = file.to_str().expect("text");
    let settings = [
        ("SESSION_STORE", "memory"),
        ("JWT_JWKS_FILE", file),
        ("JWT_ISSUER", "https://id"),
        ("JWT_AUDIENCE", "api"),
    ];
    let app = spawn_with(&settings);
    let claims =
        json!({"iss": "https://id", "aud": ["other", "api"], "sub": "ada", "exp": now() + 60});
    let header = |kid: &str| json!({"alg": "EdDSA", "kid": kid});
    for (token, status) in [
        (old.sign(&header("old"), &claims), 201),
        (new.sign(&header("new"), &claims), 201),
        (new.sign(&json!({"alg": "EdDSA"}), &claims), 201),
        (new.sign(&header("old"), &claims), 401),
        (new.sign(&header("unknown"), &claims), 401),
        (Issuer::new().sign(&header("new"), &claims), 401),
        (new.token("ada"), 401),
    ] {
        let response = with(&app, Some(&token), "POST", SESSIONS, "{}").await;
        assert_eq!(response.status, status, "{response:?}");
    }
}

#[actix_web::test]
async fn idempotency_keys_of_two_subjects_do_not_collide() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let (ada, bob) =
        (format!("Bearer {}", issuer.token("ada")), format!("Bearer {}", issuer.token("bob")));
    let key = ("Idempotency-Key", "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01");
    let affinity = ("X-Affinity-Key", "0badcafe");
    let create = async |credentials: Option<&str>| {
        let mut headers = vec![key, affinity];
        headers.extend(credentials.map(|credentials| ("Authorization", credentials)));
        app.send("POST", SESSIONS, &headers, "{}").await
    };
    let mut bodies = Vec::new();
    for credentials in [Some(ada.as_str()), Some(bob.as_str()), None] {
        let (first, again) = (create(credentials).await, create(credentials).await);
        assert_eq!(
            (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
            ("", "true")
        );
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        bodies.push(first.body);
    }
    assert!(bodies[0] != bodies[1] && bodies[1] != bodies[2] && bodies[0] != bodies[2]);
    // Another token of the same subject is the same caller.
    let mut later = claims("ada");
    later["exp"] = json!(now() + 7200);
    let later = format!("Bearer {}", issuer.sign(&json!({"alg": "EdDSA"}), &later));
    assert_eq!(create(Some(&later)).await.body, bodies[0]);
}

#[actix_web::test]
async fn tokens_and_subjects_do_not_leak() {
    let (issuer, server) = (Issuer::new(), RedisServer::start().await);
    let (pem, url) = (issuer.pem(), server.url());
    let program = Program::start(&[
        ("SESSION_STORE", "redis"),
        ("SESSION_REDIS_URL", &url),
        ("SESSION_ID_SECRET", SECRET),
        ("JWT_PUBLIC_KEY", &pem),
        ("LOG_LEVEL", "debug"),
    ]);
    let subject = "ada@example.org";
    let (good, forged) = (issuer.token(subject), Issuer::new().token(subject));
    for (token, status) in [(&good, 201), (&forged, 401)] {
        let credentials = format!("Bearer {token}");
        let headers = [("Authorization", credentials.as_str())];
        assert_eq!(send_with(program.addr, "POST", SESSIONS, &headers, "{}").await.status, status);
    }
    let mut redis = server.connect().await.expect("a connection");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    let mut fields = Vec::new();
    for key in &keys {
        let mut of_key: Vec<String> =
            redis::cmd("HGETALL").arg(key).query_async(&mut redis).await.expect("fields");
        fields.append(&mut of_key);
    }
    let stored = [keys.join(" "), fields.join(" ")].join(" ");
    let leaks = |text: &str| {
        [&good, &forged].iter().any(|token| text.contains(&token[..40])) || text.contains(subject)
    };
    assert!(keys.len() == 2 && !leaks(&stored), "{stored}");
    for line in program.stop() {
        assert!(!leaks(&line.to_string()), "{line}");
    }
}

#[test]
fn unusable_keys_end_the_program_with_usage() {
    let private =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHunter2\n-----END PRIVATE KEY-----";
    let good = Issuer::new().pem();
    for (settings, expected) in [
        (vec![("JWT_PUBLIC_KEY", "Hunter2")], "JWT_PUBLIC_KEY is not a PEM document"),
        (vec![("JWT_PUBLIC_KEY", private)], "JWT_PUBLIC_KEY holds a private key"),
        (
            vec![("JWT_JWKS_FILE", "/missing/jwks.json")],
            "JWT_JWKS_FILE is '/missing/jwks.json', which cannot be read",
        ),
        (
            vec![("JWT_JWKS_FILE", "/dev/null")],
            "JWT_JWKS_FILE is '/dev/null', which is not a JSON Web Key Set",
        ),
        (vec![("JWT_PUBLIC_KEY", &good), ("JWT_JWKS_FILE", "/dev/null")], "one of them is enough"),
    ] {
        let ended =
            Command::new(env!("CARGO_BIN_EXE_stateful-svc")).env_clear().envs(settings).output();
        let ended = ended.expect("the program starts");
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{text}");
        assert!(
            text.contains(expected) && text.contains("for example") && !text.contains("unter2"),
            "{text}"
        );
    }
}
