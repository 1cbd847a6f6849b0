//! Paths that a gateway and a service could resolve differently, and a check that they don't.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, Uri};
use actix_web::middleware::{Next, from_fn};
use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, HttpMessage as _, web};
use percent_encoding::percent_decode;
use proto_contracts::{
    AffinityKey, Endpoint, InstanceName, PoolName, Resolved, SessionId, path, routes,
};

use crate::edge::Edge;
use crate::routes::{not_found, parameter};
use crate::telemetry::Metrics;

/// An endless sequence of paths, determined by its seed: templates of the API, unchanged and
/// mutated in ways that have made parsers disagree. They begin with a slash and contain no `?` or
/// `#`.
#[derive(Debug)]
pub struct Paths {
    state: u64,
}

impl Paths {
    /// Starts the sequence of this seed.
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound.max(1) as u64) as usize
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn whole(&mut self) -> Vec<u8> {
        let templates = Endpoint::ALL[self.below(Endpoint::ALL.len())].templates();
        let template =
            if self.below(3) == 0 { templates.legacy } else { None }.unwrap_or(templates.canonical);
        let session = SessionId::generate(AffinityKey::from_bits(self.next_u64() as u32)).expose();
        let parameter = self
            .one_of(&[&session, "p001", "x", "a b", "100%", "events", "a+b;c=d", "ä", "."])
            .to_owned();
        let parameter = parameter.replace(' ', "%20").replace("0%", "0%25").replace('ä', "%C3%A4");
        template
            .replace("{session_id}", &parameter)
            .replace("{product_id}", &parameter)
            .replace("{user_id}", &parameter)
            .replace("{file_id}", &parameter)
            .into_bytes()
    }

    fn change(&mut self, path: &mut Vec<u8>) {
        // The first slash stays where it is.
        let at = 1 + self.below(path.len().saturating_sub(1));
        let chosen = path.get(at).copied();
        match self.below(16) {
            0..=4 => {
                let Some(byte) = chosen else { return };
                let escape = self.escape(byte);
                path.splice(at..=at, escape);
            }
            5 => {
                let escaped: Vec<u8> =
                    path[1..].iter().flat_map(|&byte| self.escape_unless_slash(byte)).collect();
                path.splice(1.., escaped);
            }
            6 => {
                let Some(byte) = chosen else { return };
                let twice = format!("%25{byte:02x}");
                path.splice(at..=at, twice.into_bytes());
            }
            7 => {
                let byte = self.below(256) as u8;
                let escape = self.escape(byte);
                path.splice(at..at, escape);
            }
            8 => {
                let byte = self.below(256) as u8;
                if !matches!(byte, b'?' | b'#') {
                    path.insert(at, byte);
                }
            }
            9 => {
                let text = self.one_of(&[
                    "/", "//", "/./", "/../", "/%2e/", "/.%2E/", "/%2e%2e/", "/..;/", "%2F", "%5c",
                ]);
                path.splice(at..at, text.bytes());
            }
            10 => {
                let text = self.one_of(&[
                    "%", "%4", "%zz", "%%41", "%u0041", "%00", "%0a", "%7f", "%C2%85", "\\",
                ]);
                path.splice(at..at, text.bytes());
            }
            11 => {
                let signs = [
                    "+", "%2B", ";", "%3B", "=", "@", ":", "[", "]", "{", "}", "|", "^", "~", "*",
                    "'", ".",
                ];
                let text = self.one_of(&signs);
                path.splice(at..at, text.bytes());
            }
            12 => {
                let text = self.one_of(&[
                    "%C3%A4",
                    "ä",
                    "%F0%9F%A6%80",
                    "%ff",
                    "%C0%AF",
                    "%ED%A0%80",
                    "%e2%80",
                    "%c2%a0",
                ]);
                path.splice(at..at, text.bytes());
            }
            13 => {
                if let Some(byte) = path.get_mut(at) {
                    *byte ^= 0x20 * u8::from(byte.is_ascii_alphabetic());
                }
            }
            14 => match self.below(3) {
                0 => path.push(b'/'),
                1 => path.truncate(at),
                _ => drop(path.splice(at..at, *b"/")),
            },
            _ => {
                if self.below(40) == 0 {
                    let long = vec![b'a'; self.below(12_000)];
                    path.splice(at..at, long);
                }
            }
        }
    }

    fn escape_unless_slash(&mut self, byte: u8) -> Vec<u8> {
        if byte == b'/' { vec![byte] } else { self.escape(byte) }
    }

    fn escape(&mut self, byte: u8) -> Vec<u8> {
        if self.below(2) == 0 { format!("%{byte:02x}") } else { format!("%{byte:02X}") }
            .into_bytes()
    }
}

