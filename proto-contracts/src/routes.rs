//! Resolves paths: the gateway and the services find an endpoint by the same function.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::affinity::AffinityKey;
use crate::api::{Endpoint, Templates};
use crate::path;
use crate::pool_name::PoolName;
use crate::session_id::SessionId;

/// A resolved path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The pool that serves it.
    pub pool: PoolName,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Whether it is a legacy path.
    pub is_legacy: bool,
    /// The affinity key of a well-formed session id in the path.
    pub key: Option<AffinityKey>,
    /// Where the template's `{…}` is in the path, as its first byte and the one after its last.
    parameter: (usize, usize),
}

impl Resolved {
    /// The template, for logs and metrics: it has no session id.
    pub fn template(&self) -> &'static str {
        let templates = self.endpoint.templates();
        if self.is_legacy {
            templates.legacy.unwrap_or(templates.canonical)
        } else {
            templates.canonical
        }
    }

    /// The decoded value of the template's `{…}` in the resolved path, which must be canonical;
    /// empty when the template has none.
    pub fn parameter<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let (start, end) = self.parameter;
        path::decoded(path.get(start..end).unwrap_or_default())
    }
}

/// Resolves a [canonical](path::canonical) path; `None` when no pool serves it. Does not allocate.
pub fn resolve(path: &str) -> Option<Resolved> {
    static TREES: LazyLock<Trees> = LazyLock::new(Trees::of_the_table);
    let trees = &*TREES;
    let (is_legacy, mut rest, mut node) = match path.as_bytes().strip_prefix(ROOT.as_bytes()) {
        Some(rest) => match rest.strip_prefix(VERSION.as_bytes()) {
            Some(rest) => (false, rest, &trees.canonical),
            None => (true, rest, &trees.legacy),
        },
        None => (false, path.as_bytes().strip_prefix(b"/")?, &trees.elsewhere),
    };
    let (mut pool, mut id, mut parameter) = (None, None, (0, 0));
    let endpoint = loop {
        let Some(step) = node.step(rest) else { break Endpoint::Unknown };
        node = step.to;
        if node.is_session_id {
            id = Some(step.segment);
        }
        if node.is_parameter {
            let start = path.len() - rest.len();
            parameter = (start, start + step.segment.len());
        }
        pool = node.pool.or(pool);
        match step.following {
            Some(following) => rest = following,
            // The prefix of a pool is none of its paths.
            None if node.pool.is_some() => break node.endpoint?,
            None => break node.endpoint.unwrap_or(Endpoint::Unknown),
        }
    };
    if endpoint == Endpoint::Unknown {
        (id, parameter) = (None, (0, 0));
    }
    let key = id.and_then(SessionId::affinity_key_of);
    Some(Resolved { pool: pool?, endpoint, is_legacy, key, parameter })
}

/// What the paths of the API begin with.
const ROOT: &str = "/api/";
/// What follows in canonical paths.
const VERSION: &str = "v1/";

/// The templates as trees of their segments. Own code rather than a crate: see ADR 22.
struct Trees {
    canonical: Node,
    legacy: Node,
    /// Paths that standards fix, outside the API's prefix.
    elsewhere: Node,
}

impl Trees {
    fn of_the_table() -> Self {
        let mut trees = Self {
            canonical: Node::default(),
            legacy: Node::default(),
            elsewhere: Node::default(),
        };
        for &endpoint in Endpoint::ALL {
            let Templates { canonical, legacy } = endpoint.templates();
            match canonical.strip_prefix(ROOT) {
                Some(rest) => trees.canonical.add(rest.trim_start_matches(VERSION), endpoint),
                None => trees.elsewhere.add(canonical.trim_start_matches('/'), endpoint),
            }
            if let Some(legacy) = legacy {
                trees.legacy.add(legacy.trim_start_matches(ROOT), endpoint);
            }
        }
        trees
    }
}

/// A segment of the templates.
#[derive(Default)]
struct Node {
    /// The pool, for a first segment: all templates that begin with it are the pool's.
    pool: Option<PoolName>,
    /// The endpoint whose template ends here.
    endpoint: Option<Endpoint>,
    /// Whether it stands for a parameter, and for a session's id.
    is_parameter: bool,
    is_session_id: bool,
    /// The literal segments that may follow.
    literals: Vec<(&'static str, Node)>,
    /// The parameter that may follow.
    parameter: Option<Box<Node>>,
}

/// A step from a node to one of the next.
struct Step<'a> {
    to: &'a Node,
    segment: &'a [u8],
    /// What follows the segment's slash, if there is one.
    following: Option<&'a [u8]>,
}

