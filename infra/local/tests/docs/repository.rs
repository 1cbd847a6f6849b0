//! The sources, which define the names, and the programs, which check command lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use local_stack::Builds;

/// Folders and files where names are defined. Not the tests, which contain invalid names.
const SOURCES: [&str; 8] = [
    "gateway/src",
    "gateway/config",
    "services",
    "service-kit/src",
    "proto-contracts/src",
    "infra",
    "loadtest/src",
    "Makefile",
];

pub(crate) struct Repository {
    root: PathBuf,
    builds: Builds,
    /// Each word of the sources.
    words: BTreeSet<String>,
    /// By section, the keys of the gateway's configuration.
    pub(crate) settings: BTreeMap<String, BTreeSet<String>>,
    /// The targets of the Makefile, and the variables that it takes.
    pub(crate) targets: BTreeSet<String>,
    pub(crate) variables: BTreeSet<String>,
    /// The sources of the local stack.
    pub(crate) stack: String,
    /// The services of all Compose files.
    pub(crate) services: BTreeSet<String>,
    /// Those of `compose.yaml`.
    pub(crate) base_services: BTreeSet<String>,
}

impl Repository {
    pub(crate) fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let mut words = BTreeSet::new();
        for source in SOURCES {
            each_text(&root.join(source), &mut |text| {
                words.extend(super::reader::words(text).map(str::to_owned))
            })?;
        }
        let mut stack = String::new();
        each_text(&root.join("infra/local/src"), &mut |text| stack.push_str(text))?;
        let makefile = fs::read_to_string(root.join("Makefile"))?;
        let target = |line: &str| {
            let (target, _) = line.split_once(':').filter(|(_, rest)| !rest.starts_with('='))?;
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let plain = !target.is_empty() && target.bytes().all(is_plain);
            plain.then(|| target.to_owned())
        };
        let variables = makefile.split("$(").skip(1).filter_map(|rest| {
            let (name, _) = rest.trim_start_matches("or ").split_once([')', ','])?;
            Some(name.to_owned())
        });
        Ok(Self {
            settings: settings(&fs::read_to_string(root.join("gateway/config/gateway.toml"))?),
            targets: makefile.lines().filter_map(target).collect(),
            variables: variables.collect(),
            services: services(&root)?,
            base_services: services_of(&fs::read_to_string(
                root.join("infra/compose/compose.yaml"),
            )?),
            builds: Builds::beside_current_exe()?,
            words,
            stack,
            root,
        })
    }

    pub(crate) fn text(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// The names of all targets of tests: a folder `tests/NAME` of a member of the workspace.
    pub(crate) fn test_targets(&self) -> Result<BTreeSet<String>> {
        let manifest: toml::Table = self.text("Cargo.toml")?.parse()?;
        let members = manifest["workspace"]["members"].as_array().context("no members")?;
        let mut names = BTreeSet::new();
        for member in members {
            let tests = self.root.join(member.as_str().context("a path")?).join("tests");
            for entry in fs::read_dir(&tests).with_context(|| tests.display().to_string())? {
                let folder = entry?.path();
                if folder.join("main.rs").exists() {
                    names
                        .extend(folder.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
            }
        }
        Ok(names)
    }

    /// The paths of all documents.
    pub(crate) fn pages(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for folder in ["", "docs", "docs/adr"] {
            for entry in fs::read_dir(self.root.join(folder))? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".md") {
                    found.push(Path::new(folder).join(name).to_string_lossy().into_owned());
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Calls `read` with the text of each file below a folder, if there is such a folder.
    pub(crate) fn each_text(&self, folder: &str, read: &mut dyn FnMut(&str)) -> Result<()> {
        each_text(&self.root.join(folder), read)
    }

    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    /// Runs one of our programs while no system is running.
    pub(crate) fn run(&self, program: &'static str, arguments: &[String]) -> Result<Output> {
        let mut command = Command::new(self.builds.binary(program)?);
        // Nothing listens on port 1.
        command.env_clear().env("GATEWAY_CONTROL", "http://127.0.0.1:1").args(arguments);
        Ok(command.current_dir(&self.root).output()?)
    }
}

/// Calls `read` with the text of each file.
fn each_text(path: &Path, read: &mut dyn FnMut(&str)) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            let name = entry.file_name().unwrap_or_default();
            // Programs of others, such as Swagger UI, have any word.
            let foreign = name == "node_modules" || name.to_string_lossy().starts_with("swagger");
            if name != "tests" && name != "target" && !foreign {
                each_text(&entry, read)?;
            }
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        read(&text);
    }
    Ok(())
}

/// The file lists every setting; those without a default are comments.
fn settings(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            section = name.to_owned();
            found.entry(section.clone()).or_default();
        } else if let Some((key, _)) = line.split_once(" = ") {
            found.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    found
}

fn services(root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root.join("infra/compose"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        found.extend(services_of(&fs::read_to_string(&path)?));
    }
    Ok(found)
}

fn services_of(compose: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_services = false;
    for line in compose.lines() {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            in_services = line == "services:";
        }
        let name = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
            .and_then(|line| line.split_once(':'));
        if let Some((name, _)) = name.filter(|_| in_services) {
            found.insert(name.to_owned());
        }
    }
    found
}
