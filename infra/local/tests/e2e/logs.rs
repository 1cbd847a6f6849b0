//! The components' logs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use serde_json::Value;

use crate::until::until;

/// Every log of the stack, by file name.
pub(crate) fn all(stack: &Stack) -> Result<Vec<(String, String)>> {
    let files = fs::read_dir(stack.state_dir().join("logs"))?;
    files
        .map(|file| {
            let path: PathBuf = file?.path();
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            // Log collectors require UTF-8.
            let text = String::from_utf8(fs::read(&path)?).with_context(|| name.clone())?;
            Ok((name, text))
        })
        .collect()
}

/// Waits until a component's log contains this text: logs are written in batches.
pub(crate) async fn await_line(stack: &Stack, file: &str, text: &str) -> Result<()> {
    let path = stack.state_dir().join("logs").join(file);
    until(&format!("'{text}' in {file}"), || async {
        Ok(fs::read_to_string(&path)?.contains(text).then_some(()))
    })
    .await
}

/// Fails when a log has a new line above `warn` since `before`, by each log's own format.
pub(crate) fn nothing_above_warn_since(before: &[(String, String)], stack: &Stack) -> Result<()> {
    for (file, text) in all(stack)? {
        let old = before.iter().find(|(name, _)| *name == file).map_or(0, |(_, text)| text.len());
        let new = text.get(old..).with_context(|| format!("{file} was truncated"))?;
        for line in new.lines() {
            ensure!(!is_above_warn(&file, line), "{file}: {line}");
        }
    }
    Ok(())
}

fn is_above_warn(file: &str, line: &str) -> bool {
    match file {
        "postgres.log" => ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| line.contains(level)),
        "nginx.log" => {
            ["[error]", "[crit]", "[alert]", "[emerg]"].iter().any(|level| line.contains(level))
        }
        // Redis has no level above warning.
        "redis-sessions.log" | "redis-cache.log" => false,
        // No levels, but every line must be JSON.
        "nginx-access.log" => serde_json::from_str::<Value>(line).is_err(),
        // A line that is not JSON is a panic or an abort.
        _ => serde_json::from_str::<Value>(line).map_or(true, |line| {
            !["TRACE", "DEBUG", "INFO", "WARN"].iter().any(|level| line["level"] == *level)
        }),
    }
}
