//! Names: error codes, metrics, events, settings, variables, files, addresses, pages.

use std::collections::BTreeSet;
use std::path::Path;

use proto_contracts::ErrorCode;

use crate::reader::{Piece, words};
use crate::repository::Repository;

/// Names that other programs define.
const OF_OTHERS: [&str; 11] = [
    "aof_delayed_fsync",
    "client_tls_sslmode",
    "last_xact_replay_timestamp",
    "pg_dump",
    "pg_last_xact_replay_timestamp",
    "pg_stat_activity",
    "pg_stat_archiver",
    "pg_terminate_backend",
    "query_start",
    "server_tls_sslmode",
    "update_config",
];
/// Pages of Prometheus.
const PAGES_OF_OTHERS: [&str; 5] = ["targets", "alerts", "classic", "api", "query"];
/// Generated files, which Git ignores.
const MADE_HERE: [&str; 4] = [
    "infra/compose/.env",
    "infra/compose/backups",
    "infra/compose/secrets/production",
    "infra/monitoring/textfile",
];
/// Suffixes of a histogram's series.
const OF_METRICS: [&str; 3] = ["_bucket", "_count", "_sum"];

pub(crate) fn faults(repository: &Repository, piece: &Piece) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(setting(repository, &piece.code));
    found.extend(codes(piece));
    for part in piece.code.split_whitespace() {
        found.extend(file(repository, part));
        found.extend(address(repository, part));
    }
    // The words of a setting were looked up above.
    if !piece.code.starts_with('[') {
        found.extend(plain_names(repository, &piece.code));
    }
    found
}

/// `[section] key` and `[section]`.
fn setting(repository: &Repository, code: &str) -> Option<String> {
    let (section, key) = code.strip_prefix('[')?.split_once(']')?;
    let Some(keys) = repository.settings.get(section) else {
        return Some(format!("gateway.toml has no section [{section}]"));
    };
    let key = words(key).next()?;
    (!keys.contains(key)).then(|| format!("gateway.toml has no [{section}] {key}"))
}

/// `503 overloaded` in one piece, or a code after its status.
fn codes(piece: &Piece) -> Option<String> {
    let (status, name) = match piece.code.split_once(' ') {
        Some((status, name)) => (status, name),
        None => (&*piece.before, &*piece.code),
    };
    let status: u16 = status.parse().ok().filter(|status| (400..600).contains(status))?;
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return None;
    }
    match ErrorCode::ALL.iter().find(|code| code.as_str() == name) {
        None => Some(format!("there is no error code {name}")),
        Some(code) if code.status() != status => {
            Some(format!("{name} is {}, not {status}", code.status()))
        }
        Some(_) => None,
    }
}

/// Words in the form of our names: with underscores, in upper or lower case.
fn plain_names(repository: &Repository, code: &str) -> Vec<String> {
    // An abbreviation and a pattern are not whole names.
    let parts = code.split_whitespace().filter(|part| !part.contains(['…', '*', '/']));
    let all: BTreeSet<&str> = parts.flat_map(words).filter(|word| is_name(word)).collect();
    let unknown = all.into_iter().filter(|word| !is_known(repository, word));
    unknown.map(|word| format!("the sources do not contain {word}")).collect()
}

fn is_name(word: &str) -> bool {
    let inner = word.trim_matches('_');
    let one_case = |upper: bool| {
        inner.bytes().all(|b| {
            b == b'_'
                || b.is_ascii_digit()
                || if upper { b.is_ascii_uppercase() } else { b.is_ascii_lowercase() }
        })
    };
    inner.contains('_')
        && !inner.starts_with(|c: char| c.is_ascii_digit())
        && (one_case(true) || one_case(false))
}

fn is_known(repository: &Repository, word: &str) -> bool {
    if OF_OTHERS.contains(&word) || ErrorCode::ALL.iter().any(|code| code.as_str() == word) {
        return true;
    }
    // Events and other values are variants in the sources.
    let variant: String = word
        .split('_')
        .map(|part| {
            part.chars()
                .take(1)
                .flat_map(char::to_uppercase)
                .chain(part.chars().skip(1))
                .collect::<String>()
        })
        .collect();
    // Compose prefixes volumes with the project's name.
    if word.strip_prefix("tandem_").is_some_and(|volume| repository.services.contains(volume)) {
        return true;
    }
    let of_series = OF_METRICS.iter().filter_map(|suffix| word.strip_suffix(suffix));
    of_series.chain([word, &*variant]).any(|name| repository.has_word(name))
}

fn file(repository: &Repository, part: &str) -> Option<String> {
    let part = part.trim_matches(|c: char| "\"'(),;:".contains(c)).trim_end_matches('.');
    if part.contains('…') || part.contains('*') || part.contains('$') {
        return None;
    }
    if let Some(path) = part.strip_prefix(".local/") {
        let name = Path::new(path).file_name()?.to_str()?;
        // A log has the name of its component; curl makes the cookie jar.
        let made = name.ends_with(".log")
            || name == "jar"
            || repository.stack.contains(&format!("\"{name}\""));
        return (!made).then(|| format!("the local stack makes no .local/{path}"));
    }
    let top = part.split_once('/')?.0;
    let ours =
        ["infra", "gateway", "service-kit", "services", "proto-contracts", "docs", "loadtest"]
            .contains(&top);
    let made_here = MADE_HERE.iter().any(|made| part.starts_with(made));
    (ours && !made_here && !repository.has_file(part)).then(|| format!("there is no {part}"))
}

/// The port must be in the sources, and so must each word of the path.
fn address(repository: &Repository, part: &str) -> Option<String> {
    let part = part.trim_matches(|c: char| "\"'(),;<>".contains(c));
    let (_, rest) = part.split_once("http://127.0.0.1:")?;
    let (port, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    if !repository.has_word(&port) {
        return Some(format!("nothing listens on port {port}"));
    }
    let path = path.split('?').next().unwrap_or(path);
    let unknown =
        words(path).find(|word| !PAGES_OF_OTHERS.contains(word) && !repository.has_word(word))?;
    Some(format!("no path in the sources has '{unknown}'"))
}

/// Links to missing files or headings.
pub(crate) fn broken_links(
    repository: &Repository,
    path: &str,
    text: &str,
) -> Vec<(usize, String)> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for link in
            line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = folder.join(file);
            let page = if file.is_empty() {
                Ok(text.to_owned())
            } else {
                repository.text(&target.to_string_lossy())
            };
            let page = match page {
                Ok(page) => page,
                Err(_) if repository.has_file(&target.to_string_lossy()) => continue,
                Err(_) => {
                    found.push((index + 1, format!("there is no {link}")));
                    continue;
                }
            };
            let headings = page.lines().filter(|line| line.starts_with('#')).map(anchor_of);
            if !anchor.is_empty() && !headings.into_iter().any(|heading| heading == anchor) {
                found.push((index + 1, format!("no heading has the anchor of {link}")));
            }
        }
    }
    found
}

/// The anchor that GitHub generates for a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
