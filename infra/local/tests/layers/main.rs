//! Modules are in layers: a module imports only from layers below its own, no files import each
//! other, and files are short. The table of layers is in `docs/ARCHITECTURE.md`; a test per crate
//! checks the sources against it. What they include must be in the build of the images, too.

mod images;
mod imports;
mod rules;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use imports::Crate;
use rules::Layers;

/// The root of the repository.
fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?)
}

/// The layers of the crate, from the table in the document.
fn layers(name: &str) -> Result<Layers> {
    let document = fs::read_to_string(root()?.join("docs/ARCHITECTURE.md"))?;
    let layers = Layers::parse(&document, name);
    layers.with_context(|| format!("docs/ARCHITECTURE.md, section Layers, has no rows for {name}"))
}

/// Fails with every fault of the crate in this folder.
fn check(name: &str, folder: &str) -> Result<()> {
    let folder = root()?.join(folder);
    let sources = Crate::read(&folder.join("src"))?;
    let mut faults = rules::faults(&sources, &layers(name)?);
    for part in ["src", "tests"] {
        faults.extend(rules::long_files(&folder.join(part))?);
    }
    assert!(faults.is_empty(), "{} faults in {name}:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

#[test]
fn gateway_keeps_its_layers() -> Result<()> {
    check("gateway", "gateway")
}

#[test]
fn loadtest_keeps_its_layers() -> Result<()> {
    check("loadtest", "loadtest")
}

#[test]
fn local_stack_keeps_its_layers() -> Result<()> {
    check("local-stack", "infra/local")
}

/// The real sources plus an import of a higher layer.
#[test]
fn one_import_upwards_in_the_gateway_is_found() -> Result<()> {
    let mut sources = Crate::read(&root()?.join("gateway/src"))?;
    sources.append("pool", "use crate::server::Start;");
    let faults = rules::faults(&sources, &layers("gateway")?);
    let upwards = "pool.rs imports server.rs, from layer 3 to layer 11";
    assert!(faults.iter().any(|fault| fault == upwards), "{faults:#?}");
    Ok(())
}

#[test]
fn service_kit_keeps_its_layers() -> Result<()> {
    check("service-kit", "service-kit")
}

#[test]
fn proto_contracts_keeps_its_layers() -> Result<()> {
    check("proto-contracts", "proto-contracts")
}

#[test]
fn stateful_svc_keeps_its_layers() -> Result<()> {
    check("stateful-svc", "services/stateful-svc")
}

#[test]
fn stateless_svc_keeps_its_layers() -> Result<()> {
    check("stateless-svc", "services/stateless-svc")
}

#[test]
fn what_programs_include_is_in_the_build_of_the_images() -> Result<()> {
    let faults = images::faults(&root()?)?;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let text = "a(include_str!(\"../../x.sh\")); #[cfg(test)] include_str!(\"y\")";
    assert_eq!(images::included(text), ["../../x.sh"]);
    Ok(())
}
