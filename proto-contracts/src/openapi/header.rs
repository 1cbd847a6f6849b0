//! The header fields of the documents.

/// A header field.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its name, as documents spell it.
    pub name: &'static str,
    /// The name of its component in a document.
    pub component: &'static str,
    /// What it means.
    pub description: &'static str,
    /// An example.
    pub example: &'static str,
    /// The form of well-formed values: a regular expression of ECMA-262.
    pub pattern: Option<&'static str>,
}

macro_rules! headers {
    ($(
        $constant:ident = $name:literal, $description:literal, $example:literal
            $(, pattern $pattern:literal)?;
    )*) => {
        $(
            #[doc = $description]
            pub const $constant: Header = Header {
                name: $name,
                component: stringify!($constant),
                description: $description,
                example: $example,
                pattern: optional!($($pattern)?),
            };
        )*
    };
}

/// `Some` of the given value, `None` without one.
macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

headers! {
    // Of requests.
    IDEMPOTENCY_KEY = "Idempotency-Key",
        "Makes the request safe to repeat: 8 to 128 visible characters, plain or as a quoted \
         string, drawn at random and kept secret. A repetition gets the first response.",
        "4f6c1d0e-9b7a-4c35-8d21-5e0f6a7b8c9d",
        pattern r#"^([!#-~][!-~]{7,127}|"([!#-\[\]-~]|\\["\\]){8,128}")$"#;
    IF_MATCH = "If-Match",
        "Only if the present `ETag` is one of these, or exists at all with `*`; else 412.",
        "\"3-5f0c6e1a\"",
        pattern r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;
    IF_NONE_MATCH = "If-None-Match",
        "Only if the present `ETag` is none of these; else 304 for a read and 412 for a change.",
        "\"3-5f0c6e1a\"",
        pattern r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;
    LAST_EVENT_ID = "Last-Event-ID",
        "The number of the last message that the client has; 0 for all messages.",
        "3",
        pattern "^[0-9]{1,9}$";
    CONTENT_DISPOSITION = "Content-Disposition",
        "The name of a file that is the whole body (RFC 6266).",
        "attachment; filename=\"report.pdf\"",
        pattern r#"^[!#-~]+( *; *[!#-~]+=("[^"]*"|[!#-~]+))+$"#;
    RANGE = "Range",
        "The part of the content to send (RFC 9110, section 14): one range of bytes. Several ranges \
         and other units are ignored.",
        "bytes=0-1023";
    IF_RANGE = "If-Range",
        "`Range` counts only if this is the present `ETag`; else the whole content is sent.",
        "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";

    CHANGE_SCOPE = "X-Change-Scope",
        "`gateway`: change this gateway alone. Without it, the change is passed on to the \
         deployment's other gateways.",
        "gateway",
        pattern "^gateway$";

    // Of responses.
    REQUEST_ID = "X-Request-Id",
        "Finds the request in every log.",
        "01a2074b-388c-7649-8b4d-fa847e1ea26c";
    SERVED_BY = "X-Served-By",
        "The instance that served the request.",
        "stateful-2";
    AFFINITY = "X-Affinity",
        "Why that instance: `<verdict>; key=<affinity key>; epoch=<membership>`.",
        "home; key=0badcafe; epoch=5f0c6e1a";
    RATE_LIMIT = "RateLimit",
        "What is left of the client's quota, and the seconds until it is full again.",
        "\"client\";r=99;t=1";
    RATE_LIMIT_POLICY = "RateLimit-Policy",
        "The client's quota: requests, and the window in seconds.",
        "\"client\";q=100;w=2";
    SERVER_TIMING = "Server-Timing",
        "Milliseconds until the response header, at the gateway and at the instance.",
        "gateway;dur=0.042, upstream;dur=1.500";
    RETRY_AFTER = "Retry-After",
        "Seconds until a repetition may succeed.",
        "1";
    WWW_AUTHENTICATE = "WWW-Authenticate",
        "How to authenticate.",
        "Bearer";
    ETAG = "ETag",
        "Identifies this state; for `If-Match` and `If-None-Match`.",
        "\"3-5f0c6e1a\"";
    LOCATION = "Location",
        "The path of what was created.",
        "/api/v1/stateful/sessions/0badcafe-00112233445566778899aabbccddeeff";
    LINK = "Link",
        "The first page, with `rel=\"first\"`, and the next one, with `rel=\"next\"`, if there is \
         one; relative to the request's path.",
        "<?limit=20>; rel=\"first\", <?limit=20&cursor=70303031>; rel=\"next\"";
    AFFINITY_KEY = "X-Affinity-Key",
        "The session's affinity key: a client without cookies sends it with `POST /conversations`.",
        "0badcafe";
    SESSION_SOURCE = "X-Session-Source",
        "Where the session came from: `memory`, `redis` or `created`; `memory; unverified` while \
         Redis is away.",
        "memory";
    IDEMPOTENCY_REPLAYED = "Idempotency-Replayed",
        "`true` when this repeats the first response to the same `Idempotency-Key`.",
        "true";
    CACHE_CONTROL = "Cache-Control",
        "Whether and how long the response may be cached.",
        "public, max-age=60";
    ATTACHMENT = "Content-Disposition",
        "The file's name, and that a browser must save it (RFC 6266).",
        "attachment; filename=\"report.pdf\"";
    ACCEPT_RANGES = "Accept-Ranges",
        "That `Range` is supported.",
        "bytes";
    CONTENT_RANGE = "Content-Range",
        "Which bytes these are, and how many there are; of a response with 206 or 416.",
        "bytes 0-1023/4096";
    CHANGE_LASTS = "X-Change-Lasts",
        "How long the change lasts: `saved`, or `until_restart` without a state file.",
        "saved";
    DEPRECATION = "Deprecation",
        "Since when this path is deprecated (RFC 9745).",
        "@1770249600";
    SUCCESSOR = "Link",
        "The successor of this deprecated path, with `rel=\"successor-version\"`.",
        "</api/v1/stateless/info>; rel=\"successor-version\"";
}
