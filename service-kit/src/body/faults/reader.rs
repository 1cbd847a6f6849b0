//! A deserializer that notes faults and goes on.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::findings::{Findings, Found, Path};
use super::values::{self, Integer};

/// A value to be read.
#[derive(Clone, Copy)]
pub(super) enum Input<'de> {
    /// A JSON value.
    Json(&'de RawValue),
    /// The value of a parameter.
    Text(&'de str),
    /// All parameters of a query.
    Query(&'de [(Cow<'de, str>, Cow<'de, str>)]),
    /// A required field that is missing.
    Missing,
}

/// Reads one value.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a, 'de> {
    pub(super) input: Input<'de>,
    pub(super) path: &'a Path<'a>,
    pub(super) findings: &'a Findings,
}

impl<'de> Reader<'_, 'de> {
    /// Notes a fault of the value, unless there is no value.
    fn note(&self, detail: impl Into<Cow<'static, str>>) {
        if !matches!(self.input, Input::Missing) {
            self.findings.note(self.path, detail);
        }
    }

    /// The text of a number or of `true`, `false` and `null`.
    fn token(&self) -> &'de str {
        match self.input {
            Input::Json(json) => json.get(),
            Input::Text(text) => text,
            Input::Query(_) | Input::Missing => "",
        }
    }

    fn string(&self) -> Result<Cow<'de, str>, &'static str> {
        match self.input {
            Input::Json(json) => values::string(json.get()),
            Input::Text(text) => Ok(text.into()),
            Input::Query(_) | Input::Missing => Err("must be a string"),
        }
    }

    /// The value, or one that fits after noting the fault.
    fn or_default<T: Default>(&self, read: Result<T, &'static str>) -> T {
        read.unwrap_or_else(|detail| {
            self.note(detail);
            T::default()
        })
    }

    fn integer<T: Integer>(&self) -> T {
        self.or_default(values::integer(self.token()))
    }

    fn members(&self) -> Result<Vec<(Cow<'de, str>, Input<'de>)>, &'static str> {
        match self.input {
            Input::Json(json) => {
                let members = values::members(json.get())?.into_iter();
                Ok(members.map(|(name, value)| (name, Input::Json(value))).collect())
            }
            Input::Query(parameters) => {
                let text = |(name, value): &'de (Cow<'de, str>, Cow<'de, str>)| {
                    (Cow::Borrowed(&**name), Input::Text(value))
                };
                Ok(parameters.iter().map(text).collect())
            }
            Input::Text(_) => Err("must be an object"),
            Input::Missing => Ok(Vec::new()),
        }
    }

    fn object<V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Found> {
        let mut entries = self.members().map_err(|detail| {
            self.note(detail);
            Found::Noted
        })?;
        let missing = |field: &&&str| self.findings.is_missing(self.path, field);
        let missing = fields.unwrap_or_default().iter().filter(missing);
        entries.extend(missing.map(|field| (Cow::Borrowed(*field), Input::Missing)));
        let (entries, read) = (entries.into_iter(), Vec::new());
        visitor.visit_map(Members { reader: self, fields, entries, read, next: None })
    }

    /// Reads a value of serde_json's own types.
    fn native<T>(
        self,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>,
        ) -> serde_json::Result<T>,
    ) -> Result<T, Found> {
        let json = match self.input {
            Input::Json(json) => json.get(),
            Input::Text(_) | Input::Query(_) | Input::Missing => "null",
        };
        read(&mut serde_json::Deserializer::from_str(json)).map_err(|_| {
            self.note("has an unexpected value");
            Found::Noted
        })
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
            visitor.$visit(self.integer())
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Found;

    integers! {
        deserialize_i8 visit_i8;
        deserialize_i16 visit_i16;
        deserialize_i32 visit_i32;
        deserialize_i64 visit_i64;
        deserialize_u8 visit_u8;
        deserialize_u16 visit_u16;
        deserialize_u32 visit_u32;
        deserialize_u64 visit_u64;
    }

    serde::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct char
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        match self.input {
            Input::Text(text) => visitor.visit_borrowed_str(text),
            _ => self.native(|json| json.deserialize_any(visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        let read = match self.token() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        };
        visitor.visit_bool(self.or_default(read))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        visitor.visit_f64(self.or_default(values::number(self.token())))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        match self.string() {
            Ok(text) => visitor.visit_str(&text),
            Err(detail) => {
                self.note(detail);
                // The type may reject this text, which is not the client's.
                visitor.visit_str("").map_err(|_: Found| Found::Noted)
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        match self.input {
            Input::Json(json) if json.get() == "null" => visitor.visit_none(),
            Input::Missing => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Found> {
        // serde_json reads unparsed JSON (`RawValue`) by a name of its own.
        if name.starts_with("$serde_json::") {
            return self.native(|json| json.deserialize_newtype_struct(name, visitor));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        let items = match self.input {
            Input::Json(json) => values::items(json.get()),
            Input::Text(_) | Input::Query(_) | Input::Missing => Err("must be an array"),
        };
        let items = self.or_default(items).into_iter().enumerate();
        visitor.visit_seq(Items { reader: self, items })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Found> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.object(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        self.object(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        let given = self.string().unwrap_or_default();
        let known = variants.iter().copied().find(|variant| *variant == given);
        let variant = known.unwrap_or_else(|| {
            self.note(values::one_of(variants));
            variants.first().copied().unwrap_or_default()
        });
        let variant: StrDeserializer<'_, Found> = variant.into_deserializer();
        visitor.visit_enum(variant).map_err(|_| Found::Noted)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        visitor.visit_unit()
    }
}

/// The items of an array.
struct Items<'a, 'de> {
    reader: Reader<'a, 'de>,
    items: std::iter::Enumerate<std::vec::IntoIter<&'de RawValue>>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Found;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Found> {
        let findings = self.reader.findings;
        let Some((index, item)) = self.items.next().filter(|_| !findings.is_full()) else {
            return Ok(None);
        };
        let path = &Path::Item(self.reader.path, index);
        let read = seed.deserialize(Reader { input: Input::Json(item), path, findings });
        findings.settle(path, read).map(Some)
    }
}

/// The members of an object.
struct Members<'a, 'de> {
    reader: Reader<'a, 'de>,
    /// The known names; `None` when any name is.
    fields: Option<&'static [&'static str]>,
    entries: std::vec::IntoIter<(Cow<'de, str>, Input<'de>)>,
    /// The known names that were read.
    read: Vec<Cow<'de, str>>,
    /// The member whose name was read.
    next: Option<(Cow<'de, str>, Input<'de>)>,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Found;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Found> {
        let Reader { path, findings, .. } = self.reader;
        for (name, value) in self.entries.by_ref() {
            if let Some(known) = self.fields {
                if !known.contains(&&*name) {
                    findings.note_unknown(&Path::Member(path, &name), known);
                    continue;
                }
                if self.read.contains(&name) {
                    findings.note(&Path::Member(path, &name), "is given more than once");
                    continue;
                }
                self.read.push(name.clone());
            }
            let key: StrDeserializer<'_, Found> = (*name).into_deserializer();
            let key = seed.deserialize(key)?;
            self.next = Some((name, value));
            return Ok(Some(key));
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Found> {
        let (name, input) = self.next.take().ok_or(Found::Noted)?;
        let findings = self.reader.findings;
        let path = &Path::Member(self.reader.path, &name);
        findings.settle(path, seed.deserialize(Reader { input, path, findings }))
    }
}
