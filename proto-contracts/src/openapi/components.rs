//! The parts of a document that its operations share.

use std::fmt::Write as _;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::error::{ErrorCode, Problem};
use crate::headers::PROBLEM_JSON;
use crate::openapi::header::{self, Header};
use crate::openapi::schemas::Schemas;

/// The components by kind and name, as far as an operation refers to them.
#[derive(Default)]
pub(super) struct Components {
    headers: Map<String, Value>,
    parameters: Map<String, Value>,
    examples: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Components {
    /// References to the header fields of a response.
    pub(super) fn headers(&mut self, fields: &[Header]) -> Map<String, Value> {
        let reference = |field: &Header| {
            let value = json!({
                "description": field.description,
                "schema": {"type": "string"},
                "example": field.example,
            });
            (field.name.to_owned(), refer(&mut self.headers, "headers", field.component, value))
        };
        fields.iter().map(reference).collect()
    }

    /// A reference to a header field of a request.
    pub(super) fn parameter(&mut self, field: &Header) -> Value {
        let mut value = json!({
            "name": field.name,
            "in": "header",
            "required": false,
            "description": field.description,
            "schema": {"type": "string"},
            "example": field.example,
        });
        if let Some(pattern) = field.pattern {
            value["schema"]["pattern"] = pattern.into();
        }
        refer(&mut self.parameters, "parameters", field.component, value)
    }

    /// The problem documents of a status. They are shared if `shared` has the same codes.
    pub(super) fn problems(
        &mut self,
        status: u16,
        codes: &[ErrorCode],
        shared: &[ErrorCode],
        fields: &[Header],
        schemas: &mut Schemas,
    ) -> Value {
        let description = codes.iter().fold(String::new(), |mut text, code| {
            let separator = if text.is_empty() { "" } else { " " };
            let _infallible = write!(text, "{separator}`{code}`: {}.", code.title());
            text
        });
        let examples: Map<_, _> =
            codes.iter().map(|&code| (code.to_string(), self.example(code))).collect();
        let mut fields = fields.to_vec();
        if codes.iter().any(|code| code.retry_after_s().is_some()) {
            fields.push(header::RETRY_AFTER);
        }
        if status == 401 {
            fields.push(header::WWW_AUTHENTICATE);
        }
        let schema = schemas.written(SchemaGenerator::subschema_for::<Problem>);
        let response = json!({
            "description": description,
            "headers": self.headers(&fields),
            "content": {PROBLEM_JSON: {"schema": schema, "examples": examples}},
        });
        if codes.iter().all(|code| shared.contains(code)) {
            return refer(&mut self.responses, "responses", &status.to_string(), response);
        }
        response
    }

    fn example(&mut self, code: ErrorCode) -> Value {
        let problem = Problem::new(code, format!("{}.", code.title()), None);
        let value = json!({"summary": code.title(), "value": problem});
        refer(&mut self.examples, "examples", code.as_str(), value)
    }

    /// All of them, with these schemas.
    pub(super) fn into_json(self, schemas: Schemas) -> Map<String, Value> {
        let Self { headers, parameters, examples, responses } = self;
        let all = [
            ("schemas", schemas.definitions()),
            ("headers", headers),
            ("parameters", parameters),
            ("examples", examples),
            ("responses", responses),
        ];
        let filled = all.into_iter().filter(|(_, components)| !components.is_empty());
        filled.map(|(kind, components)| (kind.to_owned(), Value::Object(components))).collect()
    }
}

fn refer(components: &mut Map<String, Value>, kind: &str, name: &str, value: Value) -> Value {
    components.insert(name.to_owned(), value);
    json!({"$ref": format!("#/components/{kind}/{name}")})
}
