//! Header fields: syntax, host, and requests for another protocol.

use proto_contracts::ErrorCode::{BadRequest, ExpectationFailed, HeaderTooLarge};

use super::{Case, GET, Neutralised, Rejected, SMUGGLED, case};

pub(super) fn cases() -> Vec<Case> {
    [forms(), hosts(), protocols(), sizes()].concat()
}

fn forms() -> Vec<Case> {
    let bad = [
        "nonsense",
        ":",
        ": a",
        " x: y",
        "\tx: y",
        "x : y",
        "x\t: y",
        "bad name: y",
        "x\0: y",
        "x\u{e4}: y",
        "x(y): z",
        "\"x\": y",
        "x/y: z",
        "x@y: z",
        "x: y\r\n z",
        "x: y\r\n\tcontent-length: 5",
        "x: y\0z",
        "x: \x01",
        "x: \x08",
        "x: \x0b",
        "x: \x0c",
        "x: \x1b[31m",
        "x: \x7f",
        "x\r: y",
        "content-length\x0b: 5",
        "{x}: y",
        "x;: y",
        "=: y",
    ];
    let of_field = |field: &str| {
        case(&format!("{field:?}"), format!("{GET}{field}\r\n\r\n{SMUGGLED}"), Rejected(BadRequest))
    };
    let first = |field: &str| {
        let bytes = format!("GET / HTTP/1.1\r\n{field}\r\nhost: a\r\n\r\n");
        case(&format!("{field:?} as the first field"), bytes, Rejected(BadRequest))
    };
    let fine = ["x:", "x:y", "x:\ty\t", "x: \u{e4}", "!#$%&'*+-.^_`|~1: y", "connection: close, x"];
    let fine =
        fine.map(|field| case(&format!("{field:?}"), format!("{GET}{field}\r\n\r\n"), Neutralised));
    let folded = [" folded", "\tfolded", "nonsense"].map(first);
    bad.map(of_field).into_iter().chain(folded).chain(fine).collect()
}

fn hosts() -> Vec<Case> {
    let line = "GET /api/v1/stateless/info HTTP/1.1\r\n";
    let values = [
        "", " ", "a b", "a, b", "a/b", "a?b", "a#b", "u@a", "a:b", "a:1:2", "a:-1", "a:99999",
        ":80", "::1", "[::1", "[::1]x", "[a]", "[]", "a\\b", "\"a\"", "\u{e4}", "a%00", "<a>",
        "http://a", "a;b",
    ];
    let values = values.map(|host| {
        case(&format!("host {host:?}"), format!("{line}host: {host}\r\n\r\n"), Rejected(BadRequest))
    });
    let others = [
        case("no host", format!("{line}\r\n{SMUGGLED}"), Rejected(BadRequest)),
        case("two hosts", format!("{GET}host: b\r\n\r\n"), Rejected(BadRequest)),
        case("two equal hosts", format!("{GET}Host: a\r\n\r\n"), Rejected(BadRequest)),
        case("a folded host", format!("{line}host:\r\n a\r\n\r\n"), Rejected(BadRequest)),
        case("an address as host", format!("{line}host: [::1]:8443\r\n\r\n"), Neutralised),
        case("HTTP/1.0 without a host", "GET /api/v1/stateless/info HTTP/1.0\r\n\r\n", Neutralised),
    ];
    values.into_iter().chain(others).collect()
}

fn protocols() -> Vec<Case> {
    let of_field = |field: &str, outcome| case(field, format!("{GET}{field}\r\n\r\n"), outcome);
    vec![
        of_field(
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABkAAQAoAAAAAIAAAAA",
            Rejected(BadRequest),
        ),
        of_field("upgrade: websocket, h2c", Rejected(BadRequest)),
        of_field("upgrade: h2c\r\nupgrade: websocket", Rejected(BadRequest)),
        of_field("upgrade: TLS/1.3", Rejected(BadRequest)),
        of_field("upgrade:", Rejected(BadRequest)),
        of_field(
            "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5",
            Rejected(BadRequest),
        ),
        of_field(
            "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked",
            Rejected(BadRequest),
        ),
        of_field("expect: 200-ok", Rejected(ExpectationFailed)),
        of_field("expect:", Rejected(ExpectationFailed)),
        of_field("expect: 100-continue, x", Rejected(ExpectationFailed)),
        of_field("expect: 100-continue\r\nexpect: x", Rejected(ExpectationFailed)),
    ]
}

fn sizes() -> Vec<Case> {
    let fields = |count: usize| format!("{GET}{}\r\n{SMUGGLED}", "x: y\r\n".repeat(count));
    let large = |bytes: usize| format!("{GET}x: {}\r\n\r\n", "y".repeat(bytes));
    vec![
        case("89 fields", fields(88), Rejected(HeaderTooLarge)),
        case("300 fields", fields(300), Rejected(HeaderTooLarge)),
        case("10,000 fields", fields(10_000), Rejected(HeaderTooLarge)),
        case("64 KiB of header", large(64 << 10), Rejected(HeaderTooLarge)),
        case("1 MiB of header", large(1 << 20), Rejected(HeaderTooLarge)),
        case(
            "a field without an end",
            format!("{GET}x: {}", "y".repeat(1 << 20)),
            Rejected(HeaderTooLarge),
        ),
        case(
            "a name of 70 KiB",
            format!("{GET}{}: x\r\n\r\n", "y".repeat(70 << 10)),
            Rejected(HeaderTooLarge),
        ),
        case("88 fields", format!("{GET}{}\r\n", "x: y\r\n".repeat(87)), Neutralised),
        case("60 KiB of header", large(60 << 10), Neutralised),
    ]
}
