//! Commands and names in the documents must exist: commands are run, and names are looked up in the
//! sources. A wrong name is reported with its line.

mod asvs;
mod commands;
mod evidence;
mod names;
mod plan;
mod reader;
mod repository;
mod settings;

use anyhow::{Context, Result};

use repository::Repository;

/// The documents for users and operators.
const DOCUMENTS: [&str; 12] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/TOUR.md",
    "docs/ARCHITECTURE.md",
    "docs/API.md",
    "docs/SETTINGS.md",
    "docs/MIGRATION.md",
    "docs/SESSIONS.md",
    "docs/DEPLOYMENT.md",
    "docs/KUBERNETES.md",
    "docs/SERVER.md",
    "docs/RUNBOOK.md",
];
/// Maximum words of a paragraph.
const MAX_WORDS: usize = 90;
/// The pages with paragraphs of limited length.
const PROSE: [&str; 4] = ["README.md", "CONTRIBUTING.md", "docs/TOUR.md", "docs/ARCHITECTURE.md"];

/// Every fault of a document, each with its line.
fn faults(repository: &Repository, path: &str, text: &str) -> Vec<String> {
    let pieces = reader::pieces(text);
    let found = pieces.iter().flat_map(|piece| {
        let faults =
            commands::faults(repository, piece).into_iter().chain(names::faults(repository, piece));
        faults.map(|fault| (piece.line, fault))
    });
    let mut found: Vec<_> = found.chain(names::broken_links(repository, path, text)).collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(line, fault)| format!("{path}:{line}: {fault}")).collect()
}

#[test]
fn every_command_and_every_name_of_the_documents_exists() -> Result<()> {
    let repository = Repository::read()?;
    let mut found = Vec::new();
    for path in DOCUMENTS {
        found.extend(faults(&repository, path, &repository.text(path)?));
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn every_link_of_every_document_resolves() -> Result<()> {
    let repository = Repository::read()?;
    let mut found = Vec::new();
    for path in repository.pages()? {
        let text = repository.text(&path)?;
        found.extend(
            names::broken_links(&repository, &path, &text)
                .into_iter()
                .map(|fault| (path.clone(), fault)),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn paragraphs_are_short() -> Result<()> {
    let repository = Repository::read()?;
    let mut found = Vec::new();
    for path in PROSE {
        let paragraphs = reader::paragraphs(&repository.text(path)?);
        let long = paragraphs.into_iter().filter(|(_, words)| *words > MAX_WORDS);
        found.extend(long.map(|(line, words)| format!("{path}:{line}: {words} words")));
    }
    assert!(found.is_empty(), "longer than {MAX_WORDS} words:\n{}", found.join("\n"));
    Ok(())
}

/// The gateway accepts the files that containers start it with.
#[test]
fn the_gateways_files_of_infra_are_valid() -> Result<()> {
    let repository = Repository::read()?;
    for file in ["infra/compose/gateway.toml", "infra/k8s/base/gateway.toml"] {
        let arguments = ["--check-config", "--config", file].map(str::to_owned);
        let output = repository.run("gateway", &arguments)?;
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// `make help` and `make help-all` print what follows the marker.
#[test]
fn every_target_of_the_makefile_has_help() -> Result<()> {
    let repository = Repository::read()?;
    let makefile = repository.text("Makefile")?;
    let has_help = |target: &str| {
        let rule = format!("{target}:");
        makefile.lines().any(|line| line.starts_with(&rule) && line.contains("## "))
    };
    let without: Vec<_> = repository.targets.iter().filter(|target| !has_help(target)).collect();
    assert!(without.is_empty(), "targets without help: {without:?}");
    Ok(())
}

/// It names them, since the end-to-end tests run with more threads than the others.
#[test]
fn make_test_runs_every_target_of_tests() -> Result<()> {
    let repository = Repository::read()?;
    let makefile = repository.text("Makefile")?;
    let (_, recipe) = makefile.split_once("\ntest: ").context("no target 'test'")?;
    let (recipe, _) = recipe.split_once("\n\n").context("no end of the target 'test'")?;
    let is_run = |name: &str| recipe.split_whitespace().any(|word| word == name);
    let targets = repository.test_targets()?;
    assert!(targets.contains("e2e"), "{targets:?}");
    // Their tests are all ignored: `make test-ui` and `make test-clients` run them.
    let elsewhere = ["ui", "clients"];
    let missing: Vec<_> = targets
        .iter()
        .filter(|name| !elsewhere.contains(&name.as_str()) && !is_run(name))
        .collect();
    assert!(missing.is_empty(), "not run by `make test`: {missing:?}");
    Ok(())
}

/// Each kind of fault is found, at its line.
#[test]
fn a_wrong_name_is_found_with_its_line() -> Result<()> {
    let repository = Repository::read()?;
    let wrong = [
        ("503 `no_healthy_upstream`", "no_healthy_upstream"),
        ("422 `session_store_unavailable`", "is 503, not 422"),
        ("`make rol i=stateful-2`", "no target 'rol'"),
        ("`make roll instance=stateful-2`", "no variable 'instance'"),
        ("`make ctl args='remove stateful stateful-2'`", "remove stateful stateful-2"),
        ("`gateway ctl drain stateful-2 --gently`", "--gently"),
        ("`gateway --check-configuration`", "--check-configuration"),
        ("`infra/compose/compose.sh roll nginx-3`", "no service 'nginx-3'"),
        ("`infra/compose/restore.sh`", "infra/compose/restore.sh"),
        ("`GATEWAY_STATELESS_DISCOVERY`", "GATEWAY_STATELESS_DISCOVERY"),
        ("`[server] announce_ms`", "[server] announce_ms"),
        ("`[servers] announce_s`", "[servers]"),
        ("`gateway_configuration_info{fingerprint}`", "gateway_configuration_info"),
        ("the event `drain_advanced`", "drain_advanced"),
        ("`http://127.0.0.1:8001/control/v1/relaod`", "relaod"),
        ("`http://127.0.0.1:7999/targets`", "port 7999"),
        ("`.local/gateway.conf`", ".local/gateway.conf"),
        ("[there](RUNBOOK.md#instance-down)", "#instance-down"),
        ("[there](RUNBOOKS.md)", "RUNBOOKS.md"),
    ];
    for (text, named) in wrong {
        let document = format!("# A page\n\nSome words.\nThen {text} stands here.\n");
        let found = faults(&repository, "docs/PAGE.md", &document);
        let here = found.iter().all(|fault| fault.starts_with("docs/PAGE.md:4: "));
        assert!(here && found.iter().any(|fault| fault.contains(named)), "{text}: {found:?}");
    }
    // In a block of commands, too.
    let block = "# A page\n\n```sh\nmake status\nmake stats\n```\n";
    let found = faults(&repository, "docs/PAGE.md", block);
    assert!(
        matches!(&*found, [one] if one.starts_with("docs/PAGE.md:5: ") && one.contains("'stats'")),
        "{found:?}"
    );
    Ok(())
}
