//! Request lines: method, target, version and line endings.

use proto_contracts::ErrorCode::{
    self, BadRequest, MethodNotAllowed, UriTooLong, VersionNotSupported,
};

use super::{Case, GET, Neutralised, Rejected, SMUGGLED, Slow, case};

pub(super) fn cases() -> Vec<Case> {
    [methods(), targets(), versions(), line_ends(), truncated()].concat()
}

fn of_line(line: impl AsRef<[u8]>, code: ErrorCode) -> Case {
    let line = line.as_ref();
    let bytes = [line, b"\r\nhost: a\r\n\r\n", SMUGGLED.as_bytes()].concat();
    (format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(60)])), bytes, Rejected(code))
}

fn methods() -> Vec<Case> {
    let unknown =
        ["get", "Get", "TRACE", "TRACK", "BREW", "PROPFIND", "GETT", "G-E-T", "M!#$%&'*+.^_`|~"];
    let bad = [
        "",
        " GET",
        "\tGET",
        "G(T",
        "GE@T",
        "G\0T",
        "G\u{c9}T",
        "\"GET\"",
        "GET:",
        "{\"a\":1}",
        "<x>",
        "=GET",
    ];
    let unknown = unknown.map(|method| of_line(format!("{method} / HTTP/1.1"), MethodNotAllowed));
    let bad = bad.map(|method| of_line(format!("{method} / HTTP/1.1"), BadRequest));
    let connect = of_line("CONNECT a:443 HTTP/1.1", MethodNotAllowed);
    unknown.into_iter().chain(bad).chain([connect]).collect()
}

fn targets() -> Vec<Case> {
    let illegal = [
        "",
        "a",
        "*",
        "?a",
        "//\\a",
        "/a b",
        "/a\tb",
        "/a\x0bb",
        "/a\0b",
        "/a\x7fb",
        "/\u{e4}",
        "/\u{ff0f}",
        "/a#b",
        "/#",
        "/a\\b",
        "/\"a\"",
        "/<a>",
        "/`a`",
        "/%",
        "/%0",
        "/%0g",
        "/%zz",
        "/%00",
        "/a?b=%",
        "/a?b=\u{20ac}",
        "/a\rb",
        "http:/a/",
        "http:a",
        "http://",
        "http:///a",
        "http://a@b/",
        "http://a:b@a/",
        "http://a:99999/",
        "http://b/",
        "http://a:81/",
        "/..",
        "/api/v1/stateless/../../x",
        "/a/%2e%2E",
        "/a%2fb",
        "/a%5Cb",
        "/a%0ab",
        "/%ff",
        "/%C0%AF",
        "http://a/../",
        "https://b/",
        "ftp://a/",
        "ws://a/",
        "http://[::1/",
        "javascript:alert(1)",
    ];
    let illegal = illegal.map(|target| of_line(format!("GET {target} HTTP/1.1"), BadRequest));
    let long = format!("/{}", "a".repeat(8 * 1024));
    let long = [
        of_line(format!("GET {long} HTTP/1.1"), UriTooLong),
        of_line(format!("GET {} HTTP/1.1", "/a".repeat(64 * 1024)), UriTooLong),
        case(
            "a target without an end",
            format!("GET {}", "/a".repeat(64 * 1024)),
            Rejected(UriTooLong),
        ),
    ];
    let absolute = "GET http://a/api/v1/stateless/info HTTP/1.1\r\nhost: a\r\n\r\n";
    let longest =
        format!("GET /api/v1/stateless/info?{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(8_000));
    let neutralised = [
        case("a target that names its host", absolute, Neutralised),
        case("a long target", longest, Neutralised),
        case(
            "the default port",
            "GET http://A:80/api/v1/stateless/info HTTP/1.1\r\nhost: a\r\n\r\n",
            Neutralised,
        ),
        case(
            "an empty port",
            "GET http://a:/api/v1/stateless/info HTTP/1.1\r\nhost: a:\r\n\r\n",
            Neutralised,
        ),
        case(
            "escaped letters",
            "GET /api/v1/state%6Cess/%69nfo HTTP/1.1\r\nhost: a\r\n\r\n",
            Neutralised,
        ),
    ];
    illegal.into_iter().chain(long).chain(neutralised).collect()
}

fn versions() -> Vec<Case> {
    let unsupported =
        ["HTTP/2.0", "HTTP/2", "HTTP/1.2", "HTTP/0.9", "HTTP/1", "HTTP/9.9", "HTTP/3.0"];
    let bad = [
        "http/1.1",
        "HTTP/1.10",
        "HTTP/11",
        "HTTP/1.1.1",
        "HTTP/1,1",
        "HTTP/01.1",
        "HTTP1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP/ 1.1",
        "HTTP/1.1 x",
        "HTTPS/1.1",
        "ICY/1.0",
        "HTTP/-1.1",
        "HTTP/1.\u{661}",
        "",
    ];
    let unsupported =
        unsupported.map(|version| of_line(format!("GET / {version}"), VersionNotSupported));
    let bad = bad.map(|version| of_line(format!("GET / {version}"), BadRequest));
    let others = [
        of_line("GET /", VersionNotSupported),
        of_line("GET", BadRequest),
        of_line("GARBAGE", BadRequest),
        of_line("\x16\x03\x01\x02", BadRequest),
        of_line("SSH-2.0-OpenSSH_9", BadRequest),
        case(
            "a preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Rejected(VersionNotSupported),
        ),
    ];
    unsupported.into_iter().chain(bad).chain(others).collect()
}

fn line_ends() -> Vec<Case> {
    vec![
        case(
            "LF after the request line",
            format!("GET / HTTP/1.1\nhost: a\r\n\r\n{SMUGGLED}"),
            Rejected(BadRequest),
        ),
        case("LF everywhere", "GET / HTTP/1.1\nhost: a\n\n", Rejected(BadRequest)),
        case("LF after a field", format!("{GET}x: y\n\r\n"), Rejected(BadRequest)),
        case("LF for the empty line", format!("{GET}\n{SMUGGLED}"), Rejected(BadRequest)),
        case("CR everywhere", "GET / HTTP/1.1\rhost: a\r\r", Rejected(BadRequest)),
        case("CR after a field", format!("{GET}x: y\rz: {SMUGGLED}"), Rejected(BadRequest)),
        case("CR CR LF", format!("{GET}x: y\r\r\n\r\n"), Rejected(BadRequest)),
        case("LF CR", format!("{GET}x: y\n\r\r\n"), Rejected(BadRequest)),
        case("two empty lines first", format!("\r\n\r\n{GET}\r\n"), Rejected(BadRequest)),
        case("a bare LF first", format!("\n{GET}\r\n"), Rejected(BadRequest)),
        case("an empty line first", format!("\r\n{GET}\r\n"), Neutralised),
        case(
            "two requests at once",
            format!("{GET}connection: close\r\n\r\n{SMUGGLED}"),
            Neutralised,
        ),
    ]
}

fn truncated() -> Vec<Case> {
    let cut = |bytes: &str| case(&format!("cut after {bytes:?}"), bytes, Rejected(BadRequest));
    let slow = |bytes: &str| case(&format!("slow after {bytes:?}"), bytes, Slow);
    let parts = [
        "G",
        "GET ",
        "GET /api",
        "GET /api/v1/stateless/info HTTP/1.1",
        "GET /api/v1/stateless/info HTTP/1.1\r\n",
        GET,
    ];
    parts.into_iter().map(cut).chain(parts.into_iter().map(slow)).collect()
}