impl Iterator for Paths {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut path = self.whole();
        for _ in 0..self.below(4) {
            self.change(&mut path);
        }
        Some(path)
    }
}

/// Number of paths by outcome.
pub type Outcomes = BTreeMap<&'static str, usize>;

/// Sends every path to a service with these endpoints, behind the edge. Compares its resolution
/// with the gateway's, and with a reference that splits before it decodes.
///
/// No endpoint has the method that it sends, so a reached endpoint responds with 405, whatever the
/// parameter.
///
/// # Panics
/// When a path is resolved in two ways.
pub async fn assert_same_resolution(
    pool: PoolName,
    mount: impl FnOnce(&mut web::ServiceConfig),
    paths: impl Iterator<Item = Vec<u8>>,
) -> Outcomes {
    let instance: InstanceName = "test-1".parse().expect("a name");
    let metrics = Metrics::new("test-svc", &instance).expect("metrics");
    let seen = Rc::new(RefCell::new(None::<(Option<Resolved>, String)>));
    let noted = Rc::clone(&seen);
    let note = move |request: ServiceRequest, next: Next<BoxBody>| {
        let noted = Rc::clone(&noted);
        async move {
            let response = next.call(request).await?;
            let resolved = response.request().extensions().get::<Resolved>().copied();
            *noted.borrow_mut() = Some((resolved, parameter(response.request()).into_owned()));
            Ok(response)
        }
    };
    let app = App::new().configure(mount).default_service(web::to(not_found)).wrap(from_fn(note));
    let app = init_service(app.wrap(Edge::new(instance, metrics, Box::new(|_| Ok(()))))).await;

    let mut outcomes = Outcomes::new();
    for raw in paths {
        let shown = String::from_utf8_lossy(&raw[..raw.len().min(300)]).into_owned();
        // The gateway rejects bytes beyond ASCII before it resolves the path.
        let text = std::str::from_utf8(&raw).ok();
        let at_gateway = text.and_then(|text| path::canonical(text).ok());
        let Ok(uri) = Uri::try_from(&raw[..]) else {
            assert!(at_gateway.is_none(), "only the framework rejects {shown}");
            *outcomes.entry("rejected by the framework").or_default() += 1;
            continue;
        };
        seen.borrow_mut().take();
        let mut request = TestRequest::default().method(Method::TRACE).to_request();
        request.head_mut().uri = uri;
        let status = match try_call_service(&app, request).await {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        let at_service = seen.borrow_mut().take();
        let outcome = match (at_gateway, at_service) {
            (None, None) => {
                assert!(matches!(status.as_u16(), 400 | 414), "{status} for {shown}");
                "rejected by both"
            }
            (Some(canonical), Some((resolved, parameter))) => {
                assert_eq!(resolved, routes::resolve(&canonical), "{shown}");
                let named = resolved.filter(|resolved| resolved.endpoint != Endpoint::Unknown);
                let expected = split_then_decoded(&raw);
                let read = named.map(|resolved| (resolved.endpoint, resolved.is_legacy, parameter));
                assert_eq!(read, expected, "{shown}");
                let is_ours = named.is_some_and(|resolved| resolved.pool == pool);
                assert_eq!(status.as_u16(), if is_ours { 405 } else { 404 }, "{shown}");
                if is_ours { "the same endpoint" } else { "no endpoint of this service" }
            }
            (at_gateway, at_service) => panic!("{at_gateway:?} and {at_service:?} for {shown}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

/// The reference by RFC 3986: split the path at its slashes, then decode each segment.
fn split_then_decoded(raw: &[u8]) -> Option<(Endpoint, bool, String)> {
    let segments = raw
        .split(|&byte| byte == b'/')
        .map(|segment| percent_decode(segment).decode_utf8_lossy().into_owned());
    let segments: Vec<_> = segments.collect();
    let fits = |template: &str| {
        let mut parameter = String::new();
        let wanted: Vec<_> = template.split('/').collect();
        let all = wanted.iter().zip(&segments).all(|(wanted, segment)| {
            if wanted.starts_with('{') {
                parameter.clone_from(segment);
                return !segment.is_empty();
            }
            wanted == segment
        });
        (all && wanted.len() == segments.len()).then_some(parameter)
    };
    Endpoint::ALL.iter().find_map(|&endpoint| {
        let templates = endpoint.templates();
        let canonical = fits(templates.canonical).map(|parameter| (endpoint, false, parameter));
        canonical.or_else(|| Some((endpoint, true, fits(templates.legacy?)?)))
    })
}
