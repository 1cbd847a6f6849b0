//! Access tokens and events are signed by the same key, and neither is taken for the other.

use serde_json::{Value, json};
use service_kit::config::Env;
use service_kit::testing::issuer::{Issuer, claims, now};
use service_kit::tokens::{InvalidToken, TokenSettings, TokenVerifier};

fn event_claims() -> Value {
    json!({"iss": "tandem", "aud": "tandem", "sub": "ada", "iat": now(), "jti": "1",
           "events": {"urn:tandem:event:tokens-revoked": {"not_before": now()}}})
}

#[test]
fn an_event_is_no_access_token_and_an_access_token_no_event() {
    let issuer = Issuer::new();
    let pem = issuer.pem();
    let env = Env::from_pairs([("JWT_PUBLIC_KEY", pem.as_str())]);
    let settings = TokenSettings::from_env(&env).expect("valid").expect("with a key");
    let verifier = TokenVerifier::new(settings, |claims| claims.sub.clone());
    let (of_event, of_access) =
        (json!({"alg": "EdDSA", "typ": "secevent+jwt"}), json!({"alg": "EdDSA", "typ": "JWT"}));
    let event = issuer.sign(&of_event, &event_claims());
    let access = issuer.sign(&of_access, &claims("ada"));
    assert_eq!(verifier.verify(access.as_bytes()).as_deref(), Ok("ada"));
    assert_eq!(verifier.verify_event(event.as_bytes()).expect("an event").sub, "ada");

    let mut with_events = claims("ada");
    with_events["events"] = event_claims()["events"].clone();
    with_events["jti"] = "1".into();
    for (what, token) in [
        ("an access token", access),
        ("an access token with events", issuer.sign(&of_access, &with_events)),
        ("without a type", issuer.sign(&json!({"alg": "EdDSA"}), &event_claims())),
        ("of another key", Issuer::new().sign(&of_event, &event_claims())),
    ] {
        assert!(verifier.verify_event(token.as_bytes()).is_err(), "{what}");
    }
    for (what, token) in
        [("an event", event), ("an event as a JWT", issuer.sign(&of_access, &event_claims()))]
    {
        let refused = verifier.verify(token.as_bytes());
        assert_eq!(refused.err(), Some(InvalidToken::Malformed), "{what}");
    }
}
