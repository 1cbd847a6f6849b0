//! The file of the gateway's configuration. The stack writes it, and an operator may edit it: what was edited stays.
//!
//! Beside it stands what the stack wrote last. A value that differs from that one is the operator's.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use toml_edit::{DocumentMut, Item};

use crate::error::{Attempt, StackError};

const FILE: &str = "gateway.toml";
const WRITTEN_LAST: &str = "gateway.written.toml";
/// Where the file of a version goes that did not note what it wrote.
const BEFORE: &str = "gateway.before.toml";
/// What the stack relies on, whatever an operator wrote.
const OF_THE_STACK: [&[&str]; 6] = [
    &["server", "listen"],
    &["server", "state_file"],
    &["server", "upgrade_sock"],
    &["control", "listen"],
    &["pools", "stateless", "instances"],
    &["pools", "stateful", "instances"],
];

/// Writes the configuration into the folder and keeps what an operator edited in it. Returns the file, and what the
/// operator should know.
///
/// # Errors
/// [`StackError::Tool`] when the edited file is no TOML, else [`StackError::Io`].
pub(super) fn write(dir: &Path, generated: &str) -> Result<(PathBuf, Vec<String>), StackError> {
    let (file, last) = (dir.join(FILE), dir.join(WRITTEN_LAST));
    let mut notes = Vec::new();
    let text = match (read(&file)?, read(&last)?) {
        (None, _) => generated.to_owned(),
        (Some(present), Some(base)) => merge(&file, &present, &base, generated, &mut notes)?,
        (Some(present), None) => {
            if present != generated {
                let before = dir.join(BEFORE);
                fs::write(&before, present).attempt(|| format!("write {}", before.display()))?;
                notes.push(format!("{} was written anew; the one before is {}", file.display(), before.display()));
            }
            generated.to_owned()
        }
    };
    put(&file, &text)?;
    put(&last, generated)?;
    Ok((file, notes))
}

fn read(file: &Path) -> Result<Option<String>, StackError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StackError::Io { what: format!("read {}", file.display()), source }),
    }
}

/// Replaces a file as a whole: a stop in between must not lose an edit.
fn put(file: &Path, text: &str) -> Result<(), StackError> {
    let beside = file.with_extension("new");
    let cannot = || format!("write {}", file.display());
    fs::write(&beside, text).attempt(cannot)?;
    fs::rename(&beside, file).attempt(cannot)
}

/// The present file with every value that changed from `base` to `generated`, unless the operator changed it. Comments
/// and order stay.
fn merge(
    file: &Path,
    present: &str,
    base: &str,
    generated: &str,
    notes: &mut Vec<String>,
) -> Result<String, StackError> {
    let unreadable = |detail: String| {
        let cure = format!("mend {} or remove it, then it is written anew", file.display());
        StackError::Tool {
            what: "reading the edited configuration of the gateway",
            detail: format!("{detail}\n{cure}"),
        }
    };
    let table = |text: &str| text.parse::<Table>().map_err(|error| unreadable(error.to_string()));
    let (edited, base, generated_table) = (table(present)?, table(base)?, table(generated)?);
    let mut document: DocumentMut =
        present.parse().map_err(|error: toml_edit::TomlError| unreadable(error.to_string()))?;
    let source: DocumentMut = generated.parse().map_err(|error: toml_edit::TomlError| unreadable(error.to_string()))?;
    for path in paths(&base, &generated_table) {
        let (was, now, is) = (at(&base, &path), at(&generated_table, &path), at(&edited, &path));
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let of_the_stack = OF_THE_STACK.contains(&&*path);
        if is == now || is != was && !of_the_stack {
            continue;
        }
        if is != was {
            notes.push(format!("{}: {} is the stack's and was put back", file.display(), path.join(".")));
        }
        set(&mut document, &source, &path);
    }
    Ok(document.to_string())
}

