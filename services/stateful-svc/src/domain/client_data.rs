//! The client's own data: a JSON object, stored as the text that the client sent.
//!
//! The text is never parsed into a tree of values and serialized again. That would cost time on
//! each read, and it would change the data. Large numbers would lose digits, empty arrays could
//! become objects (in Redis's Lua), members would change their order.

use std::sync::Arc;

use proto_contracts::stateful::MAX_CLIENT_DATA_BYTES;
use serde_json::value::RawValue;
use service_kit::members::Members;

use super::conversation::ClientName;
use super::nickname::Nickname;

mod compact;
mod invalid;
mod merge;

pub use invalid::{InvalidClientData, JsonFault, Unreadable};

/// A JSON object of at most [`MAX_CLIENT_DATA_BYTES`] bytes and
/// [`MAX_CLIENT_DATA_DEPTH`](proto_contracts::stateful::MAX_CLIENT_DATA_DEPTH) levels, without
/// white space and without duplicate members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientData(Arc<RawValue>);

impl ClientData {
    /// Validates a client's JSON.
    ///
    /// # Errors
    /// It is not an object, too large, nested too deeply, or not interoperable.
    pub fn parse(json: &RawValue) -> Result<Self, InvalidClientData> {
        Self::of_object(compact::object(json)?)
    }

    /// Restores data from a store, as written by [`ClientData::as_str`].
    ///
    /// # Errors
    /// The text is not JSON: another program wrote it.
    pub fn restore(json: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(json).map(|raw| Self(raw.into()))
    }

    /// The data after an RFC 7396 merge patch.
    ///
    /// # Errors
    /// The result is too large.
    pub fn merged(&self, patch: &MergePatch) -> Result<Self, InvalidClientData> {
        Self::of_object(merge::merged(&self.0, &patch.0)?)
    }

    /// The client's name for replies: the member `name`, when it is a string and not blank.
    pub fn name(&self) -> Option<ClientName> {
        let members = Members::of(&self.0)?;
        let name: String = serde_json::from_str(members.get("name")?.get()).ok()?;
        ClientName::new(&name)
    }

    /// The nickname in a class: the member `nickname`, when it is a string.
    pub fn nickname(&self) -> Option<Nickname> {
        let members = Members::of(&self.0)?;
        let name: String = serde_json::from_str(members.get("nickname")?.get()).ok()?;
        Some(Nickname::new(&name))
    }

    /// The data as JSON, to be embedded in a larger document.
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }

    /// The data as compact JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    fn of_object(json: Box<RawValue>) -> Result<Self, InvalidClientData> {
        match json.get().len() {
            0..=MAX_CLIENT_DATA_BYTES => Ok(Self(json.into())),
            bytes => Err(InvalidClientData::TooLarge { bytes }),
        }
    }
}

impl Default for ClientData {
    /// An object without members.
    fn default() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON").into())
    }
}

impl PartialEq for ClientData {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A merge patch for client data (RFC 7396): members replace members, `null` removes, objects
/// merge.
///
/// The patch must be an object: any other value would replace the whole by something that is not
/// client data.
#[derive(Clone, Debug)]
pub struct MergePatch(Box<RawValue>);

impl MergePatch {
    /// Validates a client's patch.
    ///
    /// # Errors
    /// As for [`ClientData::parse`].
    pub fn parse(json: &RawValue) -> Result<Self, InvalidClientData> {
        let patch = compact::object(json)?;
        match patch.get().len() {
            0..=MAX_CLIENT_DATA_BYTES => Ok(Self(patch)),
            bytes => Err(InvalidClientData::TooLarge { bytes }),
        }
    }

    /// The patch as compact JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto_contracts::stateful::MAX_CLIENT_DATA_DEPTH;
    use serde_json::{Value, json};

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    fn data(json: &str) -> ClientData {
        ClientData::parse(&raw(json)).expect("client data")
    }

    fn patched(target: &str, patch: &str) -> String {
        let patch = MergePatch::parse(&raw(patch)).expect("patch");
        data(target).merged(&patch).expect("fits").as_str().to_owned()
    }

