//! `[limits]`: size limits of requests.

use std::collections::BTreeMap;

use proto_contracts::files::DEFAULT_MAX_UPLOAD_BYTES;
use proto_contracts::{Endpoint, Resolved};
use serde::Deserialize;

use crate::config::check::Check;
use crate::http_strict::HeaderLimits;

/// Highest limit of header fields: the services' framework accepts 96, and the gateway adds up to
/// 8.
const MOST_HEADER_FIELDS: usize = 96 - 8;
/// Highest limit of header bytes: the services' framework accepts 128 KiB, and the gateway adds far
/// less than 2 KiB.
const MOST_HEADER_BYTES: usize = (128 - 2) * 1024;
/// Longest request target that all parsers behind the gateway accept, in bytes.
const MOST_TARGET_BYTES: usize = 65_534;

/// Size limits of requests.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Limits of the header.
    pub header: HeaderLimits,
    /// Limits of the body.
    pub body: BodyLimits,
}

/// Maximum body size in bytes, by endpoint.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The default.
    any: u64,
    /// The default of endpoints that take files.
    upload: u64,
    /// Few entries, so a linear search is fastest.
    of: Vec<(Endpoint, u64)>,
}

impl BodyLimits {
    /// The limit of a request in bytes; the default if it has no known endpoint.
    pub fn of(&self, resolved: Option<&Resolved>) -> u64 {
        let own = |resolved: &Resolved| {
            self.of.iter().find(|(endpoint, _)| *endpoint == resolved.endpoint)
        };
        match resolved {
            Some(resolved) => own(resolved).map_or_else(|| self.default(resolved), |of| of.1),
            None => self.any,
        }
    }

    fn default(&self, resolved: &Resolved) -> u64 {
        if resolved.endpoint.is_upload() { self.upload } else { self.any }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    max_header_fields: usize,
    max_header_bytes: usize,
    max_target_bytes: usize,
    max_body_bytes: u64,
    max_upload_bytes: u64,
    route_body_bytes: BTreeMap<String, u64>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            max_header_fields: MOST_HEADER_FIELDS,
            max_header_bytes: 64 * 1024,
            max_target_bytes: 8 * 1024,
            max_body_bytes: 1024 * 1024,
            max_upload_bytes: DEFAULT_MAX_UPLOAD_BYTES,
            route_body_bytes: BTreeMap::new(),
        }
    }
}

impl Section {
    pub(super) fn check(self, check: &mut Check<'_>) -> Limits {
        let Self {
            max_header_fields: fields,
            max_header_bytes: bytes,
            max_target_bytes: target_bytes,
            ..
        } = self;
        check.require(
            (1..=MOST_HEADER_FIELDS).contains(&fields),
            "[limits] max_header_fields",
            format_args!(
                "must be 1 to {MOST_HEADER_FIELDS}: the services accept no more, counting the \
                 fields that the gateway adds"
            ),
        );
        check.require(
            (1_024..=MOST_HEADER_BYTES).contains(&bytes),
            "[limits] max_header_bytes",
            format_args!(
                "must be 1024 to {MOST_HEADER_BYTES}: the services accept no more, counting the \
                 fields that the gateway adds"
            ),
        );
        check.require(
            (1..=MOST_TARGET_BYTES.min(bytes)).contains(&target_bytes),
            "[limits] max_target_bytes",
            format_args!(
                "must be 1 to {MOST_TARGET_BYTES}, and not more than max_header_bytes ({bytes})"
            ),
        );
        check.require(self.max_body_bytes > 0, "[limits] max_body_bytes", "must be at least 1");
        check.require(self.max_upload_bytes > 0, "[limits] max_upload_bytes", "must be at least 1");
        let of = self.route_body_bytes.iter().filter_map(|(route, &bytes)| {
            let setting = format!("[limits.route_body_bytes] \"{route}\"");
            let endpoint =
                Endpoint::ALL.iter().find(|endpoint| endpoint.templates().canonical == route);
            let (most, name) = match endpoint.is_some_and(|endpoint| endpoint.is_upload()) {
                true => (self.max_upload_bytes, "max_upload_bytes"),
                false => (self.max_body_bytes, "max_body_bytes"),
            };
            check.require(
                (1..=most).contains(&bytes),
                &setting,
                format_args!("must be 1 to {name} ({most})"),
            );
            check.require(
                endpoint.is_some(),
                &setting,
                "is not a route of the API; use its template, such as \
                 \"/api/v1/stateful/conversations\"",
            );
            Some((*endpoint?, bytes))
        });
        let body = BodyLimits {
            of: of.collect(),
            any: self.max_body_bytes,
            upload: self.max_upload_bytes,
        };
        Limits { header: HeaderLimits { fields, bytes, target_bytes }, body }
    }
}
