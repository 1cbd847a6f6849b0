//! The rules for imports and the length of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::imports::{Crate, Imports, files_in};

/// Maximum lines of a file.
const MAX_LINES: usize = 450;

/// The layer of each top-level module of a crate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layers(BTreeMap<String, u32>);

impl Layers {
    /// Reads the rows `| crate | layer | modules |` of a crate from the section "Layers". `None`
    /// when there is none.
    pub(crate) fn parse(document: &str, name: &str) -> Option<Self> {
        let (_, section) = document.split_once("\n## Layers\n")?;
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut layers = BTreeMap::new();
        for row in section.lines() {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let ["", of, layer, modules, ""] = cells[..] else { continue };
            if let (true, Ok(layer)) = (of == name, layer.parse::<u32>()) {
                // What is in backticks is a module.
                layers.extend(
                    modules.split('`').skip(1).step_by(2).map(|module| (module.to_owned(), layer)),
                );
            }
        }
        (!layers.is_empty()).then_some(Self(layers))
    }
}

/// Every import that the layers forbid, every cycle between files, and every module without a
/// layer.
pub(crate) fn faults(sources: &Crate, Layers(layers): &Layers) -> Vec<String> {
    let imports = sources.imports();
    let modules: BTreeSet<_> =
        imports.keys().map(|module| top(module)).filter(|module| !module.is_empty()).collect();
    let unplaced = modules.iter().filter(|module| !layers.contains_key(**module));
    let mut found: Vec<_> =
        unplaced.map(|module| format!("{module} has no layer in the table")).collect();
    let gone = layers.keys().filter(|module| !modules.contains(module.as_str()));
    found.extend(gone.map(|module| format!("the table has {module}, which the crate has not")));
    for (from, others) in &imports {
        for to in others {
            let [Some(layer), Some(lower)] = [from, to].map(|module| layers.get(top(module)))
            else {
                continue;
            };
            if top(from) != top(to) && layer <= lower {
                found.push(format!(
                    "{} imports {}, from layer {layer} to layer {lower}",
                    file(from),
                    file(to)
                ));
            }
        }
    }
    found.extend(cycles(&imports));
    found
}

/// The files below a folder that are too long.
pub(crate) fn long_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files_in(folder)? {
        let lines = fs::read_to_string(&path)?.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{} has {lines} lines; {MAX_LINES} are the most", path.display()));
        }
    }
    Ok(found)
}

/// For each import that is part of a cycle, the shortest cycle that it is part of.
fn cycles(imports: &Imports) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (from, others) in imports {
        for to in others {
            let Some(mut cycle) = shortest_path(imports, to, from) else { continue };
            // The same cycle is found from each of its imports.
            let first = cycle
                .iter()
                .enumerate()
                .min_by_key(|(_, module)| *module)
                .map_or(0, |(place, _)| place);
            cycle.rotate_left(first);
            let files: Vec<_> =
                cycle.iter().chain(cycle.first()).map(|module| file(module)).collect();
            found.insert(format!("these files import each other: {}", files.join(" → ")));
        }
    }
    found
}

/// The modules on the shortest way by imports, both ends included.
fn shortest_path(imports: &Imports, from: &str, to: &str) -> Option<Vec<String>> {
    let mut paths = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let Some(last) = path.last() else { continue };
            if last == to {
                return Some(path);
            }
            for next in imports.get(last).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    longer.push([path.clone(), vec![next.clone()]].concat());
                }
            }
        }
        paths = longer;
    }
    None
}

fn top(module: &str) -> &str {
    module.split('/').next().unwrap_or_default()
}

