//! RFC 7396 on text: only the objects that the patch changes are parsed.

use std::collections::HashMap;

use serde_json::value::RawValue;
use service_kit::members::Members;

/// The target after the patch.
pub(super) fn merged(
    target: &RawValue,
    patch: &RawValue,
) -> Result<Box<RawValue>, serde_json::Error> {
    let mut json = String::with_capacity(target.get().len() + patch.get().len());
    write_merged(&mut json, Some(target), patch)?;
    RawValue::from_string(json)
}

/// `MergePatch(Target, Patch)` in section 2 of the RFC.
fn write_merged(
    json: &mut String,
    target: Option<&RawValue>,
    patch: &RawValue,
) -> Result<(), serde_json::Error> {
    let Some(Members(patch)) = Members::of(patch) else {
        json.push_str(patch.get());
        return Ok(());
    };
    let Members(target) = target.and_then(Members::of).unwrap_or(Members(Vec::new()));
    let changes: HashMap<&str, &RawValue> =
        patch.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let old: HashMap<&str, &RawValue> =
        target.iter().map(|(name, value)| (name.as_str(), *value)).collect();

    // Existing members keep their order; new ones follow.
    let names =
        target.iter().chain(patch.iter().filter(|(name, _)| !old.contains_key(name.as_str())));
    json.push('{');
    let mut comma = "";
    for (name, value) in names {
        let change = changes.get(name.as_str());
        if change.is_some_and(|change| change.get() == "null") {
            continue;
        }
        json.push_str(comma);
        comma = ",";
        json.push_str(&serde_json::to_string(name)?);
        json.push(':');
        match change {
            Some(change) => write_merged(json, old.get(name.as_str()).copied(), change)?,
            None => json.push_str(value.get()),
        }
    }
    json.push('}');
    Ok(())
}
