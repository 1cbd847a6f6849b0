//! `[limits]`: how large a request may be.

use std::collections::BTreeMap;

use proto_contracts::{Endpoint, Resolved};
use serde::Deserialize;

use crate::config::check::Check;
use crate::http_strict::HeaderLimits;

/// The most header fields that a client may send: the services' framework takes 96, and the gateway adds up to 8 of its own.
const MOST_HEADER_FIELDS: usize = 96 - 8;
/// The largest header that a client may send, in bytes: the services' framework takes 128 KiB, and what the gateway adds
/// is far below 2 KiB.
const MOST_HEADER_BYTES: usize = (128 - 2) * 1024;
/// The longest target that any parser behind the gateway takes, in bytes.
const MOST_TARGET_BYTES: usize = 65_534;

/// How large a request may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How large its header may be.
    pub header: HeaderLimits,
    /// The most bytes that its body may have.
    pub body: BodyLimits,
}

/// The most bytes that a request's body may have, by what it asks for.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// Where nothing else is said.
    any: u64,
    /// Few, so that a look at each is the quickest way.
    of: Vec<(Endpoint, u64)>,
}

impl BodyLimits {
    /// The limit of a request, in bytes; that of the whole API where it asks for nothing that is known.
    pub fn of(&self, resolved: Option<&Resolved>) -> u64 {
        let own = |resolved: &Resolved| self.of.iter().find(|(endpoint, _)| *endpoint == resolved.endpoint);
        resolved.and_then(own).map_or(self.any, |&(_, bytes)| bytes)
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_header_fields: usize,
    max_header_bytes: usize,
    max_target_bytes: usize,
    max_body_bytes: u64,
    route_body_bytes: BTreeMap<String, u64>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            max_header_fields: MOST_HEADER_FIELDS,
            max_header_bytes: 64 * 1024,
            max_target_bytes: 8 * 1024,
            max_body_bytes: 1024 * 1024,
            route_body_bytes: BTreeMap::new(),
        }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Limits {
        let Self { max_header_fields: fields, max_header_bytes: bytes, max_target_bytes: target_bytes, .. } = self;
        check.unless(
            (1..=MOST_HEADER_FIELDS).contains(&fields),
            "[limits] max_header_fields",
            format_args!("must be 1 to {MOST_HEADER_FIELDS}: with the gateway's own fields, no service takes more"),
        );
        check.unless(
            (1_024..=MOST_HEADER_BYTES).contains(&bytes),
            "[limits] max_header_bytes",
            format_args!("must be 1024 to {MOST_HEADER_BYTES}: with the gateway's own fields, no service takes more"),
        );
        check.unless(
            (1..=MOST_TARGET_BYTES.min(bytes)).contains(&target_bytes),
            "[limits] max_target_bytes",
            format_args!("must be 1 to {MOST_TARGET_BYTES}, and not more than max_header_bytes ({bytes})"),
        );
        check.unless(self.max_body_bytes > 0, "[limits] max_body_bytes", "must be at least 1");
        let of = self.route_body_bytes.iter().filter_map(|(route, &bytes)| {
            let setting = format!("[limits.route_body_bytes] \"{route}\"");
            check.unless(
                (1..=self.max_body_bytes).contains(&bytes),
                &setting,
                format_args!("must be 1 to max_body_bytes ({})", self.max_body_bytes),
            );
            let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.templates().canonical == route);
            check.unless(
                endpoint.is_some(),
                &setting,
                "is no route of the API; write its template, such as \"/api/v1/stateful/conversations\"",
            );
            Some((endpoint?, bytes))
        });
        let body = BodyLimits { of: of.collect(), any: self.max_body_bytes };
        Limits { header: HeaderLimits { fields, bytes, target_bytes }, body }
    }
}