fn file(module: &str) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { format!("{module}.rs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# A\n\n## Layers\n\nWords.\n\n| crate | layer | modules |\n\
                         | --- | --- | --- |\n\
                         | a | 3 | `top` |\n| a | 2 | `middle`, `beside` |\n| b | 9 | `low` |\n\
                         | a | 1 | `low` |\n\n## B\n";

    fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
        let mut sources = Crate::default();
        for module in ["", "top", "middle", "beside", "low"] {
            sources.append(module, "");
        }
        for (module, text) in files {
            sources.append(module, text);
        }
        faults(&sources, &Layers::parse(TABLE, "a").expect("a table"))
    }

    #[test]
    fn imports_downwards_are_fine() {
        let fine = faults_of(&[
            (
                "top",
                "use crate::{middle::Thing, low as ground}; \
                 fn f() { crate::beside::g(); ground::h(); }",
            ),
            ("middle", "mod part; pub use part::Thing;"),
            ("middle/part", "use super::super::low::X; pub struct Thing;"),
        ]);
        assert!(fine.is_empty(), "{fine:?}");
    }

    #[test]
    fn imports_upwards_or_on_the_same_layer_are_found_in_any_syntax() {
        for (module, text) in [
            ("low", "use crate::middle::Thing;"),
            ("low", "use crate::{middle::{self, Thing}};"),
            ("low", "fn f() -> crate::middle::Thing { todo() }"),
            ("low", "use super::middle;"),
            ("beside", "use crate::middle::Thing;"),
        ] {
            let found = faults_of(&[("middle", "pub struct Thing;"), (module, text)]);
            let expected = format!("{module}.rs imports middle.rs, from layer ");
            assert!(matches!(&found[..], [one] if one.starts_with(&expected)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_module_that_is_only_a_folder_has_a_layer_too() {
        let found =
            faults_of(&[("beside/part", "pub struct A;"), ("low", "use crate::beside::part::A;")]);
        assert_eq!(found, ["low.rs imports beside/part.rs, from layer 1 to layer 2"]);
        let mut sources = Crate::default();
        sources.append("", "pub mod top { pub mod part; }");
        sources.append("top/part", "pub struct A;");
        sources.append("low", "use crate::top::part::A;");
        let found = faults(
            &sources,
            &Layers(BTreeMap::from([("top".to_owned(), 2), ("low".to_owned(), 1)])),
        );
        assert_eq!(found, ["low.rs imports top/part.rs, from layer 1 to layer 2"]);
    }

    #[test]
    fn files_that_import_each_other_are_found_and_longer_cycles_too() {
        let two = faults_of(&[
            ("middle", "mod part; use part::A; pub struct B;"),
            ("middle/part", "use crate::middle::B; pub struct A;"),
        ]);
        assert_eq!(two, ["these files import each other: middle.rs → middle/part.rs → middle.rs"]);
        let three = faults_of(&[
            ("middle", "mod a; mod b; mod c;"),
            ("middle/a", "use super::b::B; pub struct A;"),
            ("middle/b", "use super::c::C; pub struct B;"),
            ("middle/c", "use super::a::A; pub struct C;"),
        ]);
        assert_eq!(
            three,
            ["these files import each other: middle/a.rs → middle/b.rs → middle/c.rs → \
                 middle/a.rs"]
        );
    }

    #[test]
    fn a_re_export_counts_as_an_import_where_the_name_is_used() {
        let part = ("middle/part", "use crate::middle::B; pub struct A;");
        let listed = faults_of(&[("middle", "mod part; pub use part::A; pub struct B;"), part]);
        assert!(listed.is_empty(), "{listed:?}");
        let used = faults_of(&[("middle", "mod part; pub use part::A; pub struct B(A);"), part]);
        assert_eq!(used.len(), 1, "{used:?}");
        // An import of a re-export is an import of the file that defines it.
        let through = faults_of(&[
            ("middle", "mod part; mod other; pub use part::A; pub use other::C;"),
            ("middle/part", "use crate::middle::C; pub struct A;"),
            ("middle/other", "use crate::middle::A; pub struct C;"),
        ]);
        assert_eq!(
            through,
            ["these files import each other: middle/other.rs → middle/part.rs → middle/other.rs"]
        );
    }

    #[test]
    fn test_code_may_import_anything() {
        let found = faults_of(&[
            ("low", "#[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::top::X; }"),
            ("low/tests", "use crate::top::X;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn the_table_and_the_crate_have_the_same_modules() {
        let found = faults_of(&[("stray", "")]);
        assert_eq!(found, ["stray has no layer in the table"]);
        let mut sources = Crate::default();
        sources.append("low", "");
        let found = faults(&sources, &Layers::parse(TABLE, "b").expect("a table"));
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(Layers::parse(TABLE, "c"), None);
    }

    #[test]
    fn a_long_file_is_found() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("fine.rs"), "\n".repeat(MAX_LINES))?;
        assert!(long_files(folder.path())?.is_empty());
        fs::write(folder.path().join("long.rs"), "\n".repeat(MAX_LINES + 1))?;
        assert!(matches!(&long_files(folder.path())?[..], [one] if one.contains("has 451 lines")));
        Ok(())
    }
}
