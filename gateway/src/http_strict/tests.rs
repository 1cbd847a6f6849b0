use bytes::BytesMut;
use pingora::protocols::http::v1::server::HttpSession;
use proptest::prelude::*;
use proto_contracts::ErrorCode;
use service_kit::testing::paths::Paths;

use super::*;

const LIMITS: HeaderLimits = HeaderLimits { fields: 8, bytes: 512, target_bytes: 64 };
/// What no generated header comes near.
const WIDE: HeaderLimits = HeaderLimits { fields: 88, bytes: 64 * 1024, target_bytes: 8 * 1024 };

fn scan(header: &str) -> Result<Progress, Fault> {
    Scanner::new(LIMITS).scan(header.as_bytes())
}

#[test]
fn what_has_one_meaning_is_fine() {
    for (request_line, fields) in [
        ("GET / HTTP/1.1", ""),
        ("GET /a/%7Eb?c=[d]&e={f}|^g HTTP/1.1", ""),
        ("OPTIONS * HTTP/1.1", ""),
        ("GET http://a/b HTTP/1.1", ""),
        ("POST / HTTP/1.1", "content-length: 0012\r\n"),
        ("POST / HTTP/1.1", "Content-Length:\t5 \r\n"),
        ("PATCH / HTTP/1.1", "Transfer-Encoding: Chunked\r\n"),
        ("PUT / HTTP/1.1", "expect: 100-Continue\r\n"),
        ("GET / HTTP/1.1", "upgrade: WebSocket\r\ncontent-length: 0\r\n"),
        ("GET / HTTP/1.1", "x: \u{e4}\r\ny:\r\n!#$%&'*+-.^_`|~: tab\tbed\r\n"),
        ("HEAD / HTTP/1.0", ""),
    ] {
        let header = format!("{request_line}\r\nHost: a\r\n{fields}\r\n");
        let chunked = fields.starts_with("Transfer");
        assert_eq!(
            scan(&header),
            Ok(Progress::Complete(Header { len: header.len(), chunked })),
            "{header:?}"
        );
        let followed = format!("{header}body");
        assert_eq!(scan(&followed), scan(&header), "what follows is no part of it");
    }
    assert!(scan("GET / HTTP/1.0\r\n\r\n").is_ok(), "HTTP/1.0 needs no host");
    for expectation in ["100-continue", "200-ok"] {
        let header = format!("POST / HTTP/1.0\r\nexpect: {expectation}\r\n\r\n");
        assert!(scan(&header).is_ok(), "HTTP/1.0 has no expectations");
    }
}

