//! The fields of a row, and what is wrong with them.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde_json::value::RawValue;
use service_kit::members::Members;

/// A fault of a row. It never quotes a value, which may be of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Empty when it is not about one field.
    pub(super) field: String,
    pub(super) reason: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, reason } = self;
        if field.is_empty() { f.write_str(reason) } else { write!(f, "{field} {reason}") }
    }
}

/// The fields of one row. What is wrong with them is collected.
pub(super) struct Fields<'a> {
    members: Vec<(String, &'a RawValue)>,
    faults: Vec<Fault>,
    is_object: bool,
}

impl<'a> Fields<'a> {
    /// Of this JSON, with these names alone.
    ///
    /// # Errors
    /// When the text is no JSON. A value that is no object has a fault and no fields.
    pub(super) fn parse(text: &'a [u8], names: &[&str]) -> serde_json::Result<Self> {
        let mut fields = Self { members: Vec::new(), faults: Vec::new(), is_object: true };
        match serde_json::from_slice::<Members<'_>>(text) {
            Ok(Members(members)) => fields.members = members,
            Err(error) if error.is_data() => {
                fields.is_object = false;
                let reason = "must be an object".to_owned();
                fields.faults.push(Fault { field: String::new(), reason });
                return Ok(fields);
            }
            Err(error) => return Err(error),
        }
        let mut seen: Vec<&str> = Vec::new();
        let mut faults = Vec::new();
        for (name, _) in &fields.members {
            if !names.contains(&name.as_str()) {
                let known = names.join("`, `");
                let reason = format!("must have the fields `{known}` and no others");
                faults.push(Fault { field: String::new(), reason });
                break;
            } else if seen.contains(&name.as_str()) {
                faults.push(Fault { field: name.clone(), reason: "must be there once".to_owned() });
            }
            seen.push(name);
        }
        fields.faults = faults;
        Ok(fields)
    }

    /// A text of this form.
    pub(super) fn text<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let raw = self.raw(name)?;
        let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
            return self.fault(name, "must be text");
        };
        text.parse().or_else(|error: T::Err| self.fault(name, error).ok_or(())).ok()
    }

    /// A number of this form, exactly as it is written.
    pub(super) fn number<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let raw = self.raw(name)?.get();
        if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return self.fault(name, "must be a number");
        }
        if raw.starts_with('-') {
            return self.fault(name, "must not be negative");
        }
        raw.parse().or_else(|error: T::Err| self.fault(name, error).ok_or(())).ok()
    }

    /// Adds a fault; returns none of whatever has it.
    pub(super) fn fault<T>(&mut self, field: &str, reason: impl Display) -> Option<T> {
        let (field, reason) = (field.to_owned(), reason.to_string());
        self.faults.push(Fault { field, reason });
        None
    }

    /// The row if it is complete and has no fault, or else the faults.
    pub(super) fn finish<T>(self, row: Option<T>) -> Result<T, Vec<Fault>> {
        match row {
            Some(row) if self.faults.is_empty() => Ok(row),
            _ => Err(self.faults),
        }
    }

    fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let found = self.members.iter().find(|(member, _)| member == name);
        let raw = found.map(|(_, raw)| *raw);
        // What is no object lacks no field in particular.
        if raw.is_none() && self.is_object {
            return self.fault(name, "is missing");
        }
        raw
    }
}
