//! The gateway's configuration file. The stack generates it, and keeps an operator's edits.
//!
//! A copy of the last generated file lies beside it. A value that differs from that copy is an
//! edit.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use toml_edit::{DocumentMut, Item};

use crate::error::{Attempt, StackError};

const FILE: &str = "gateway.toml";
const GENERATED_FILE: &str = "gateway.written.toml";
/// Backup of a configuration file from an older version, which kept no copy of what it generated.
const BACKUP_FILE: &str = "gateway.before.toml";
/// Keys that the stack always sets: an operator's edit of one is reverted.
const STACK_KEYS: [&[&str]; 7] = [
    &["server", "listen"],
    &["server", "state_file"],
    &["server", "upgrade_sock"],
    &["control", "listen"],
    &["control", "peers"],
    &["pools", "stateless", "instances"],
    &["pools", "stateful", "instances"],
];

/// Writes the configuration into the folder and keeps an operator's edits. Returns the file's path,
/// and notes for the operator.
///
/// # Errors
/// [`StackError::Tool`] when the edited file is not TOML, else [`StackError::Io`].
pub(super) fn write(dir: &Path, generated: &str) -> Result<(PathBuf, Vec<String>), StackError> {
    let (file, last) = (dir.join(FILE), dir.join(GENERATED_FILE));
    let mut notes = Vec::new();
    let text = match (read(&file)?, read(&last)?) {
        (None, _) => generated.to_owned(),
        (Some(present), Some(base)) => merge(&file, &present, &base, generated, &mut notes)?,
        (Some(present), None) => {
            if present != generated {
                let before = dir.join(BACKUP_FILE);
                fs::write(&before, present).attempt(|| format!("write {}", before.display()))?;
                notes.push(format!(
                    "{} was replaced; the previous file is {}",
                    file.display(),
                    before.display()
                ));
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

/// Replaces a file atomically: an interruption must not lose an edit.
fn put(file: &Path, text: &str) -> Result<(), StackError> {
    let beside = file.with_extension("new");
    let cannot = || format!("write {}", file.display());
    fs::write(&beside, text).attempt(cannot)?;
    fs::rename(&beside, file).attempt(cannot)
}

/// Three-way merge: applies what changed from `base` to `generated` to `present`, except where an
/// operator edited the value. Comments and the order of keys are kept.
fn merge(
    file: &Path,
    present: &str,
    base: &str,
    generated: &str,
    notes: &mut Vec<String>,
) -> Result<String, StackError> {
    let unreadable = |detail: String| {
        let cure = format!("correct {} or remove it; then it is generated again", file.display());
        StackError::Tool {
            what: "reading the edited configuration of the gateway",
            detail: format!("{detail}\n{cure}"),
        }
    };
    let table = |text: &str| text.parse::<Table>().map_err(|error| unreadable(error.to_string()));
    let (edited, base, generated_table) = (table(present)?, table(base)?, table(generated)?);
    let mut document: DocumentMut =
        present.parse().map_err(|error: toml_edit::TomlError| unreadable(error.to_string()))?;
    let source: DocumentMut =
        generated.parse().map_err(|error: toml_edit::TomlError| unreadable(error.to_string()))?;
    for path in paths(&base, &generated_table) {
        let (was, now, is) = (at(&base, &path), at(&generated_table, &path), at(&edited, &path));
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let of_the_stack = STACK_KEYS.contains(&&*path);
        if is == now || is != was && !of_the_stack {
            continue;
        }
        if is != was {
            notes.push(format!(
                "{}: {} is set by the stack; the edit was reverted",
                file.display(),
                path.join(".")
            ));
        }
        set(&mut document, &source, &path);
    }
    Ok(document.to_string())
}

/// The key paths of all values of both tables. A table is not a value; the values in it are.
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

/// Copies the value at the path from `source`, or removes it if `source` has none.
fn set(document: &mut DocumentMut, source: &DocumentMut, path: &[&str]) {
    let Some((last, above)) = path.split_last() else { return };
    let value = path.iter().try_fold(source.as_item(), |item, key| item.get(key));
    let mut table = document.as_item_mut();
    for key in above {
        // Indexing creates a missing table.
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

/// Replaces a value and keeps the comment after it.
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

    const GENERATED: &str = "[server]\nlisten = \"127.0.0.1:8000\"\ngrace_period_s = 7\n\n\
                             [health]\ninterval_ms = 1000\n\n\
                             [pools.stateful]\nstrategy = \"sticky\"\n\
                             instances = [\"127.0.0.1:8201\"]\n";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, notes) = write(dir.path(), GENERATED).expect("written");
        assert_eq!(
            (fs::read_to_string(file).expect("read").as_str(), notes),
            (GENERATED, Vec::new())
        );
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
    fn an_unedited_file_is_regenerated() {
        let dir = folder();
        let more =
            GENERATED.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        assert_eq!(again(dir.path(), &more), (more.clone(), Vec::new()));
        assert_eq!(again(dir.path(), GENERATED), (GENERATED.to_owned(), Vec::new()));
    }

    #[test]
    fn edits_survive_upgrades_restarts_and_scaling() {
        let dir = folder();
        edit(dir.path(), "grace_period_s = 7", "# Our streams are long.\ngrace_period_s = 60 # s");
        edit(
            dir.path(),
            "[pools.stateful]",
            "[limits]\nmax_in_flight = 9 # few\n\n[pools.stateful]",
        );
        edit(dir.path(), "interval_ms = 1000\n", "");
        let edited = fs::read_to_string(dir.path().join(FILE)).expect("read");
        // A hot restart, and a stop and start.
        assert_eq!(again(dir.path(), GENERATED), (edited.clone(), Vec::new()));
        assert_eq!(again(dir.path(), GENERATED), (edited.clone(), Vec::new()));
        // The stack was scaled.
        let more =
            GENERATED.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        let expected =
            edited.replace("[\"127.0.0.1:8201\"]", "[\"127.0.0.1:8201\", \"127.0.0.1:8202\"]");
        assert_eq!(again(dir.path(), &more), (expected, Vec::new()));
    }

    #[test]
    fn generated_keys_are_added_and_removed_beside_edits() {
        let dir = folder();
        edit(dir.path(), "interval_ms = 1000", "interval_ms = 250");
        let lab = GENERATED.to_owned() + "bounded_load = 0.0\n\n[lab]\nenabled = true\n";
        let (text, notes) = again(dir.path(), &lab);
        let table: Table = text.parse().expect("TOML");
        assert_eq!(
            at(&table, &["lab".into(), "enabled".into()]),
            Some(&Value::Boolean(true)),
            "{text}"
        );
        assert_eq!(
            at(&table, &["health".into(), "interval_ms".into()]),
            Some(&Value::Integer(250)),
            "{text}"
        );
        assert_eq!(notes, Vec::<String>::new());
        let (text, _) = again(dir.path(), GENERATED);
        let table: Table = text.parse().expect("TOML");
        assert_eq!(
            at(&table, &["pools".into(), "stateful".into(), "bounded_load".into()]),
            None,
            "{text}"
        );
        assert_eq!(
            at(&table, &["health".into(), "interval_ms".into()]),
            Some(&Value::Integer(250)),
            "{text}"
        );
    }

    #[test]
    fn an_edit_of_a_stack_key_is_reverted_and_reported() {
        let dir = folder();
        edit(dir.path(), "127.0.0.1:8000", "127.0.0.1:9999");
        let (text, notes) = again(dir.path(), GENERATED);
        assert_eq!(text, GENERATED);
        assert!(matches!(&*notes, [note] if note.contains("server.listen")), "{notes:?}");
    }

    #[test]
    fn an_invalid_file_is_rejected_and_kept() {
        let dir = folder();
        edit(dir.path(), "interval_ms = 1000", "interval_ms = ");
        let invalid = fs::read_to_string(dir.path().join(FILE)).expect("read");
        let error = write(dir.path(), GENERATED).expect_err("refused").to_string();
        assert!(
            error.contains("gateway.toml")
                && error.contains("line 6")
                && error.contains("remove it"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).expect("read"), invalid);
    }

    #[test]
    fn the_file_of_an_older_version_is_backed_up() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(FILE), "[lab]\nenabled = true\n").expect("written");
        let (text, notes) = again(dir.path(), GENERATED);
        assert_eq!(text, GENERATED);
        assert!(matches!(&*notes, [note] if note.contains(BACKUP_FILE)), "{notes:?}");
        assert_eq!(
            fs::read_to_string(dir.path().join(BACKUP_FILE)).expect("kept"),
            "[lab]\nenabled = true\n"
        );
    }
}
