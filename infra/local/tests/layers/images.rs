//! What a program embeds by `include_str!` from another folder is in its image's build, too.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::imports::files_in;

/// The folders of the crates that the Dockerfile builds.
const CRATES: [&str; 6] =
    ["proto-contracts", "service-kit", "services", "gateway", "infra/local", "loadtest"];

/// The included files that the Dockerfile does not copy, or that `.dockerignore` leaves out.
pub(crate) fn faults(root: &Path) -> Result<Vec<String>> {
    let copied = copied(&fs::read_to_string(root.join("infra/compose/Dockerfile"))?);
    let sent = sent(&fs::read_to_string(root.join(".dockerignore"))?);
    let mut found = Vec::new();
    for folder in CRATES {
        for path in files_in(&root.join(folder))? {
            let within = path.strip_prefix(root)?;
            if within.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            for name in included(&fs::read_to_string(&path)?) {
                let file = plain(&within.with_file_name("").join(name));
                for (list, what) in [(&copied, "the Dockerfile"), (&sent, ".dockerignore")] {
                    if !list.iter().any(|part| file.starts_with(part)) {
                        let (from, file) = (within.display(), file.display());
                        found.push(format!("{from} includes {file}, which {what} leaves out"));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The names in `include_str!` and `include_bytes!` of a file, without those of its tests.
pub(crate) fn included(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    let begin = ["include_str!(\"", "include_bytes!(\""];
    let after = begin.into_iter().flat_map(|macro_| text.split(macro_).skip(1));
    after.filter_map(|rest| rest.split('"').next()).collect()
}

/// What `COPY` takes from the context. A manifest alone is not the crate.
fn copied(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let of_context = lines.filter(|line| !line.starts_with("--from"));
    let mut sources = Vec::new();
    for line in of_context {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.pop();
        sources.extend(words.into_iter().map(str::to_owned));
    }
    sources
}

fn sent(dockerignore: &str) -> Vec<String> {
    dockerignore.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}
