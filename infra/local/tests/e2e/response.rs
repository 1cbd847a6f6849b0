//! A response and its assertions.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use proto_contracts::{ErrorCode, Problem, RequestId, RoutingStamp, headers};
use reqwest::Version;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, RETRY_AFTER, SET_COOKIE};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Sends the request and reads the whole response.
    pub(crate) async fn to(request: reqwest::RequestBuilder) -> Result<Self> {
        Self::of(request.send().await?).await
    }

    /// Reads the rest of a response.
    pub(crate) async fn of(response: reqwest::Response) -> Result<Self> {
        let (status, version, headers) =
            (response.status().as_u16(), response.version(), response.headers().clone());
        Ok(Self { status, version, headers, body: response.bytes().await?.into() })
    }

    /// A header's only value; `None` when it is absent.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} comes twice: {self}");
        Some(value.to_str().expect("printable"))
    }

    /// The body as JSON of that type.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Asserts that it is JSON with this status and exactly these members, and returns it.
    #[track_caller]
    pub(crate) fn object(&self, status: u16, members: &[&str]) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header(CONTENT_TYPE.as_str()), Some("application/json"), "{self}");
        let body: Value = self.json();
        let found: BTreeSet<_> =
            body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(found, members.iter().copied().collect(), "{self}");
        body
    }

    /// Asserts that it is a problem document in all its parts, with that code, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, code: ErrorCode) -> Problem {
        assert_eq!(self.header(CONTENT_TYPE.as_str()), Some(headers::PROBLEM_JSON), "{self}");
        let problem: Problem = self.json();
        assert_eq!(problem.code, code, "{self}");
        assert_eq!((self.status, problem.status), (code.status(), code.status()), "{self}");
        assert_eq!(problem.kind, code.page_path(), "{self}");
        assert_eq!(problem.title, code.title(), "{self}");
        assert!(!problem.detail.is_empty(), "{self}");
        assert_eq!(Some(self.request_id()), problem.request_id, "{self}");
        assert_eq!(self.header(CACHE_CONTROL.as_str()), Some("no-store"), "{self}");
        assert_eq!(
            self.header(RETRY_AFTER.as_str()).is_some(),
            code.retry_after_s().is_some(),
            "{self}"
        );
        problem
    }

    /// The request id from the header.
    #[track_caller]
    pub(crate) fn request_id(&self) -> RequestId {
        let id =
            self.header(headers::REQUEST_ID).unwrap_or_else(|| panic!("no request id: {self}"));
        RequestId::parse_bytes(id.as_bytes()).unwrap_or_else(|| panic!("no UUID: {self}"))
    }

    /// The instance that served it.
    #[track_caller]
    pub(crate) fn served_by(&self) -> &str {
        self.header(headers::SERVED_BY).unwrap_or_else(|| panic!("no instance served it: {self}"))
    }

    /// The routing decision.
    #[track_caller]
    pub(crate) fn stamp(&self) -> RoutingStamp {
        let stamp = self.header(headers::AFFINITY).unwrap_or_else(|| panic!("no verdict: {self}"));
        stamp.parse().unwrap_or_else(|_| panic!("an unreadable verdict: {self}"))
    }

    /// The cookie as a browser would send it.
    pub(crate) fn cookie(&self) -> Result<String> {
        let cookie =
            self.header(SET_COOKIE.as_str()).with_context(|| format!("no cookie: {self}"))?;
        Ok(cookie.split(';').next().unwrap_or(cookie).to_owned())
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}
