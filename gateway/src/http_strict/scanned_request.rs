//! What a request's header says.

use std::ops::Range;

use crate::http_strict::connection_options::ConnectionOptions;
use crate::http_strict::field_line::FieldLine;
use crate::http_strict::framing::Framing;
use crate::http_strict::request_line::{Method, RequestLine};
use crate::http_strict::version::Version;

/// A parsed header. Its ranges are those of the bytes as they were scanned.
#[derive(Debug)]
pub struct ScannedRequest<'a> {
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// The range of the target as sent, which may be rewritten: see [`target`](Self::target).
    pub sent_target: Range<usize>,
    /// The declared length of the body.
    pub content_length: Option<u64>,
    /// Whether a body in chunks follows. It has no declared length then.
    pub chunked: bool,
    /// The options of `Connection`.
    pub connection: ConnectionOptions,
    /// Whether the client waits for `100 Continue`. HTTP/1.0 clients never do.
    pub expects_continue: bool,
    /// Whether `Upgrade: websocket` was sent; `Connection` may say otherwise.
    pub upgrade: bool,
    /// The fields, in the order of their lines.
    pub lines: &'a [FieldLine],
    pub(super) request: &'a RequestLine,
}

impl<'a> ScannedRequest<'a> {
    /// The canonical target: path and query. `bytes` are those that were scanned; from others it is
    /// empty.
    pub fn target<'t>(&self, bytes: &'t [u8]) -> &'t str
    where
        'a: 't,
    {
        match &self.request.rewritten {
            Some(target) => target,
            // Targets are ASCII.
            None => bytes
                .get(self.sent_target.clone())
                .and_then(|target| std::str::from_utf8(target).ok())
                .unwrap_or_default(),
        }
    }

    /// Length of the path in the canonical target. The query follows, with its `?`.
    pub fn path_len(&self) -> usize {
        self.request.path_len
    }

    /// How the body ends.
    pub fn framing(&self) -> Framing {
        match self.content_length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        }
    }

    /// Whether the client keeps the connection (RFC 9112, section 9.3).
    pub fn keeps_connection(&self) -> bool {
        self.connection.keeps(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_strict::{FieldKind, Header, HeaderLimits, Progress, Scanner};

    const LIMITS: HeaderLimits = HeaderLimits { fields: 16, bytes: 1024, target_bytes: 64 };

    fn scanned(header: &str) -> Scanner {
        let mut scanner = Scanner::new(LIMITS);
        let progress = scanner.scan(header.as_bytes());
        assert!(matches!(progress, Ok(Progress::Complete(_))), "{progress:?} for {header:?}");
        scanner
    }

    #[test]
    fn each_field_has_its_line() {
        let header = "POST /a?b HTTP/1.1\r\nHost:  a:80 \r\nX:\r\nx-Request-ID:\tb c\t\r\n\
                      content-length: 012\r\nX-Forwarded-Port: 1\r\n\r\n";
        let scanner = scanned(header);
        let request = scanner.request().expect("a request");
        assert_eq!((request.method, request.version), (Method::Post, Version::Http11));
        assert_eq!(&header[request.sent_target.clone()], "/a?b");
        assert_eq!(request.framing(), Framing::Length(12));
        let lines: Vec<_> = request
            .lines
            .iter()
            .map(|line| (line.kind, &header[line.name()], &header[line.value()]))
            .collect();
        let expected = [
            (FieldKind::Host, "Host", "a:80"),
            (FieldKind::Other, "X", ""),
            (FieldKind::XRequestId, "x-Request-ID", "b c"),
            (FieldKind::ContentLength, "content-length", "012"),
            (FieldKind::XForwardedOther, "X-Forwarded-Port", "1"),
        ];
        assert_eq!(lines, expected);
        let copied = &header[request.lines[1].start()..request.lines[3].start()];
        assert_eq!(copied, "X:\r\nx-Request-ID:\tb c\t\r\n", "lines have no gap");
    }

    #[test]
    fn the_target_is_canonical() {
        for (sent, target, path_len) in [
            ("/a?b=%41", "/a?b=%41", 2),
            ("/%61", "/a", 2),
            ("http://a?x", "/?x", 1),
            ("http://a/%7e?%7e", "/~?%7e", 2),
            ("http://a", "/", 1),
        ] {
            let header = format!("GET {sent} HTTP/1.1\r\nhost: a\r\n\r\n");
            let scanner = scanned(&header);
            let request = scanner.request().expect("a request");
            assert_eq!(request.target(header.as_bytes()), target, "{sent}");
            assert_eq!((request.path_len(), &header[request.sent_target]), (path_len, sent));
        }
    }

    #[test]
    fn the_body_and_the_connection_end_as_the_fields_say() {
        for (version, fields, framing, keeps) in [
            ("1.1", "", Framing::None, true),
            ("1.1", "content-length: 0\r\n", Framing::None, true),
            ("1.1", "content-length: 5\r\n", Framing::Length(5), true),
            ("1.1", "transfer-encoding: chunked\r\n", Framing::Chunked, true),
            ("1.1", "connection: Close\r\n", Framing::None, false),
            ("1.1", "connection: keep-alive,, close\r\n", Framing::None, false),
            ("1.1", "connection: keep-alive\r\nconnection: x, close\r\n", Framing::None, false),
            ("1.1", "connection: closed\r\n", Framing::None, true),
            ("1.0", "", Framing::None, false),
            ("1.0", "connection: Keep-Alive\r\n", Framing::None, true),
        ] {
            let scanner = scanned(&format!("GET / HTTP/{version}\r\nhost: a\r\n{fields}\r\n"));
            let request = scanner.request().expect("a request");
            assert_eq!(
                (request.framing(), request.keeps_connection()),
                (framing, keeps),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn connection_names_fields_of_this_hop() {
        let header = "GET / HTTP/1.1\r\nx-A: b\r\nConnection: upgrade, X-a ,te\r\nHost: a\r\n\
                      connection: Host, content-length, cookie\r\nte: trailers\r\nX-AB: c\r\n\
                      content-length: 0\r\nX-a: d\r\nUpgrade: websocket\r\nCookie: e\r\n\r\n";
        let scanner = scanned(header);
        let request = scanner.request().expect("a request");
        let expected = ConnectionOptions { upgrade: true, others: 5, ..Default::default() };
        assert_eq!((request.connection, request.upgrade), (expected, true));
        let named = request.lines.iter().filter(|line| line.is_named_by_connection());
        let named: Vec<_> = named.map(|line| &header[line.name()]).collect();
        assert_eq!(named, ["x-A", "X-a", "Cookie"]);
        let kept = request.lines.iter().filter(|line| !line.is_hop_by_hop());
        let kept: Vec<_> = kept.map(|line| &header[line.name()]).collect();
        assert_eq!(kept, ["Host", "X-AB", "content-length"]);
    }

    #[test]
    fn connection_cannot_name_more_fields_than_a_header_has() {
        let of = |count| {
            let header =
                format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: {}\r\n\r\n", "x,".repeat(count));
            Scanner::new(LIMITS).scan(header.as_bytes()).map(|_| ())
        };
        assert_eq!((of(16), of(17)), (Ok(()), Err(crate::http_strict::Fault::TooManyFields)));
    }

    #[test]
    fn only_http_1_1_has_expectations() {
        for (version, expects) in [("1.1", true), ("1.0", false)] {
            let header =
                format!("POST / HTTP/{version}\r\nhost: a\r\nexpect: 100-continue\r\n\r\n");
            let scanner = scanned(&header);
            let request = scanner.request().expect("a request");
            assert_eq!(
                (request.expects_continue, request.lines[1].kind),
                (expects, FieldKind::Expect)
            );
        }
    }

    #[test]
    fn the_memory_of_lines_is_used_again() {
        let header = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let lines = scanned(header).into_lines();
        let memory = lines.as_ptr();
        let mut scanner = Scanner::with_lines(LIMITS, lines);
        assert!(scanner.request().is_none(), "nothing of the first is left");
        let complete = Header { len: header.len(), chunked: false };
        assert_eq!(scanner.scan(header.as_bytes()), Ok(Progress::Complete(complete)));
        let lines = scanner.into_lines();
        assert_eq!((lines.len(), lines.as_ptr()), (1, memory));
        assert_eq!(size_of::<FieldLine>(), 16);
    }
}