impl Node {
    fn add(&mut self, template: &'static str, endpoint: Endpoint) {
        let mut segments = template.split('/');
        let mut node = self.next_or_new(segments.next().unwrap_or_default());
        node.pool = endpoint.pool();
        for segment in segments {
            node = node.next_or_new(segment);
        }
        node.endpoint = Some(endpoint);
    }

    fn next_or_new(&mut self, segment: &'static str) -> &mut Self {
        if segment.starts_with('{') {
            let node = self.parameter.get_or_insert_default();
            node.is_parameter = true;
            node.is_session_id = segment == "{session_id}";
            return node;
        }
        let known = self.literals.iter().position(|(literal, _)| *literal == segment);
        let index = known.unwrap_or_else(|| {
            self.literals.push((segment, Self::default()));
            self.literals.len() - 1
        });
        &mut self.literals[index].1
    }

    /// The step with the first segment of the rest of a path.
    fn step<'a>(&'a self, rest: &'a [u8]) -> Option<Step<'a>> {
        for (literal, to) in &self.literals {
            // The end of the segment is compared first: it rules out most literals.
            let following = match rest.get(literal.len()) {
                Some(b'/') => Some(&rest[literal.len() + 1..]),
                None if rest.len() == literal.len() => None,
                _ => continue,
            };
            let segment = &rest[..literal.len()];
            if segment == literal.as_bytes() {
                return Some(Step { to, segment, following });
            }
        }
        let to = self.parameter.as_deref()?;
        let slash = rest.iter().position(|&byte| byte == b'/');
        let (segment, following) =
            slash.map_or((rest, None), |slash| (&rest[..slash], Some(&rest[slash + 1..])));
        // A parameter is never empty.
        (!segment.is_empty()).then_some(Step { to, segment, following })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0badcafe-00112233445566778899aabbccddeeff";

    #[test]
    fn every_template_resolves_to_its_endpoint() {
        for &endpoint in Endpoint::ALL {
            let templates = endpoint.templates();
            for (template, is_legacy) in
                [(Some(templates.canonical), false), (templates.legacy, true)]
            {
                let Some(template) = template else { continue };
                let path = template
                    .replace("{session_id}", ID)
                    .replace("{product_id}", "p001")
                    .replace("{user_id}", "p001")
                    .replace("{file_id}", "p001");
                let resolved = resolve(&path).unwrap_or_else(|| panic!("{path} resolves"));
                let found = (Some(resolved.pool), resolved.endpoint, resolved.is_legacy);
                assert_eq!(found, (endpoint.pool(), endpoint, is_legacy), "{path}");
                assert_eq!(resolved.template(), template);
                let parameter = if template.contains("{session_id}") { ID } else { "p001" };
                assert_eq!(
                    resolved.parameter(&path),
                    if template.contains('{') { parameter } else { "" },
                    "{path}"
                );
                assert_eq!(resolved.key.is_some(), template.contains("{session_id}"), "{path}");
            }
        }
    }

    #[test]
    fn unmatched_paths_of_a_pool_are_unknown_and_other_paths_are_none() {
        for path in [
            "/api/v1/stateless/",
            "/api/v1/stateless/infos",
            "/api/v1/stateless/info/",
            "/api/v1/stateful/sessions/x/y",
            "/api/v1/stateful/sessions/",
            "/api/v1/stateful/sessions//messages",
            "/api/v1/openapi.json/",
            "/api/stateless/products",
            "/api/stateful/sessions",
        ] {
            assert_eq!(resolve(path).map(|r| r.endpoint), Some(Endpoint::Unknown), "{path}");
        }
        for path in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/stateless",
            "/api/stateful",
            "/api/v2/stateless/info",
            "/health",
            "//api/v1/stateless/info",
        ] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }

    #[test]
    fn all_templates_of_one_prefix_have_one_pool() {
        for &endpoint in Endpoint::ALL {
            let templates = endpoint.templates();
            for template in [Some(templates.canonical), templates.legacy].into_iter().flatten() {
                let resolved = resolve(template).map(|resolved| resolved.pool);
                assert_eq!(resolved, endpoint.pool(), "{template}");
            }
        }
    }

    #[test]
    fn a_malformed_session_id_gives_no_key() {
        let resolved = resolve("/api/v1/stateful/sessions/not-an-id/history").expect("resolves");
        assert_eq!((resolved.endpoint, resolved.key), (Endpoint::History, None));
    }
}
