//! `docs/SETTINGS.md` against the sources: each variable is listed, with the default that the
//! sources give it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use crate::reader::words;
use crate::repository::Repository;

const PAGE: &str = "docs/SETTINGS.md";
/// Where programs read their environment.
const PROGRAMS: [&str; 3] = ["services", "service-kit", "gateway/src"];
/// No settings: Cargo's own, and the failpoint of a build for tests.
const NOT_SETTINGS: [&str; 2] = ["CARGO_", "TANDEM_TEST_"];
/// Variables of one word, which look like any constant.
const OF_ONE_WORD: [&str; 6] =
    ["WORKERS", "DEPLOYMENT", "GATEWAYS", "STATELESS", "STATEFUL", "RESOLVER"];
/// The methods of `service_kit::Env` that take a default after the name.
const READERS: [&str; 5] = [".parse(", ".parse_within(", ".seconds(", ".secret(", ".secret_url("];

#[test]
fn every_variable_is_listed_with_its_default() -> Result<()> {
    let repository = Repository::read()?;
    let mut variables = BTreeMap::new();
    for folder in PROGRAMS {
        repository.each_text(folder, &mut |text| of_program(text, &mut variables))?;
    }
    for entry in fs::read_dir(repository.path("infra/compose"))? {
        let path = entry?.path();
        match path.file_name().and_then(|name| name.to_str()) {
            Some(".env.example") => of_example(&fs::read_to_string(&path)?, &mut variables),
            Some(name) if name.ends_with(".yaml") => {
                of_compose(&fs::read_to_string(&path)?, &mut variables)
            }
            _ => {}
        }
    }
    assert!(variables.len() > 60, "hardly any variables were found: {variables:?}");

    let page = repository.text(PAGE)?;
    let rows: Vec<&str> = page.lines().collect();
    let mut faults = Vec::new();
    for (variable, default) in &variables {
        let quoted = format!("`{variable}`");
        let mut listed = rows.iter().filter(|row| row.contains(&quoted)).peekable();
        if listed.peek().is_none() {
            faults.push(format!("{PAGE} does not list {variable}"));
        } else if let Some(default) =
            default.as_deref().filter(|default| !listed.any(|row| row.contains(default)))
        {
            faults.push(format!("{PAGE} does not give {variable} the default {default}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// `"NAME"` in the code of a program, and `.parse("NAME", "default"`.
fn of_program(text: &str, found: &mut BTreeMap<String, Option<String>>) {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    // Every second part is between quotation marks.
    let parts: Vec<&str> = code.split('"').collect();
    for (index, name) in
        parts.iter().enumerate().skip(1).step_by(2).filter(|(_, name)| is_variable(name))
    {
        let before = parts[index - 1].trim_end();
        let is_call = READERS.iter().any(|reader| before.ends_with(reader));
        let follows = parts.get(index + 1).is_some_and(|between| between.trim() == ",");
        let default =
            parts.get(index + 2).filter(|default| is_call && follows && !default.is_empty());
        let known = found.entry((*name).to_owned()).or_default();
        *known = known.take().or(default.map(|default| (*default).to_owned()));
    }
}

/// `${NAME…}`.
fn of_compose(text: &str, found: &mut BTreeMap<String, Option<String>>) {
    for rest in text.split("${").skip(1) {
        if let Some(name) =
            words(rest).next().filter(|name| rest.starts_with(name) && is_variable(name))
        {
            found.entry(name.to_owned()).or_default();
        }
    }
}

/// `NAME=default`.
fn of_example(text: &str, found: &mut BTreeMap<String, Option<String>>) {
    for (name, default) in text.lines().filter_map(|line| line.split_once('=')) {
        if is_variable(name) && !default.is_empty() {
            found.insert(name.to_owned(), Some(default.to_owned()));
        }
    }
}

fn is_variable(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let inner = name.trim_matches('_');
    let is_ours = !NOT_SETTINGS.iter().any(|prefix| name.starts_with(prefix));
    plain && inner == name && (name.contains('_') || OF_ONE_WORD.contains(&name)) && is_ours
}