/// The paths of all values that are no tables, in one or the other.
fn paths(one: &Table, other: &Table) -> Vec<Vec<String>> {
    fn walk(table: &Table, above: &[String], found: &mut Vec<Vec<String>>) {
        for (key, value) in table {
            let path = [above, std::slice::from_ref(key)].concat();
            match value {
                Value::Table(table) => walk(table, &path, found),
                _ if found.contains(&path) => {}
                _ => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(one, &[], &mut found);
    walk(other, &[], &mut found);
    found
}

fn at<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    above.iter().try_fold(table, |table, key| table.get(key)?.as_table())?.get(last)
}

/// Has the value at the path be as in `source`, and absent where it is absent there.
fn set(document: &mut DocumentMut, source: &DocumentMut, path: &[&str]) {
    let Some((last, above)) = path.split_last() else { return };
    let value = path.iter().try_fold(source.as_item(), |item, key| item.get(key));
    let mut table = document.as_item_mut();
    for key in above {
        // Indexing makes a table that is missing.
        table = &mut table[*key];
        if table.is_none() {
            *table = toml_edit::table();
        }
    }
    match (value, table.as_table_like_mut()) {
        (Some(value), Some(table)) => replace(table, last, value),
        (None, Some(table)) => drop(table.remove(last)),
        (_, None) => {}
    }
}

/// Keeps the comment behind a value that is replaced.
fn replace(table: &mut dyn toml_edit::TableLike, key: &str, value: &Item) {
    let mut value = value.clone();
    let decor = table.get(key).and_then(Item::as_value).map(|present| present.decor().clone());
    if let (Some(decor), Some(value)) = (decor, value.as_value_mut()) {
        *value.decor_mut() = decor;
    }
    table.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATED: &str = "[server]\nlisten = \"127.0.0.1:8000\"\ngrace_period_s = 7\n\n[health]\ninterval_ms = 1000\n\n\
                             [pools.stateful]\nstrategy = \"sticky\"\ninstances = [\"127.0.0.1:8201\"]\n";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, notes) = write(dir.path(), GENERATED).expect("written");
        assert_eq!((fs::read_to_string(file).expect("read").as_str(), notes), (GENERATED, Vec::new()));
        dir
    }

    fn edit(dir: &Path, from: &str, to: &str) {
        let file = dir.join(FILE);
        let text = fs::read_to_string(&file).expect("read");
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&file, text.replace(from, to)).expect("written");
    }

    fn again(dir: &Path, generated: &str) -> (String, Vec<String>) {
        let (file, notes) = write(dir, generated).expect("written");
        (fs::read_to_string(file).expect("read"), notes)
    }

    #[test]
    fn an_unedited_file_follows_the_stack() {
        let dir = folder();
        let more = GENERATED.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        assert_eq!(again(dir.path(), &more), (more.clone(), Vec::new()));
        assert_eq!(again(dir.path(), GENERATED), (GENERATED.to_owned(), Vec::new()));
    }

    #[test]
    fn what_an_operator_edited_stays_to_the_letter() {
        let dir = folder();
        edit(dir.path(), "grace_period_s = 7", "# Our streams are long.\ngrace_period_s = 60 # s");
        edit(dir.path(), "[pools.stateful]", "[limits]\nmax_in_flight = 9 # few\n\n[pools.stateful]");
        edit(dir.path(), "interval_ms = 1000\n", "");
        let edited = fs::read_to_string(dir.path().join(FILE)).expect("read");
        // An upgrade of the gateway, and an end and a start.
        assert_eq!(again(dir.path(), GENERATED), (edited.clone(), Vec::new()));
        assert_eq!(again(dir.path(), GENERATED), (edited.clone(), Vec::new()));
        // The stack was scaled meanwhile.
        let more = GENERATED.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        let expected = edited.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        assert_eq!(again(dir.path(), &more), (expected, Vec::new()));
    }

    #[test]
    fn new_settings_of_the_stack_come_beside_edits_and_old_ones_go() {
        let dir = folder();
        edit(dir.path(), "interval_ms = 1000", "interval_ms = 250");
        let lab = GENERATED.to_owned() + "bounded_load = 0.0\n\n[lab]\nenabled = true\n";
        let (text, notes) = again(dir.path(), &lab);
        let table: Table = text.parse().expect("TOML");
        assert_eq!(at(&table, &["lab".into(), "enabled".into()]), Some(&Value::Boolean(true)), "{text}");
        assert_eq!(at(&table, &["health".into(), "interval_ms".into()]), Some(&Value::Integer(250)), "{text}");
        assert_eq!(notes, Vec::<String>::new());
        let (text, _) = again(dir.path(), GENERATED);
        let table: Table = text.parse().expect("TOML");
        assert_eq!(at(&table, &["pools".into(), "stateful".into(), "bounded_load".into()]), None, "{text}");
        assert_eq!(at(&table, &["health".into(), "interval_ms".into()]), Some(&Value::Integer(250)), "{text}");
    }

    #[test]
    fn what_the_stack_relies_on_is_put_back_and_said() {
        let dir = folder();
        edit(dir.path(), "127.0.0.1:8000", "127.0.0.1:9999");
        let (text, notes) = again(dir.path(), GENERATED);
        assert_eq!(text, GENERATED);
        assert!(matches!(&*notes, [note] if note.contains("server.listen")), "{notes:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_and_kept() {
        let dir = folder();
        edit(dir.path(), "interval_ms = 1000", "interval_ms = ");
        let broken = fs::read_to_string(dir.path().join(FILE)).expect("read");
        let error = write(dir.path(), GENERATED).expect_err("refused").to_string();
        assert!(error.contains("gateway.toml") && error.contains("line 6") && error.contains("remove it"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).expect("read"), broken);
    }

    #[test]
    fn the_file_of_an_older_version_is_kept_aside() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(FILE), "[lab]\nenabled = true\n").expect("written");
        let (text, notes) = again(dir.path(), GENERATED);
        assert_eq!(text, GENERATED);
        assert!(matches!(&*notes, [note] if note.contains(BEFORE)), "{notes:?}");
        assert_eq!(fs::read_to_string(dir.path().join(BEFORE)).expect("kept"), "[lab]\nenabled = true\n");
    }
}