    #[test]
    fn the_text_is_kept_exactly() {
        for exact in [
            "{}",
            r#"{"big":123456789012345678901234567890,"small":1.10,"list":[],"e":1E5}"#,
            r#"{"z":1,"a":{"quote\"and\\":" two  blanks \" { ","\u00e9":"é"}}"#,
        ] {
            assert_eq!(data(exact).as_str(), exact);
        }
        let spaced = "{ \"a\\\\\" : [ 1 ,\t2 ],\r\n \"b\" : \" x \" }";
        assert_eq!(data(spaced).as_str(), r#"{"a\\":[1,2],"b":" x "}"#);
    }

    #[test]
    fn json_that_is_not_interoperable_is_rejected() {
        let long = format!(r#"{{"a":{{"{}":[1e999]}}}}"#, "x".repeat(1_000));
        for (json, pointer, fault) in [
            (r#"{"a":1,"b":{"c":1,"c":2}}"#, "/b/c", JsonFault::DuplicateMember),
            (r#"{"a":1,"\u0061":2}"#, "/a", JsonFault::DuplicateMember),
            (r#"{"a":[1,{"~/":"\ud800"}]}"#, "/a/1/~0~1", JsonFault::HalfOfPair),
            (r#"{"a":{"\ud800":1}}"#, "/a", JsonFault::HalfOfPair),
            (r#"{"a":[[1,1e999]]}"#, "/a/0/1", JsonFault::OutOfRange),
            (&long, "/a", JsonFault::OutOfRange),
        ] {
            match ClientData::parse(&raw(json)) {
                Err(InvalidClientData::Unreadable(found)) => {
                    assert_eq!((found.pointer.as_str(), found.fault), (pointer, fault), "{json}");
                }
                other => panic!("{json}: {other:?}"),
            }
        }
        for json in ["null", "[]", "1", "\"{}\"", "true"] {
            assert!(
                matches!(ClientData::parse(&raw(json)), Err(InvalidClientData::NotAnObject)),
                "{json}"
            );
            assert!(
                matches!(MergePatch::parse(&raw(json)), Err(InvalidClientData::NotAnObject)),
                "{json}"
            );
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(ClientData::parse(&raw(&nested(MAX_CLIENT_DATA_DEPTH))).is_ok());
        for levels in [MAX_CLIENT_DATA_DEPTH + 1, 100_000] {
            let error = ClientData::parse(&raw(&nested(levels))).expect_err("too deep");
            assert!(matches!(error, InvalidClientData::Unreadable(_)), "{error:?}");
        }
        let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(ClientData::parse(&raw(&sized(MAX_CLIENT_DATA_BYTES))).is_ok());
        let bytes = MAX_CLIENT_DATA_BYTES + 1;
        let error = ClientData::parse(&raw(&sized(bytes))).expect_err("too large");
        assert!(
            matches!(error, InvalidClientData::TooLarge { bytes: b } if b == bytes),
            "{error:?}"
        );
    }

    #[test]
    fn a_patch_may_not_exceed_the_size_limit() {
        let half = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_CLIENT_DATA_BYTES / 2));
        let patch = MergePatch::parse(&raw(&half.replace("\"a\"", "\"b\""))).expect("fits");
        assert!(matches!(data(&half).merged(&patch), Err(InvalidClientData::TooLarge { .. })));
    }

    #[test]
    fn the_examples_of_rfc_7396_hold() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (
                r#"{"a":[]}"#,
                r#"{"b":18446744073709551617}"#,
                r#"{"a":[],"b":18446744073709551617}"#,
            ),
        ] {
            assert_eq!(patched(target, patch), result, "{target} + {patch}");
        }
    }

    #[test]
    fn the_name_is_a_string_or_none() {
        for (json, name) in [
            (r#"{"name":"Ada"}"#, Some("Ada")),
            (r#"{"x":{"name":"Ada"}}"#, None),
            (r#"{"name":""}"#, None),
            (r#"{"name":7}"#, None),
            (r#"{"n\u0061me":"\u00c9va"}"#, Some("Éva")),
        ] {
            assert_eq!(data(json).name().as_ref().map(ClientName::as_str), name, "{json}");
        }
    }

    /// The RFC's pseudocode, on a tree.
    fn merge_tree(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let Value::Object(target) = target else { unreachable!("made an object above") };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge_tree(target.entry(name).or_insert(Value::Null), value);
            }
        }
    }

    fn objects() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a\" \\\\]{0,3}".prop_map(Value::from)
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc\"]", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        });
        prop::collection::btree_map("[abc\"]", value, 0..4)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn merging_text_is_merging_trees(target in objects(), patch in objects()) {
            let text = patched(&serde_json::to_string_pretty(&target).expect("JSON"), &patch.to_string());
            let mut tree = target;
            merge_tree(&mut tree, &patch);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), tree);
        }
    }
}
