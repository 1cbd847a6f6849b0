//! Reads single values. An error is the rest of a sentence about the value.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::members::Members;

/// A type of integers.
pub(super) trait Integer: std::str::FromStr + Default {
    /// Whether it has no negative numbers.
    const UNSIGNED: bool;
}

macro_rules! integers {
    ($($type:ident $unsigned:literal;)*) => {
        $(impl Integer for $type { const UNSIGNED: bool = $unsigned; })*
    };
}

integers! {
    i8 false; i16 false; i32 false; i64 false;
    u8 true; u16 true; u32 true; u64 true;
}

/// An integer, by a token of JSON or a parameter.
pub(super) fn integer<T: Integer>(token: &str) -> Result<T, &'static str> {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    token.parse().map_err(|_| match (is_integer, token.starts_with('-')) {
        (false, _) => "must be an integer",
        (true, true) if T::UNSIGNED => "must not be negative",
        (true, true) => "is too small",
        (true, false) => "is too large",
    })
}

/// A number, by a token of JSON or a parameter.
pub(super) fn number(token: &str) -> Result<f64, &'static str> {
    let is_number = token.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    match token.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => Ok(number),
        Ok(_) if is_number => Err("must be within the range of 64-bit floating-point numbers"),
        _ => Err("must be a number"),
    }
}

/// A JSON string.
pub(super) fn string(json: &str) -> Result<Cow<'_, str>, &'static str> {
    if !json.starts_with('"') {
        return Err("must be a string");
    }
    let text = serde_json::from_str::<String>(json);
    // The rest of its syntax was checked.
    text.map(Cow::Owned).map_err(|_| "has an escape \\ud800 to \\udfff that is half of a pair")
}

/// The items of a JSON array.
pub(super) fn items(json: &str) -> Result<Vec<&RawValue>, &'static str> {
    match serde_json::from_str(json) {
        Ok(items) if json.starts_with('[') => Ok(items),
        _ => Err("must be an array"),
    }
}

/// The members of a JSON object, in their order.
pub(super) fn members(json: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, &'static str> {
    if !json.starts_with('{') {
        return Err("must be an object");
    }
    let members: Result<Members<'_>, _> = serde_json::from_str(json);
    let owned = |(name, value)| (Cow::Owned(name), value);
    members
        .map(|Members(members)| members.into_iter().map(owned).collect())
        .map_err(|_| "has a name with an escape \\ud800 to \\udfff that is half of a pair")
}

/// The fault of a value that is none of these.
pub(super) fn one_of(names: &[&str]) -> String {
    format!("must be one of {}", names.join(", "))
}
