//! Which file of a crate imports which other, by its `use` declarations and its paths.
//!
//! A path is followed through re-exports to the file that defines the item. A re-export alone is no
//! import; it is one if the file uses the name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::tokens::{tokens, without_tests};

/// The files of a crate by their modules: `pool/registry`, and nothing for its root.
#[derive(Default)]
pub(crate) struct Crate {
    texts: BTreeMap<String, String>,
}

/// By module, the modules that it imports from.
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

impl Crate {
    /// Reads the crate in this folder. A program beside a library is a crate of its own and is left
    /// out.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let root = if folder.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
        let mut sources = Self::default();
        for path in files_in(folder)? {
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            let module = name.strip_suffix(".rs").unwrap_or(&name);
            let module = if name == root { "" } else { module };
            if module != "main" && !name.starts_with("bin/") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                sources.append(module, &text);
            }
        }
        Ok(sources)
    }

    /// Adds text to the file of a module.
    pub(crate) fn append(&mut self, module: &str, text: &str) {
        self.texts.entry(module.to_owned()).or_default().push_str(text);
    }

    /// The modules, test modules left out, and what each imports.
    pub(crate) fn imports(&self) -> Imports {
        let mut files = BTreeMap::new();
        let mut test_files = BTreeSet::new();
        for (module, text) in &self.texts {
            let (kept, tests) = without_tests(&tokens(text));
            test_files.extend(tests.into_iter().map(|test| joined(module, &test)));
            files.insert(module.as_str(), File::parse(&kept));
        }
        let is_test =
            |module: &str| test_files.iter().any(|test| module == test || is_below(module, test));
        files.retain(|module, _| !is_test(module));
        let resolved = |(module, file): (&&str, &File)| {
            let paths = file.imported(|name| is_module(&files, &joined(module, name)));
            let modules = paths.into_iter().filter_map(|path| resolve(&files, module, &path, 0));
            ((*module).to_owned(), modules.filter(|other| other != module).collect())
        };
        files.iter().map(resolved).collect()
    }
}

/// Every Rust file below a folder.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// A path as its segments.
type Segments = Vec<String>;

#[derive(Default)]
struct File {
    /// The paths of private `use` declarations, by the names that they bind.
    uses: Vec<(String, Segments)>,
    /// The paths of public `use` declarations, by name.
    exports: BTreeMap<String, Segments>,
    /// All other paths.
    paths: Vec<Segments>,
    words: BTreeSet<String>,
}

impl File {
    fn parse(tokens: &[String]) -> Self {
        let (mut file, mut at, mut is_public) = (Self::default(), 0, false);
        while at < tokens.len() {
            match tokens[at].as_str() {
                "pub" => {
                    is_public = true;
                    at += 1;
                    // `pub(in crate::pool)` imports nothing.
                    if tokens.get(at).is_some_and(|token| token == "(") {
                        at += tokens[at..]
                            .iter()
                            .position(|token| token == ")")
                            .map_or(1, |end| end + 1);
                    }
                    continue;
                }
                "use" => {
                    let end = at
                        + tokens[at..]
                            .iter()
                            .position(|token| token == ";")
                            .unwrap_or(tokens.len() - at);
                    let found = tree(&[], &tokens[at + 1..end]);
                    if is_public {
                        file.exports.extend(found)
                    } else {
                        file.uses.extend(found)
                    }
                    at = end;
                }
                // A declaration is no use of the name.
                "mod" => at += 1,
                word if is_word(word) => {
                    let end = end_of_path(tokens, at);
                    let path: Segments =
                        tokens[at..end].iter().filter(|token| *token != "::").cloned().collect();
                    file.words.insert(path[0].clone());
                    if path.len() > 1 {
                        file.paths.push(path);
                    }
                    at = end - 1;
                }
                _ => {}
            }
            is_public = false;
            at += 1;
        }
        file
    }

    /// Every path that it uses, beginning with `crate`, `super`, `self` or a child.
    fn imported(&self, is_child: impl Fn(&str) -> bool) -> Vec<Segments> {
        let used = self.exports.iter().filter(|(name, _)| self.words.contains(*name));
        let mut found: Vec<_> = self.uses.iter().map(|(_, path)| path.clone()).collect();
        found.extend(used.map(|(_, path)| path.clone()));
        let bound: BTreeMap<_, _> =
            self.exports.iter().chain(self.uses.iter().map(|(name, path)| (name, path))).collect();
        for path in &self.paths {
            let head = path[0].as_str();
            if matches!(head, "crate" | "super" | "self") || is_child(head) {
                found.push(path.clone());
            } else if let Some(&begin) = bound.get(&path[0]) {
                found.push(begin.iter().chain(&path[1..]).cloned().collect());
            }
        }
        found
    }
}

/// The module whose file defines what the path names; `None` for another crate's.
fn resolve(
    files: &BTreeMap<&str, File>,
    from: &str,
    path: &[String],
    depth: usize,
) -> Option<String> {
    let mut module = match path.first()?.as_str() {
        "crate" => String::new(),
        "super" => parent(from).to_owned(),
        "self" => from.to_owned(),
        child if is_module(files, &joined(from, child)) => joined(from, child),
        _ => return None,
    };
    let mut rest = &path[1..];
    while let Some((segment, further)) = rest.split_first() {
        let child = joined(&module, segment);
        module = match segment.as_str() {
            "super" => parent(&module).to_owned(),
            _ if is_module(files, &child) => child,
            _ => break,
        };
        rest = further;
    }
    // The limit of the depth is for re-exports that refer to each other.
    let export = rest
        .first()
        .and_then(|name| files.get(module.as_str())?.exports.get(name))
        .filter(|_| depth < 8);
    let followed = export
        .and_then(|export| resolve(files, &module, &[export, &rest[1..]].concat(), depth + 1));
    followed.or(Some(module))
}

/// Whether it is a module: a file, or a folder whose module is declared inline.
fn is_module(files: &BTreeMap<&str, File>, module: &str) -> bool {
    files.contains_key(module) || files.keys().any(|file| is_below(file, module))
}

/// The leaves of a `use` tree, each with the name that it binds.
fn tree(prefix: &[String], tokens: &[String]) -> Vec<(String, Segments)> {
    let mut path = prefix.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "::" => {}
            "{" => {
                let inner = &tokens[at + 1..tokens.len().saturating_sub(1)];
                return branches(inner)
                    .into_iter()
                    .flat_map(|branch| tree(&path, branch))
                    .collect();
            }
            "as" => {
                let name = tokens.get(at + 1).cloned().unwrap_or_default();
                return vec![(name, path)];
            }
            "self" if !path.is_empty() => {}
            segment => path.push(segment.to_owned()),
        }
    }
    path.last().cloned().map(|name| (name, path)).into_iter().collect()
}

/// The parts between commas that are in no inner braces.
fn branches(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let parts = tokens.split(|token| {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && token == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn end_of_path(tokens: &[String], start: usize) -> usize {
    let mut end = start + 1;
    while let [colons, word, ..] = &tokens[end..]
        && colons == "::"
        && is_word(word)
    {
        end += 2;
    }
    end
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn joined(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}/{child}") }
}

fn parent(module: &str) -> &str {
    module.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(module: &str, above: &str) -> bool {
    module.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
