//! Finds the faults of a body or query that could not be parsed, and says them in plain words.
//!
//! Serde stops at the first fault, and its texts name types of Rust. So the input is read once
//! more, into the same type. A value of the wrong type is noted and replaced by one that fits. The
//! result is discarded. This costs several times the time of parsing, for invalid input only.

use std::borrow::Cow;

use proto_contracts::error::FieldError;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::strictness::Strictness;

mod findings;
mod reader;
mod values;

use findings::{Findings, Path};
use reader::{Input, Reader};

/// The faults of a JSON object that is not a `T`.
pub(super) fn in_body<T: DeserializeOwned>(
    json: &RawValue,
    strictness: Strictness,
) -> Vec<FieldError> {
    find::<T>(Input::Json(json), Findings::of_body(strictness))
}

/// The faults of the parameters of a query that are not a `T`.
pub(super) fn in_query<T: DeserializeOwned>(
    parameters: &[(Cow<'_, str>, Cow<'_, str>)],
    strictness: Strictness,
) -> Vec<FieldError> {
    find::<T>(Input::Query(parameters), Findings::of_query(strictness))
}

fn find<T: DeserializeOwned>(input: Input<'_>, mut findings: Findings) -> Vec<FieldError> {
    loop {
        let path = &Path::Root;
        let read = T::deserialize(Reader { input, path, findings: &findings });
        let _discarded = findings.settle(path, read);
        // A missing field ends the reading of its object. It is read again, with the field.
        match findings.with_the_missing_ones() {
            Ok(again) => findings = again,
            Err(faults) => return faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto_contracts::ErrorCode;
    use proto_contracts::control::{AddInstance, DrainInstance, ExplainQuery};
    use proto_contracts::live::ClientFrame;
    use proto_contracts::stateful::{
        CreateSession, HistoryQuery, PatchSession, PostConversation, PostMessage,
    };
    use proto_contracts::stateless::{CalculateRequest, RandomQuery};
    use serde_json::{Map, Value};

    use super::*;
    use crate::body::{from_json, from_query};
    use crate::problem::ApiError;

    fn json(text: &str) -> Result<CalculateRequest, ApiError> {
        from_json(text.as_bytes(), Strictness::Strict)
    }

    #[test]
    fn a_rejected_body_names_the_fault() {
        for (text, code, expected) in [
            ("{", "malformed_json", "ends before its JSON does, at line 1, column 1"),
            ("{\n\"operands\": [1,]}", "malformed_json", "not valid JSON at line 2, column"),
            ("{} {}", "malformed_json", "line 1, column 4"),
            ("nonsense", "malformed_json", "line 1"),
            ("[\"add\", [1]]", "invalid_body", "The body must be a JSON object."),
            ("null", "invalid_body", "must be a JSON object"),
            ("{\"operands\": [1, \"2\"]}", "invalid_body", "`/operands/1` must be a number."),
            (
                "{\"operation\": \"root\"}",
                "invalid_body",
                "`/operation` must be one of add, subtract, multiply, divide, power, mean, min, max.",
            ),
            (
                "{\"operator\": \"add\"}",
                "invalid_body",
                "`/operator` is unknown; known here: operation, operands.",
            ),
            (
                "{\"operands\": [], \"operands\": []}",
                "invalid_body",
                "`/operands` is given more than once.",
            ),
            (
                "{\"operands\": [1e999]}",
                "invalid_body",
                "`/operands/0` must be within the range of 64-bit floating-point numbers.",
            ),
            ("{\"operation\": 7}", "invalid_body", "`/operation` must be one of add"),
            ("{\"operands\": 7}", "invalid_body", "`/operands` must be an array."),
        ] {
            let error = json(text).expect_err(text);
            assert_eq!(error.code().as_str(), code, "{text}: {error}");
            assert!(error.detail().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn all_faults_are_listed() {
        let text = r#"{"operation": "root", "a/b~": 1, "operands": [1, "2", null, {}, 1e999]}"#;
        let error = json(text).expect_err("rejected");
        let places: Vec<_> =
            error.errors().iter().filter_map(|fault| fault.pointer.as_deref()).collect();
        assert_eq!(
            places,
            ["/operation", "/a~1b~0", "/operands/1", "/operands/2", "/operands/3", "/operands/4"]
        );
        assert!(error.detail().ends_with(" 5 more faults are listed in `errors`."), "{error}");
        let many = format!("{{\"operands\": [{}]}}", "null,".repeat(1_000) + "1");
        assert_eq!(json(&many).expect_err("rejected").errors().len(), 16);
    }

    #[test]
    fn missing_fields_are_listed_with_other_faults() {
        let read = |text: &str| {
            from_json::<PostConversation<String>>(text.as_bytes(), Strictness::Strict)
                .expect_err(text)
                .errors()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let (session, message) =
            ("`/session_id` is required".to_owned(), "`/message` is required".to_owned());
        assert_eq!(read("{}"), [session.clone(), message]);
        let unknown = "`/text` is unknown; known here: session_id, message".to_owned();
        assert_eq!(
            read(r#"{"message": 7, "text": "a"}"#),
            [session, "`/message` must be a string".to_owned(), unknown]
        );
    }

    #[test]
    fn unparsed_json_is_read_by_its_own_rules() {
        let read = |text: &str| {
            from_json::<PatchSession<Box<RawValue>>>(text.as_bytes(), Strictness::Strict)
                .expect_err(text)
                .detail()
                .to_owned()
        };
        assert_eq!(read("{}"), "`/client_data` is required.");
        assert_eq!(
            read(r#"{"client_data": {"a": [1]}, "ttl": 1}"#),
            "`/ttl` is unknown; known here: client_data."
        );
    }

    #[test]
    fn a_type_that_parses_text_has_one_fault() {
        let read = |query: &str| {
            let read = from_query::<ExplainQuery>(query, Strictness::Strict).expect_err(query);
            read.errors().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let malformed = "`key`: an affinity key is exactly 8 lower-case hex digits";
        assert_eq!(read("key=x"), [malformed]);
        assert_eq!(read(""), ["`key` is required"]);
        let add = |body: &str| {
            let add = from_json::<AddInstance>(body.as_bytes(), Strictness::Strict);
            add.expect_err(body).detail().to_owned()
        };
        let form = "must be an IP address and a port, such as 127.0.0.1:8204";
        assert_eq!(add(r#"{"addr": "localhost"}"#), format!("`/addr` {form}."));
        assert_eq!(add(r#"{"addr": 7}"#), "`/addr` must be a string.");
    }

    #[test]
    fn a_long_name_is_not_repeated() {
        let text = format!("{{\"{}\": 1}}", "x".repeat(100_000));
        let error = json(&text).expect_err("rejected");
        assert_eq!(error.errors()[0].pointer.as_deref(), Some(""));
        assert!(error.detail().contains("a field with a long name"), "{error}");
    }

    #[test]
    fn a_rejected_query_names_the_parameter() {
        for (query, expected) in [
            ("min=x", "`min` must be an integer."),
            ("min=1.5", "`min` must be an integer."),
            ("min=9223372036854775808", "`min` is too large."),
            ("min=-9223372036854775809", "`min` is too small."),
            ("count=-1", "`count` must not be negative."),
            ("count=", "`count` must be an integer."),
            ("maximum=3", "`maximum` is unknown; known here: min, max, count."),
            ("min=1&min=2", "`min` is given more than once."),
            ("m~/n=1", "`m~/n` is unknown"),
        ] {
            let error = from_query::<RandomQuery>(query, Strictness::Strict).expect_err(query);
            assert_eq!(error.code(), ErrorCode::InvalidQuery);
            assert!(error.detail().contains(expected), "{query}: {error}");
        }
        let two = from_query::<RandomQuery>("max=a&count=b", Strictness::Strict);
        let two: Vec<_> =
            two.expect_err("rejected").errors().iter().map(ToString::to_string).collect();
        assert_eq!(two, ["`max` must be an integer", "`count` must be an integer"]);
        let lenient =
            from_query::<RandomQuery>("maximum=3&max=7", Strictness::Lenient).expect("lenient");
        assert_eq!(lenient.max, 7);
    }

    /// Any JSON, whose objects have the names of our bodies.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9:.\"/~ ]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                objects(inner).prop_map(Value::from),
            ]
        })
    }

    fn objects(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        let name = prop::sample::select(vec![
            "operation",
            "operands",
            "message",
            "session_id",
            "client_data",
            "addr",
            "weight",
            "deadline_s",
            "force",
            "ref",
            "idempotency_key",
            "other",
            "a/~b",
        ]);
        let members = prop::collection::vec((name.prop_map(str::to_owned), values), 0..5);
        members.prop_map(|members| members.into_iter().collect())
    }

    /// A rejected body has faults, in our words, at places of the body.
    fn check<T: DeserializeOwned>(body: &Map<String, Value>) -> Result<(), TestCaseError> {
        let text = serde_json::to_vec(body).expect("serializes");
        let Err(error) = from_json::<T>(&text, Strictness::Strict) else { return Ok(()) };
        prop_assert_eq!(error.code(), ErrorCode::InvalidBody);
        prop_assert!(!error.errors().is_empty(), "{}", error);
        check_words(&error)?;
        let body = Value::from(body.clone());
        for FieldError { pointer, detail, .. } in error.errors() {
            let pointer = pointer.as_deref().expect("a place in the body");
            let present = if detail == "is required" {
                pointer.rsplit_once('/').map_or("", |(object, _)| object)
            } else {
                pointer
            };
            prop_assert!(body.pointer(present).is_some(), "{} is not in {}", pointer, body);
        }
        Ok(())
    }

    fn check_words(error: &ApiError) -> Result<(), TestCaseError> {
        for words in ["invalid type", ", expected", " at line", "struct", "variant", "u64", "f64"] {
            prop_assert!(!error.to_string().contains(words), "{}", error);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_rejected_body_has_faults_in_our_words(body in objects(values())) {
            check::<CalculateRequest>(&body)?;
            check::<CreateSession>(&body)?;
            check::<PatchSession<Box<RawValue>>>(&body)?;
            check::<PostMessage>(&body)?;
            check::<PostConversation>(&body)?;
            check::<ClientFrame>(&body)?;
            check::<AddInstance>(&body)?;
            check::<DrainInstance>(&body)?;
        }

        #[test]
        fn every_rejected_query_has_faults_in_our_words(
            query in "((min|max|count|limit|cursor|order|key|with|weight|x)=[a-z0-9%.-]{0,9}&?){0,4}",
        ) {
            let rejected = [
                from_query::<RandomQuery>(&query, Strictness::Strict).err(),
                from_query::<HistoryQuery>(&query, Strictness::Strict).err(),
                from_query::<ExplainQuery>(&query, Strictness::Strict).err(),
            ];
            for error in rejected.into_iter().flatten() {
                prop_assert_eq!(error.code(), ErrorCode::InvalidQuery);
                prop_assert!(!error.errors().is_empty(), "{}", error);
                prop_assert!(error.errors().iter().all(|fault| fault.parameter.is_some()));
                check_words(&error)?;
            }
        }
    }
}
