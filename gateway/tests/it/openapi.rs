//! Compares the control API's OpenAPI document with the control plane's behaviour.

use std::collections::BTreeSet;

use proto_contracts::control::{Event, TrafficSettings};
use proto_contracts::{AffinityKey, ErrorCode};
use serde_json::Value;

use crate::client::{Reply, Request};
use crate::testbed::{Setup, TestGateway};
use crate::upstream::Upstream;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The document, with resolution of its references.
struct Document(Value);

impl Document {
    fn of(gateway: &TestGateway) -> Self {
        Self(gateway.request(Request::get("/control/v1/openapi.json")).json())
    }

    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths.iter().flat_map(|(path, item)| {
            item.as_object()
                .into_iter()
                .flatten()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema["$ref"].as_str() else { return schema };
        let place = reference.strip_prefix('#').expect("within the document");
        self.0.pointer(place).unwrap_or_else(|| panic!("{reference} does not resolve"))
    }

    /// Violations of the schema in the value. Stricter than JSON Schema: every field must be
    /// documented.
    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        for key in ["oneOf", "anyOf"] {
            if let Some(choices) = schema[key].as_array() {
                let faults: Vec<_> =
                    choices.iter().map(|choice| self.faults(choice, value, at)).collect();
                return if faults.iter().any(Vec::is_empty) { Vec::new() } else { faults.concat() };
            }
        }
        if schema.get("const").is_some_and(|only| only != value) {
            return vec![format!("{at} is {value} instead of {}", schema["const"])];
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            return vec![format!("{at} is {value}, none of {}", schema["enum"])];
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let actual = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = types.is_empty()
            || types.contains(&actual)
            || (actual == "integer" && types.contains(&"number"));
        if !fits {
            return vec![format!("{at} is {value}, no {types:?}")];
        }
        match value {
            Value::Array(items) => {
                let check = |(i, item)| self.faults(&schema["items"], item, &format!("{at}[{i}]"));
                items.iter().enumerate().flat_map(check).collect()
            }
            Value::Object(fields) if schema["properties"].is_object() => {
                let known = &schema["properties"];
                let missing =
                    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = missing
                    .filter(|name| !fields.contains_key(*name))
                    .map(|name| format!("{at}.{name} is missing"));
                let check = |(name, value): (&String, &Value)| match known.get(name) {
                    Some(schema) => self.faults(schema, value, &format!("{at}.{name}")),
                    None => vec![format!("{at}.{name} is not documented")],
                };
                missing.chain(fields.iter().flat_map(check)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn target(path: &str) -> String {
    path.replace("{pool}", "stateful").replace("{name}", "stateful-1")
}

#[test]
fn each_path_has_exactly_the_documented_methods() {
    let gateway = Setup::new().start();
    let document = Document::of(&gateway);
    assert_eq!(document.0["openapi"], "3.1.0");
    let paths = document.0["paths"].as_object().expect("paths");
    for (path, item) in paths {
        let documented: BTreeSet<_> =
            item.as_object().expect("methods").keys().map(String::as_str).collect();
        let other = METHODS
            .into_iter()
            .find(|method| !documented.contains(method))
            .expect("PATCH at least");
        let rejected = gateway.change(Request::new(&other.to_uppercase(), &target(path)));
        assert_eq!(
            rejected.code(),
            ErrorCode::MethodNotAllowed,
            "{other} {path} is neither documented nor mounted"
        );
        let allowed = rejected.header("allow").expect("Allow").to_ascii_lowercase();
        let undocumented = ["head", "options"];
        let allowed: BTreeSet<_> =
            allowed.split(", ").filter(|method| !undocumented.contains(method)).collect();
        assert_eq!(allowed, documented, "{path}");
    }
    let ids: BTreeSet<_> =
        document.operations().map(|(_, _, operation)| operation["operationId"].as_str()).collect();
    assert_eq!(ids.len(), document.operations().count(), "each operation has a unique id");
}

#[test]
fn exactly_the_documented_operations_require_a_token() {
    let gateway = Setup::new().start();
    let document = Document::of(&gateway);
    for (path, method, operation) in document.operations() {
        // HEAD, since GET of the event stream would not end.
        let method = if method == "get" { "head" } else { method };
        let reply = gateway.request(Request::new(&method.to_uppercase(), &target(path)));
        let needs_token =
            operation["security"].as_array().is_some_and(|security| !security.is_empty());
        assert_eq!(reply.status == 401, needs_token, "{method} {path}: {reply:?}");
        assert_eq!(operation["responses"].get("401").is_some(), needs_token, "{method} {path}");
    }
}

#[test]
fn every_response_has_exactly_the_documented_fields() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2", "stateful-3"]);
    upstreams[0].report_sessions(3);
    let room = "https://192.0.2.7:8444/class#KHWXTM";
    let gateway = Setup::new().stateful(&upstreams[..2]).class_url(room).start();
    let document = Document::of(&gateway);
    let mut called = BTreeSet::new();
    let mut check = |path: &str, method: &str, reply: &Reply| {
        let response = &document.0["paths"][path][method]["responses"][reply.status.to_string()];
        assert!(
            response.is_object(),
            "{method} {path} returns {}, which is not documented",
            reply.status
        );
        called.insert((path.to_owned(), method.to_owned()));
        let Some(content) = response["content"].as_object() else {
            return assert!(reply.body.is_empty(), "{method} {path}");
        };
        let media_type = reply.header("content-type").expect("a type");
        let schema = &content
            .get(media_type)
            .unwrap_or_else(|| panic!("{media_type} of {method} {path}"))["schema"];
        assert_eq!(document.faults(schema, &reply.json(), ""), [""; 0], "{method} {path}");
    };

    let pools = "/control/v1/pools";
    check(pools, "get", &gateway.request(Request::get(pools)));
    let instances = "/control/v1/pools/{pool}/instances";
    check(instances, "post", &gateway.add(upstreams[2].addr()));
    check(instances, "post", &gateway.add(upstreams[2].addr()));
    check(pools, "get", &gateway.request(Request::get(pools)));
    let explain = "/control/v1/pools/{pool}/explain";
    for query in [
        "key=00000001",
        "key=00000001&drain=stateful-1",
        "key=00000001&with=stateful-9",
        "key=1",
        "key=00000001&without=unknown",
    ] {
        check(
            explain,
            "get",
            &gateway.request(Request::get(&format!("{}?{query}", target(explain)))),
        );
    }
    let strategy = "/control/v1/pools/{pool}/strategy";
    for body in ["{\"strategy\":\"round_robin\"}", "{", "[]"] {
        check(strategy, "put", &gateway.change(Request::new("PUT", &target(strategy)).json(body)));
    }
    let (drain, undrain) = (
        "/control/v1/pools/{pool}/instances/{name}/drain",
        "/control/v1/pools/{pool}/instances/{name}/undrain",
    );
    for (name, body) in [
        ("stateful-1", "{\"deadline_s\":600}"),
        ("stateful-1", "{\"deadline_s\":-1}"),
        ("unknown", "{}"),
    ] {
        check(drain, "post", &gateway.drain_request(name, "drain", body));
    }
    check(pools, "get", &gateway.request(Request::get(pools)));
    check(undrain, "post", &gateway.drain_request("stateful-1", "undrain", ""));
    let instance = "/control/v1/pools/{pool}/instances/{name}";
    for body in ["{\"weight\":2}", "{\"weight\":0}", "{}"] {
        check(
            instance,
            "patch",
            &gateway.change(Request::new("PATCH", &target(instance)).json(body)),
        );
    }
    check(
        explain,
        "get",
        &gateway.request(Request::get(&format!("{}?key=00000001", target(explain)))),
    );
    check(instance, "delete", &gateway.remove("stateful-1"));
    check(instance, "delete", &gateway.remove("stateful-1"));
    let reload = "/control/v1/reload";
    check(reload, "post", &gateway.change(Request::new("POST", reload)));
    gateway.rewrite(&Setup::new().server("lissten = 1"));
    check(reload, "post", &gateway.change(Request::new("POST", reload)));
    let class = "/control/v1/class";
    check(class, "get", &gateway.change(Request::get(class)));
    check(class, "delete", &gateway.change(Request::new("DELETE", class)));
    let person = "/control/v1/class/{digest}";
    check(person, "delete", &gateway.change(Request::new("DELETE", &target(person))));
    // Without an agent. With one they are tested in `infra/local/tests/stack/lab.rs`.
    let lab = "/control/v1/lab";
    check(lab, "get", &gateway.request(Request::get(lab)));
    let act = "/control/v1/lab/instances/{name}/{action}";
    check(act, "post", &gateway.change(Request::new("POST", &target(act))));
    let scale = "/control/v1/lab/pools/{pool}/scale";
    let three = Request::new("PUT", &target(scale)).json("{\"instances\":3}");
    check(scale, "put", &gateway.change(three));
    // Without a driver. With one they are tested in `traffic.rs`.
    let traffic = "/control/v1/traffic";
    check(traffic, "get", &gateway.request(Request::get(traffic)));
    let settings = serde_json::to_string(&TrafficSettings::default()).expect("JSON");
    let drive = |body: &str| gateway.change(Request::new("PUT", traffic).json(body));
    check(traffic, "put", &drive(&settings));
    check(traffic, "put", &drive("{}"));
    check(traffic, "delete", &gateway.change(Request::new("DELETE", traffic)));
    let converse = "/control/v1/conversation";
    for body in [r#"{"person":"A","act":"read","cookie_jar":true}"#, "{}"] {
        check(converse, "post", &gateway.change(Request::new("POST", converse).json(body)));
    }
    // The same for `lessons.rs`.
    let lessons = "/control/v1/lessons";
    check(lessons, "get", &gateway.request(Request::get(lessons)));
    let start = "/control/v1/lessons/{lesson}";
    for body in ["{}", r#"{"short":1}"#] {
        check(start, "post", &gateway.change(Request::new("POST", &target(start)).json(body)));
    }
    let lesson = "/control/v1/lesson";
    for body in [r#"{"step":1}"#, "{}"] {
        check(lesson, "post", &gateway.change(Request::new("POST", lesson).json(body)));
    }
    check(lesson, "delete", &gateway.change(Request::new("DELETE", lesson)));
    let openapi = "/control/v1/openapi.json";
    check(openapi, "get", &gateway.request(Request::get(openapi)));
    // The event stream is tested below.
    let all = document.operations().map(|(path, method, _)| (path.to_owned(), method.to_owned()));
    let left: Vec<_> = all.filter(|operation| !called.contains(operation)).collect();
    assert_eq!(
        left,
        [("/control/v1/events".to_owned(), "get".to_owned())],
        "each other operation is called"
    );
}

#[test]
fn every_event_is_documented() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams[..1]).start();
    let document = Document::of(&gateway);
    let schema = &document.0["components"]["schemas"]["Event"];
    let variants = schema["oneOf"].as_array().expect("variants");
    let types: Vec<_> =
        variants.iter().map(|variant| variant["properties"]["type"]["const"].as_str()).collect();
    assert_eq!(
        types,
        Event::TYPES.iter().map(|name| Some(*name)).collect::<Vec<_>>(),
        "each can be selected"
    );

    let mut stream = gateway.listen("");
    gateway.add(upstreams[1].addr());
    gateway.send(&Request::get(crate::testbed::SESSIONS).key(AffinityKey::from_bits(1)));
    gateway.remove("stateful-2");
    let mut seen = BTreeSet::new();
    while !seen.contains("instance_removed") || !seen.contains("routed") {
        let event = stream.next().expect("another event");
        let json = serde_json::to_value(&event).expect("JSON");
        let variant =
            variants.iter().find(|variant| variant["properties"]["type"]["const"] == event.name());
        let variant = variant.unwrap_or_else(|| panic!("{} has no schema", event.name()));
        let mut body = json.clone();
        // A variant that wraps a type has its fields by reference, beside the type's name.
        let faults = if variant.get("$ref").is_some() {
            body.as_object_mut().and_then(|fields| fields.remove("type"));
            document.faults(variant, &body, "")
        } else {
            document.faults(variant, &json, "")
        };
        assert_eq!(faults, [""; 0], "{json}");
        seen.insert(event.name());
    }
    assert!(seen.contains("pools") && seen.contains("instance_added"), "{seen:?}");
}

#[test]
fn descriptions_have_no_rust_syntax() {
    let gateway = Setup::new().start();
    let text = gateway.request(Request::get("/control/v1/openapi.json")).body;
    let text = String::from_utf8(text).expect("text");
    for rust in ["[`", "](crate", "Self::"] {
        let found = text
            .split_once(rust)
            .map(|(before, _)| before.chars().rev().take(80).collect::<String>());
        assert_eq!(
            found.map(|before| before.chars().rev().collect::<String>()),
            None,
            "{rust} in a description"
        );
    }
}
