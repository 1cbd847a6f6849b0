//! The generated OpenAPI documents and those in `docs/`.

use std::path::Path;

use proto_contracts::{agent, api, control};
use serde_json::Value;

/// Writes the documents in place of the comparison: `make openapi`.
const WRITE: &str = "WRITE_OPENAPI";

fn documents() -> [(&'static str, Value); 3] {
    [
        ("openapi.json", api::document()),
        ("openapi-control.json", control::document()),
        ("openapi-agent.json", agent::document()),
    ]
}

#[test]
fn the_documents_in_docs_are_the_generated_ones() {
    for (name, document) in documents() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let generated = serde_json::to_string_pretty(&document).expect("serializes") + "\n";
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, generated).expect("docs/ is writable");
            continue;
        }
        let checked_in = std::fs::read_to_string(&path).expect(name);
        assert!(checked_in == generated, "docs/{name} is outdated: run `make openapi`");
    }
}

/// Descriptions come from comments in Rust, whose links mean nothing to a reader of a document.
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
    for (name, document) in documents() {
        check(&document, name);
    }
}
