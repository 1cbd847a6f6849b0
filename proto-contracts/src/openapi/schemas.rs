//! JSON Schemas of bodies and queries.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Makes the schema of one type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

const DEFINITIONS: &str = "/components/schemas";

/// The schemas of requests and of responses: a field that is optional in a request is in every
/// response.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        // OpenAPI differs from JSON Schema only in where definitions are.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = DEFINITIONS.into();
            settings.meta_schema = None;
        });
        let written = settings.clone().for_serialize().into_generator();
        Self { read: settings.for_deserialize().into_generator(), written }
    }

    /// The schema of a request's body. Unknown members are errors, but not on deprecated paths.
    pub(super) fn body(&mut self, of: SchemaOf, is_deprecated: bool) -> Value {
        let reference = of(&mut self.read).to_value();
        let Some(definition) = self.definition_of(&reference) else { return reference };
        definition["additionalProperties"] = json!(false);
        if is_deprecated {
            let mut lenient = definition.clone();
            lenient["additionalProperties"] = json!(true);
            return lenient;
        }
        reference
    }

    /// The schema of a response's body.
    pub(super) fn written(&mut self, of: SchemaOf) -> Value {
        of(&mut self.written).to_value()
    }

    /// The parameters of a query: name, schema, description, and whether it is required.
    pub(super) fn parameters(&mut self, query: SchemaOf) -> Vec<Value> {
        // Parameters are listed one by one, so the query's type is not a definition.
        let reference = of_query(query, &mut self.read);
        let required = reference["required"].as_array().cloned().unwrap_or_default();
        let properties = reference["properties"].as_object().into_iter().flatten();
        let parameter = |(name, schema): (&String, &Value)| {
            json!({
                "name": name, "in": "query", "required": required.contains(&json!(name)),
                "description": schema["description"], "schema": without_null(schema),
            })
        };
        properties.map(parameter).collect()
    }

    /// The schema of a path's parameter.
    pub(super) fn in_path(&mut self, of: SchemaOf) -> Value {
        of(&mut self.read).to_value()
    }

    pub(super) fn definitions(mut self) -> Map<String, Value> {
        let mut all = self.read.take_definitions(true);
        all.extend(self.written.take_definitions(true));
        all.values_mut().for_each(list_constants);
        all
    }

    fn definition_of(&mut self, reference: &Value) -> Option<&mut Value> {
        let name = reference["$ref"].as_str()?.rsplit('/').next()?;
        self.read.definitions_mut().get_mut(name)
    }
}

/// Turns a choice of constants into an `enum`, which generators of clients understand better. What
/// each constant means moves into the description.
fn list_constants(schema: &mut Value) {
    let Some(choices) = schema["oneOf"].as_array() else { return };
    let names: Option<Vec<_>> = choices.iter().map(|choice| choice["const"].as_str()).collect();
    let Some(names) = names else { return };
    let mut description = schema["description"].as_str().unwrap_or_default().to_owned() + "\n";
    for (name, choice) in names.iter().zip(choices) {
        let meaning = choice["description"].as_str().unwrap_or_default();
        let _infallible = write!(description, "\n- `{name}`: {meaning}");
    }
    *schema = json!({"type": "string", "enum": names, "description": description});
}

/// The definition of a query's type, removed from the definitions.
fn of_query(query: SchemaOf, generator: &mut SchemaGenerator) -> Value {
    let reference = query(generator).to_value();
    let name = reference["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    name.and_then(|name| generator.definitions_mut().remove(name)).unwrap_or_default()
}

/// The schema of an optional parameter: unlike a field it is never null.
fn without_null(schema: &Value) -> Value {
    let choice = schema["anyOf"]
        .as_array()
        .and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
    let mut schema = choice.unwrap_or(schema).clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("description");
        if fields.get("default") == Some(&Value::Null) {
            fields.remove("default");
        }
        let kinds = fields.get("type").and_then(Value::as_array);
        let kind = kinds.and_then(|kinds| kinds.iter().find(|kind| *kind != "null").cloned());
        kind.and_then(|kind| fields.insert("type".to_owned(), kind));
    }
    schema
}