#[test]
fn each_fault_is_found() {
    // The limit of these tests for a whole target is below the one for a path.
    let mut seen = vec![Fault::TooSlow, Fault::CutShort, Fault::PathTooLong];
    let wide = HeaderLimits { target_bytes: 16 * 1024, ..WIDE };
    let long_path = format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 * 1024));
    assert_eq!(Scanner::new(wide).scan(long_path.as_bytes()), Err(Fault::PathTooLong));
    let long_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(64));
    let endless_target = format!("GET /{}", "a".repeat(96));
    let long_header = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(512));
    let many_fields = format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "a: b\r\n".repeat(8));
    let long_length = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n", "1".repeat(20));
    for (fault, header) in [
        (Fault::NoRequestLine, "\r\n"),
        (Fault::NoRequestLine, "GARBAGE\r\n"),
        (Fault::NoRequestLine, "GET \r\n"),
        (Fault::NoRequestLine, "\x16\x03\x01\r\n"),
        (Fault::BareLineFeed, "GET / HTTP/1.1\n"),
        (Fault::BareLineFeed, "GET / HTTP/1.1\r\nhost: a\r\nx: y\n"),
        (Fault::BareLineFeed, "\n"),
        (Fault::BareCarriageReturn, "GET / HTTP/1.1\r\nhost: a\r\nx: y\rz\r\n\r\n"),
        (Fault::BareCarriageReturn, "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\r\n\r\n"),
        (Fault::ControlByte, "GET / HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n"),
        (Fault::ControlByte, "GET / HTTP/1.1\r\nhost: a\r\nx: \x7f\r\n\r\n"),
        (Fault::BadMethod, " GET / HTTP/1.1\r\n"),
        (Fault::BadMethod, "G(T / HTTP/1.1\r\n"),
        (Fault::UnknownMethod, "get / HTTP/1.1\r\n"),
        (Fault::UnknownMethod, "TRACE / HTTP/1.1\r\n"),
        (Fault::UnknownMethod, "CONNECT a:443 HTTP/1.1\r\n"),
        (Fault::IllegalByteInTarget, "GET /a b HTTP/1.1\r\n"),
        (Fault::IllegalByteInTarget, "GET  / HTTP/1.1\r\n"),
        (Fault::IllegalByteInTarget, "GET / HTTP/1.1 \r\n"),
        (Fault::IllegalByteInTarget, "GET /\t HTTP/1.1\r\n"),
        (Fault::IllegalByteInTarget, "GET /\u{e4} HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET /a#b HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET /a\\b HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET  HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET * HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET a HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET http://u@a/ HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET http:/a HTTP/1.1\r\n"),
        (Fault::BadTarget, "GET ftp://a/ HTTP/1.1\r\n"),
        (Fault::BadEscape, "GET /%0 HTTP/1.1\r\n"),
        (Fault::BadEscape, "GET /%zz HTTP/1.1\r\n"),
        (Fault::BadEscape, "GET /%00 HTTP/1.1\r\n"),
        (Fault::DotSegment, "GET /a/%2E./b HTTP/1.1\r\n"),
        (Fault::DotSegment, "GET http://a/../b HTTP/1.1\r\n"),
        (Fault::EscapedSlash, "GET /a%2fb HTTP/1.1\r\n"),
        (Fault::EscapedControl, "GET /a%0d%0ab HTTP/1.1\r\n"),
        (Fault::PathNotUtf8, "GET /%ff HTTP/1.1\r\n"),
        (Fault::BadVersion, "GET / HTTP/1.1.1\r\n"),
        (Fault::BadVersion, "GET / http/1.1\r\n"),
        (Fault::BadVersion, "GET / HTTP/\r\n"),
        (Fault::BadVersion, "GET / \r\n"),
        (Fault::UnsupportedVersion, "GET /\r\n"),
        (Fault::UnsupportedVersion, "GET / HTTP/2.0\r\n"),
        (Fault::UnsupportedVersion, "PRI * HTTP/2.0\r\n"),
        (Fault::UnsupportedVersion, "GET / HTTP/1.2\r\n"),
        (Fault::UnsupportedVersion, "GET / HTTP/2\r\n"),
        (Fault::FoldedLine, "GET / HTTP/1.1\r\nhost: a\r\n b\r\n"),
        (Fault::FoldedLine, "GET / HTTP/1.1\r\n\thost: a\r\n"),
        (Fault::SpaceInName, "GET / HTTP/1.1\r\nhost : a\r\n"),
        (Fault::SpaceInName, "GET / HTTP/1.1\r\nbad name: a\r\n"),
        (Fault::BadName, "GET / HTTP/1.1\r\n: a\r\n"),
        (Fault::BadName, "GET / HTTP/1.1\r\nh(st: a\r\n"),
        (Fault::BadName, "GET / HTTP/1.1\r\nh\u{f6}st: a\r\n"),
        (Fault::NoColon, "GET / HTTP/1.1\r\nhost\r\n"),
        (Fault::NoHost, "GET / HTTP/1.1\r\n\r\n"),
        (Fault::NoHost, "GET http://a/ HTTP/1.0\r\n\r\n"),
        (Fault::SeveralHosts, "GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n"),
        (Fault::BadHost, "GET / HTTP/1.1\r\nhost:\r\n"),
        (Fault::BadHost, "GET / HTTP/1.1\r\nhost: a b\r\n"),
        (Fault::BadHost, "GET / HTTP/1.1\r\nhost: a, b\r\n"),
        (Fault::HostDiffers, "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n"),
        (Fault::HostDiffers, "GET http://a:81/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length: +5\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length: -1\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length: 5, 5\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length: 0x5\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length:\r\n"),
        (Fault::BadLength, "POST / HTTP/1.1\r\ncontent-length: 5 5\r\n"),
        (Fault::BadLength, &long_length),
        (Fault::SeveralLengths, "POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n"),
        (
            Fault::LengthAndChunks,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (Fault::UnknownCoding, "POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n"),
        (Fault::UnknownCoding, "POST / HTTP/1.1\r\ntransfer-encoding: chunked;q=1\r\n"),
        (Fault::UnknownCoding, "POST / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n"),
        (Fault::UnknownCoding, "POST / HTTP/1.1\r\ntransfer-encoding:\r\n"),
        (Fault::SeveralCodings, "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n"),
        (
            Fault::SeveralCodings,
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ),
        (Fault::ChunksInHttp10, "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Fault::UnknownExpectation, "POST / HTTP/1.1\r\nexpect: 200-ok\r\n"),
        (Fault::UnknownUpgrade, "GET / HTTP/1.1\r\nupgrade: h2c\r\n"),
        (Fault::UnknownUpgrade, "GET / HTTP/1.1\r\nupgrade: websocket\r\nupgrade: websocket\r\n"),
        (Fault::UnknownUpgrade, "GET / HTTP/1.0\r\nupgrade: websocket\r\n\r\n"),
        (
            Fault::UpgradeWithBody,
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\n",
        ),
        (Fault::TargetTooLong, &long_target),
        (Fault::TargetTooLong, &endless_target),
        (Fault::HeaderTooLarge, &long_header),
        (Fault::TooManyFields, &many_fields),
    ] {
        assert_eq!(scan(header), Err(fault), "{header:?}");
        seen.push(fault);
    }
    for fault in Fault::ALL {
        assert!(seen.contains(fault), "{fault:?} has no example");
        assert!(fault.detail(LIMITS).ends_with('.'));
        assert!((400..=505).contains(&fault.code().status()));
    }
    assert_eq!(Fault::UnsupportedVersion.code(), ErrorCode::VersionNotSupported);
}

#[test]
fn host_and_target_compare_as_uris_do() {
    for (target, host) in [
        ("http://a/", "A"),
        ("http://A.test/x", "a.TEST"),
        ("http://a:80/", "a"),
        ("http://a/", "a:80"),
        ("http://a:/", "a"),
        ("http://a", "a:"),
        ("HTTPS://a:443/", "a"),
        ("http://a:08080/?b", "a:8080"),
        ("http://[::1]/", "[0:0::1]"),
    ] {
        let header = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert!(matches!(scan(&header), Ok(Progress::Complete(_))), "{header:?}");
    }
    for (target, host) in [
        ("http://a/", "b"),
        ("https://a/", "a:80"),
        ("http://a:443/", "a"),
        ("http://[::1]/", "[::2]"),
    ] {
        assert_eq!(
            scan(&format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")),
            Err(Fault::HostDiffers)
        );
    }
}

#[test]
fn the_target_is_given_its_one_form() {
    for (sent, target) in [
        ("GET /%61?%61=%2f", "/a?%61=%2f"),
        ("GET /a%2b{c}", "/a%2B%7Bc%7D"),
        ("GET http://a/b?c", "/b?c"),
        ("GET http://a", "/"),
        ("GET http://a?%61/..", "/?%61/.."),
        ("OPTIONS https://A:443/%7e", "/~"),
    ] {
        let header = format!("{sent} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut scanner = Scanner::new(LIMITS);
        assert!(matches!(scanner.scan(header.as_bytes()), Ok(Progress::Complete(_))), "{sent}");
        let (place, rewritten) = scanner.rewritten_target().expect("another form");
        assert_eq!(
            (rewritten, &header[place]),
            (target, sent.split_once(' ').expect("a method").1)
        );
    }
    for sent in ["GET /a%2Bb?%61", "GET /", "OPTIONS *", "GET /a?b?/../%2f"] {
        let mut scanner = Scanner::new(LIMITS);
        assert!(
            scanner.scan(format!("{sent} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).is_ok(),
            "{sent}"
        );
        assert_eq!(scanner.rewritten_target(), None, "{sent}");
    }
}

/// The services' tests show that they read the same paths by the same form.
#[test]
fn every_path_is_routed_by_its_canonical_form_or_refused() {
    let (mut refused, mut rewritten) = (0, 0);
    for path in Paths::seeded(0x6a7e).take(100_000) {
        let header = [b"GET ", &path[..], b"?%2e%2E/ HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
        let shown = String::from_utf8_lossy(&path[..path.len().min(300)]);
        let mut scanner = Scanner::new(HeaderLimits { target_bytes: 16 * 1024, ..WIDE });
        let canonical = std::str::from_utf8(&path)
            .ok()
            .and_then(|path| proto_contracts::path::canonical(path).ok());
        match (scanner.scan(&header), canonical) {
            (Ok(Progress::Complete(_)), Some(canonical)) => {
                let expected = format!("{canonical}?%2e%2E/");
                let forwarded = match scanner.rewritten_target() {
                    Some((_, target)) => target.as_bytes(),
                    None => &header[4..4 + path.len() + 8],
                };
                rewritten += usize::from(scanner.rewritten_target().is_some());
                assert_eq!(forwarded, expected.as_bytes(), "{shown}");
            }
            (Err(_), None) => refused += 1,
            (scanned, canonical) => panic!("{scanned:?} and {canonical:?} for {shown}"),
        }
    }
    assert!(refused > 5_000 && rewritten > 5_000, "{refused} refused, {rewritten} rewritten");
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
}

/// A request by the book: what RFC 9112's grammar allows of the fields that the scanner looks into,
/// and any others.
fn by_the_book() -> impl Strategy<Value = String> {
    let framing =
        prop::sample::select(vec!["", "Content-Length: 7\r\n", "transfer-encoding: chunked\r\n"]);
    let field = ("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", "[ -~\t]{0,40}").prop_filter(
        "has no meaning",
        |(name, _)| {
            let known = ["host", "expect", "upgrade", "content-length", "transfer-encoding"];
            !known.contains(&name.to_ascii_lowercase().as_str())
        },
    );
    let fields = prop::collection::vec(field, 0..8);
    (
        method(),
        "/([a-z0-9/_~!$&'()*+,;=:@-]|%(2[0-9A-Da-d]|[346][0-9A-Fa-f]|[57][0-9ABab]|C3%[89AB][0-9a-f])){0,40}([?]([a-z0-9/._~?]|%[1-9A-F][0-9A-F]){0,20})?",
        framing,
        fields,
        "[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?",
    )
        .prop_map(|(method, target, framing, fields, host)| {
            let fields: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{framing}{fields}\r\n")
        })
}

/// The same with a few bytes put in or replaced that parsers have disagreed on.
fn nearly_by_the_book() -> impl Strategy<Value = Vec<u8>> {
    let evil = prop::sample::select(b"\r\n\0\t :;,%#@\\\x0b\x7f\x80\xffHTTP/1.0chunked5".to_vec());
    let edits = prop::collection::vec((any::<prop::sample::Index>(), evil, any::<bool>()), 0..4);
    (by_the_book(), edits).prop_map(|(request, edits)| {
        let mut bytes = request.into_bytes();
        for (at, byte, replace) in edits {
            let at = at.index(bytes.len());
            if replace {
                bytes[at] = byte;
            } else {
                bytes.insert(at, byte);
            }
        }
        bytes
    })
}

/// How long Pingora takes the header to be, and how many fields it finds; `None` where it refuses.
fn read_by_pingora(bytes: &[u8]) -> Option<(usize, usize)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut session = HttpSession::new(Box::new(std::io::Cursor::new(Vec::new())));
        session.set_pipelined_prefix(BytesMut::from(bytes));
        let len = session.read_request().await.ok()??;
        Some((len, session.req_header().headers.len()))
    })
}

proptest! {
    #[test]
    fn a_request_by_the_book_is_fine(request in by_the_book()) {
        let chunked = request.contains("\r\ntransfer-encoding: chunked\r\n");
        let expected = Header { len: request.len(), chunked };
        prop_assert_eq!(Scanner::new(WIDE).scan(request.as_bytes()), Ok(Progress::Complete(expected)));
    }

    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _whichever = Scanner::new(LIMITS).scan(&bytes);
    }

    #[test]
    fn it_is_the_same_in_whichever_pieces_it_comes(
        bytes in nearly_by_the_book(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let whole = Scanner::new(WIDE).scan(&bytes);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        let mut scanner = Scanner::new(WIDE);
        let pieces = cuts.iter().map(|&end| scanner.scan(&bytes[..end])).find(|result| *result != Ok(Progress::Incomplete));
        prop_assert_eq!(pieces.unwrap_or(Ok(Progress::Incomplete)), whole);
    }

    #[test]
    fn what_it_lets_through_pingora_reads_alike(bytes in nearly_by_the_book()) {
        if let Ok(Progress::Complete(header)) = Scanner::new(WIDE).scan(&bytes) {
            let fields = bytes[..header.len].split(|&byte| byte == b'\n').count() - 3;
            prop_assert_eq!(read_by_pingora(&bytes), Some((header.len, fields)), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
