//! Tokens that must be rejected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{KeyInit as _, Mac as _};
use serde_json::{Value, json};
use service_kit::testing::issuer::{Issuer, claims, now, unsigned};

/// Tokens that must be rejected; the first one has expired.
pub(super) fn all(issuer: &Issuer, good: &str) -> Vec<(&'static str, String)> {
    let header = json!({"alg": "EdDSA", "typ": "JWT"});
    let signed = |claims: Value| issuer.sign(&header, &claims);
    let but = |name: &str, value: Value| {
        let mut claims = claims("ada");
        claims[name] = value;
        signed(claims)
    };
    let without = |name: &str| {
        let mut claims = claims("ada");
        claims.as_object_mut().expect("an object").remove(name);
        signed(claims)
    };
    let mut parts: Vec<_> = good.split('.').map(str::to_owned).collect();
    let forged = format!("{}.{}", unsigned(&header, &claims("bob")), parts[2]);
    // The public key, taken for the secret of another algorithm.
    let confused = unsigned(&json!({"alg": "HS256", "typ": "JWT"}), &claims("ada"));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(issuer.public_key()).expect("a key");
    mac.update(confused.as_bytes());
    let confused = format!("{confused}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    let renamed = format!(
        "{}.{}",
        unsigned(&json!({"alg": "Ed25519", "typ": "JWT"}), &claims("ada")),
        parts[2]
    );
    let none = unsigned(&json!({"alg": "none"}), &claims("ada"));
    let short_signature = format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]);
    parts[2].insert(0, 'A');
    vec![
        ("expired", but("exp", json!(now() - 60))),
        ("not yet valid", but("nbf", json!(now() + 60))),
        ("of another key", Issuer::new().token("ada")),
        ("of another issuer", but("iss", json!("somebody"))),
        ("of several issuers", but("iss", json!(["tandem", "somebody"]))),
        ("for another audience", but("aud", json!("somebody"))),
        ("for other audiences", but("aud", json!(["a", "b"]))),
        ("for no audience", but("aud", json!([]))),
        ("without exp", without("exp")),
        ("without iss", without("iss")),
        ("without aud", without("aud")),
        ("without sub", without("sub")),
        ("of nobody", but("sub", json!(""))),
        ("of a number", but("sub", json!(7))),
        ("with a time in words", but("exp", json!("tomorrow"))),
        ("with a negative time", but("exp", json!(-1))),
        ("with another subject put in", forged),
        ("with a longer signature", parts.join(".")),
        ("with a shorter signature", short_signature),
        ("without a signature", format!("{}.", unsigned(&header, &claims("ada")))),
        ("of no algorithm", format!("{none}.")),
        (
            "of no algorithm, under the newer name",
            format!("{}.", unsigned(&json!({"alg": "Ed25519"}), &claims("ada"))),
        ),
        (
            "of another key, under the newer name",
            Issuer::new().sign(&json!({"alg": "Ed25519"}), &claims("ada")),
        ),
        ("renamed after it was signed", renamed),
        ("of another curve", issuer.sign(&json!({"alg": "Ed448"}), &claims("ada"))),
        ("of another spelling", issuer.sign(&json!({"alg": "ed25519"}), &claims("ada"))),
        ("of two algorithms", issuer.sign_text(r#"{"alg":"HS256","alg":"none"}"#, &claims("ada"))),
        (
            "with an extension, under the newer name",
            issuer.sign(&json!({"alg": "Ed25519", "crit": ["b64"], "b64": false}), &claims("ada")),
        ),
        (
            "expired, under the newer name",
            issuer.sign(&json!({"alg": "Ed25519"}), &{
                let mut claims = claims("ada");
                claims["exp"] = json!(now() - 60);
                claims
            }),
        ),
        ("of no algorithm, signed", issuer.sign(&json!({"alg": "none"}), &claims("ada"))),
        ("of a confused algorithm", confused),
        (
            "with an extension",
            issuer.sign(&json!({"alg": "EdDSA", "crit": ["b64"], "b64": false}), &claims("ada")),
        ),
        ("no claims", issuer.sign(&header, &json!([]))),
        ("no header", issuer.sign(&json!(7), &claims("ada"))),
        ("two parts", unsigned(&header, &claims("ada"))),
        ("four parts", format!("{good}.x")),
        ("two tokens", format!("{good} {good}")),
        ("too long", but("name", json!("x".repeat(10_000)))),
        ("words", "hunter2".to_owned()),
        ("dots", "..".to_owned()),
        ("padding", format!("{good}=")),
    ]
}
