//! Points in time, as all bodies have them.

use std::fmt;

use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, in whole milliseconds. Its text has always three digits of fraction:
/// `2026-11-28T17:00:00.123Z`.
///
/// Wire types have no other type for times. Texts of one length sort as the times do, and parsers
/// of a fixed format can read them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(
    with = "String",
    description = "A point in time in UTC, always with three digits of fraction.",
    extend(
        "format" = "date-time",
        "pattern" = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        "examples" = ["2026-11-28T17:00:00.123Z"]
    )
)]
pub struct Timestamp(jiff::Timestamp);

/// Faster than formatting, and a session has three times.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        jiff::Timestamp::now().into()
    }

    /// The time, for calculations.
    pub const fn to_jiff(self) -> jiff::Timestamp {
        self.0
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// Drops what is finer than a millisecond.
    fn from(time: jiff::Timestamp) -> Self {
        Self(jiff::Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PRINTER.print_timestamp(&self.0, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity("2026-11-28T17:00:00.123Z".len());
        PRINTER.print_timestamp(&self.0, &mut text).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            serde::de::Error::custom("must be a time, such as 2026-11-28T17:00:00.123Z")
        })?;
        Ok(time.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_time_has_always_three_digits_of_fraction() {
        for (given, text) in [
            ("2026-11-28T17:00:00Z", "2026-11-28T17:00:00.000Z"),
            ("2026-11-28T17:00:00.1Z", "2026-11-28T17:00:00.100Z"),
            ("2026-11-28T17:00:00.123456Z", "2026-11-28T17:00:00.123Z"),
            ("2026-11-28T17:00:00.999999999Z", "2026-11-28T17:00:00.999Z"),
            ("2026-11-28T18:00:00+01:00", "2026-11-28T17:00:00.000Z"),
        ] {
            let time: Timestamp = serde_json::from_str(&format!("\"{given}\"")).expect("a time");
            let json = serde_json::to_string(&time).expect("serializes");
            assert_eq!(json, format!("\"{text}\""), "{given}");
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("a time"), time);
        }
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
    }

    /// jiff's own serialization has as many digits as a time needs.
    #[test]
    fn no_other_module_uses_times_of_jiff() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![sources.clone()];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path != sources.join("timestamp.rs") {
                    let source = std::fs::read_to_string(&path).expect("a source");
                    assert!(!source.contains("jiff"), "{} uses jiff", path.display());
                    read += 1;
                }
            }
        }
        assert!(read > 10, "{read} sources");
    }
}
