//! Points in time, as all bodies have them.

use std::fmt;

use jiff::tz::Offset;
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

const LEN: usize = "2026-11-28T17:00:00.123Z".len();
/// 0000-01-01T00:00:00Z in milliseconds since 1970.
const YEAR_0_MS: i64 = -62_167_219_200_000;

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        jiff::Timestamp::now().into()
    }

    /// The text, on the stack: a session's read has three times, and jiff's printer takes four times
    /// as long.
    fn to_ascii(self) -> [u8; LEN] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let time = Offset::UTC.to_datetime(self.0);
        let mut write = |at: usize, digits: usize, number: i16| {
            let mut rest = number.unsigned_abs();
            for digit in text[at..at + digits].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        };
        write(0, 4, time.year());
        write(5, 2, time.month().into());
        write(8, 2, time.day().into());
        write(11, 2, time.hour().into());
        write(14, 2, time.minute().into());
        write(17, 2, time.second().into());
        write(20, 3, time.millisecond());
        text
    }

    /// The time, for calculations.
    pub const fn to_jiff(self) -> jiff::Timestamp {
        self.0
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// Drops what is finer than a millisecond. A year before 0 has no text of this form and becomes
    /// the beginning of year 0.
    fn from(time: jiff::Timestamp) -> Self {
        let ms = time.as_millisecond().max(YEAR_0_MS);
        Self(jiff::Timestamp::from_millisecond(ms).unwrap_or(time))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.to_ascii()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_ascii();
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
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

    use jiff::fmt::temporal::DateTimePrinter;

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

    #[test]
    fn every_time_has_the_text_that_jiff_prints() {
        let printer = DateTimePrinter::new().precision(Some(3));
        let last_ms = 1_000 * jiff::Timestamp::MAX.as_second();
        // Steps of twelve days and a millisecond: every month and time of day comes up.
        for ms in (YEAR_0_MS..last_ms).step_by(1_036_800_001).chain([-1, 0, last_ms]) {
            let time = jiff::Timestamp::from_millisecond(ms).expect("in range");
            assert_eq!(Timestamp::from(time).to_string(), printer.timestamp_to_string(&time));
        }
        let earliest = Timestamp::from(jiff::Timestamp::MIN);
        assert_eq!(earliest.to_string(), "0000-01-01T00:00:00.000Z");
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
