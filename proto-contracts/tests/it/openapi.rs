//! The generated OpenAPI document and the one in `docs/`.

use std::path::Path;

use proto_contracts::api;
use serde_json::Value;

/// Writes the document in place of the comparison: `make openapi`.
const WRITE: &str = "WRITE_OPENAPI";

#[test]
fn the_document_in_docs_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let generated = serde_json::to_string_pretty(&api::document()).expect("serializes") + "\n";
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, generated).expect("docs/ is writable");
        return;
    }
    let checked_in = std::fs::read_to_string(&path).expect("docs/openapi.json");
    assert!(checked_in == generated, "docs/openapi.json is outdated: run `make openapi`");
}

/// Descriptions come from comments in Rust, whose links mean nothing to a reader of the document.
#[test]
fn descriptions_have_no_links_into_the_source() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::String(text) => {
                assert!(!text.contains("[`") && !text.contains("::"), "{path}: {text}");
            }
            Value::Array(values) => values.iter().for_each(|value| check(value, path)),
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| check(value, &format!("{path}/{name}")));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    check(&api::document(), "");
}
