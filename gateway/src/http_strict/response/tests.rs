use proptest::prelude::*;

use super::*;

const LIMITS: ResponseLimits = ResponseLimits { fields: 8, bytes: 512 };

fn scan(header: &str) -> Result<ResponseProgress, ResponseFault> {
    ResponseScanner::new(LIMITS).scan(header.as_bytes())
}

#[test]
fn a_body_is_framed_by_status_fields_and_method() {
    for (line, fields, framing, keeps) in [
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\n", Framing::Length(5), true),
        ("HTTP/1.1 200 ", "content-length:\t005 \r\n", Framing::Length(5), true),
        ("HTTP/1.1 200", "content-length: 0\r\n", Framing::None, true),
        (
            "HTTP/1.1 404 Not \u{e4}\tFound",
            "transfer-encoding: Chunked\r\n",
            Framing::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK", "", Framing::UntilClose, false),
        ("HTTP/1.1 200 OK", "connection: keep-alive\r\n", Framing::UntilClose, false),
        (
            "HTTP/1.1 200 OK",
            "content-length: 5\r\nconnection: x, Close\r\n",
            Framing::Length(5),
            false,
        ),
        ("HTTP/1.0 200 OK", "content-length: 5\r\n", Framing::Length(5), false),
        (
            "HTTP/1.0 200 OK",
            "content-length: 5\r\nconnection: Keep-Alive\r\n",
            Framing::Length(5),
            true,
        ),
        ("HTTP/1.1 204 No Content", "", Framing::None, true),
        ("HTTP/1.1 204 No Content", "content-length: 0\r\n", Framing::None, true),
        ("HTTP/1.1 304 Not Modified", "content-length: 5\r\n", Framing::None, true),
        ("HTTP/1.1 304 Not Modified", "transfer-encoding: chunked\r\n", Framing::None, true),
        ("HTTP/1.1 100 Continue", "", Framing::None, true),
        ("HTTP/1.1 101 Switching Protocols", "upgrade: websocket\r\n", Framing::None, true),
        ("HTTP/1.1 205 Reset Content", "", Framing::UntilClose, false),
    ] {
        let header = format!("{line}\r\n{fields}\r\n");
        let mut scanner = ResponseScanner::new(LIMITS);
        let progress = scanner.scan(format!("{header}body").as_bytes());
        assert_eq!(progress, Ok(ResponseProgress::Complete(header.len())), "{header:?}");
        let response = scanner.response().expect("a response");
        assert_eq!(response.framing(Method::Get), framing, "{header:?}");
        assert_eq!(response.keeps_connection(framing), keeps, "{header:?}");
        assert_eq!(response.framing(Method::Head), Framing::None, "{header:?}");
        assert_eq!(response.status.to_string(), line[9..12], "{header:?}");
        assert_eq!(&header[response.reason], line.get(13..).unwrap_or_default(), "{header:?}");
    }
}

#[test]
fn each_fault_is_found() {
    let mut seen = Vec::new();
    let long_header = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(512));
    let long_whole = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(512));
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(9));
    let many_options = format!("HTTP/1.1 200 OK\r\nconnection: {}a\r\n", "a,".repeat(8));
    let long_length = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", "1".repeat(20));
    let of_fields = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    for (fault, header) in [
        (ResponseFault::NoStatusLine, "\r\n".to_owned()),
        (ResponseFault::NoStatusLine, "garbage\r\n".to_owned()),
        (ResponseFault::NoStatusLine, "HTTP/1.1\r\n".to_owned()),
        (ResponseFault::NoStatusLine, "http/1.1 200 OK\r\n".to_owned()),
        (ResponseFault::NoStatusLine, " HTTP/1.1 200 OK\r\n".to_owned()),
        (ResponseFault::NoStatusLine, "ICY 200 OK\r\n".to_owned()),
        (ResponseFault::UnsupportedVersion, "HTTP/1.2 200 OK\r\n".to_owned()),
        (ResponseFault::UnsupportedVersion, "HTTP/2 200 OK\r\n".to_owned()),
        (ResponseFault::UnsupportedVersion, "HTTP/1.10 200 OK\r\n".to_owned()),
        (ResponseFault::UnsupportedVersion, "HTTP/1.1\t200 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 \r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1  200 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 20 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 2000 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 +20 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 200OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 200\tOK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 099 OK\r\n".to_owned()),
        (ResponseFault::BadStatus, "HTTP/1.1 600 OK\r\n".to_owned()),
        (ResponseFault::BareLineFeed, "HTTP/1.1 200 OK\n".to_owned()),
        (ResponseFault::BareLineFeed, of_fields("x: y\n")),
        (ResponseFault::BareLineFeed, "HTTP/1.1 200 OK\r\n\n".to_owned()),
        (ResponseFault::BareCarriageReturn, of_fields("x: y\rz\r\n")),
        (ResponseFault::BareCarriageReturn, "HTTP/1.1 200 O\rK\r\n\r\n".to_owned()),
        (ResponseFault::ControlByte, of_fields("x: \0\r\n")),
        (ResponseFault::ControlByte, "HTTP/1.1 200 \x1b[31m\r\n\r\n".to_owned()),
        (ResponseFault::FoldedLine, of_fields("x: y\r\n z\r\n")),
        (ResponseFault::FoldedLine, of_fields("\tx: y\r\n")),
        (ResponseFault::SpaceInName, of_fields("content-length : 5\r\n")),
        (ResponseFault::BadName, of_fields(": 5\r\n")),
        (ResponseFault::BadName, of_fields("content-length\0: 5\r\n")),
        (ResponseFault::NoColon, of_fields("content-length\r\n")),
        (ResponseFault::BadLength, of_fields("content-length: 5, 5\r\n")),
        (ResponseFault::BadLength, of_fields("content-length: +5\r\n")),
        (ResponseFault::BadLength, of_fields("content-length: -1\r\n")),
        (ResponseFault::BadLength, of_fields("content-length:\r\n")),
        (ResponseFault::BadLength, of_fields("content-length: 0x5\r\n")),
        (ResponseFault::BadLength, long_length),
        (ResponseFault::SeveralLengths, of_fields("content-length: 5\r\nContent-Length: 6\r\n")),
        (ResponseFault::SeveralLengths, of_fields("content-length: 5\r\ncontent-length: 5\r\n")),
        (
            ResponseFault::LengthAndChunks,
            of_fields("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        ),
        (
            ResponseFault::LengthAndChunks,
            of_fields("transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
        ),
        (ResponseFault::UnknownCoding, of_fields("transfer-encoding: identity\r\n")),
        (ResponseFault::UnknownCoding, of_fields("transfer-encoding:\r\n")),
        (ResponseFault::UnknownCoding, of_fields("transfer-encoding: xchunked\r\n")),
        (ResponseFault::UnknownCoding, of_fields("transfer-encoding: \x0bchunked\r\n")),
        (ResponseFault::SeveralCodings, of_fields("transfer-encoding: gzip, chunked\r\n")),
        (
            ResponseFault::SeveralCodings,
            of_fields("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ),
        (
            ResponseFault::ChunksInHttp10,
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        ),
        (ResponseFault::UnexpectedBody, "HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n".to_owned()),
        (
            ResponseFault::UnexpectedBody,
            "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        ),
        (ResponseFault::UnexpectedBody, "HTTP/1.1 100 Go\r\ncontent-length: 5\r\n\r\n".to_owned()),
        (
            ResponseFault::UnexpectedBody,
            "HTTP/1.1 103 Go\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        ),
        (ResponseFault::HeaderTooLarge, long_header),
        (ResponseFault::HeaderTooLarge, long_whole),
        (ResponseFault::TooManyFields, many_fields),
        (ResponseFault::TooManyFields, many_options),
    ] {
        assert_eq!(scan(&header), Err(fault), "{header:?}");
        seen.push(fault);
    }
    for fault in ResponseFault::ALL {
        assert!(seen.contains(fault), "{fault:?} has no example");
        assert!(fault.to_string().ends_with('.') && !fault.label().contains(char::is_uppercase));
    }
}

#[test]
fn the_memory_of_lines_is_used_again() {
    let first = "HTTP/1.1 103 Early Hints\r\nlink: a\r\nx-served-by: b\r\n\r\n";
    let second = "HTTP/1.1 200 OK\r\ndate: c\r\ncontent-length: 0\r\n\r\n";
    let mut scanner = ResponseScanner::new(LIMITS);
    assert_eq!(scanner.scan(first.as_bytes()), Ok(ResponseProgress::Complete(first.len())));
    let lines = scanner.into_lines();
    let memory = lines.as_ptr();
    let mut scanner = ResponseScanner::with_lines(LIMITS, lines);
    assert!(scanner.response().is_none(), "nothing of the first is left");
    assert_eq!(scanner.scan(second.as_bytes()), Ok(ResponseProgress::Complete(second.len())));
    let response = scanner.response().expect("a response");
    let fields = response.lines.iter().map(|line| (line.kind, &second[line.value()]));
    let expected = [(FieldKind::Date, "c"), (FieldKind::ContentLength, "0")];
    assert!(fields.eq(expected));
    let lines = scanner.into_lines();
    assert_eq!(lines.as_ptr(), memory);
}

fn by_the_book() -> impl Strategy<Value = String> {
    let framing = prop::sample::select(vec![
        "",
        "Content-Length: 7\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
    ]);
    let fields = "([A-Wa-w][a-z-]{15}:[ -~\t\u{80}-\u{ff}]{0,30}\r\n){0,6}";
    (framing, fields, 200..=599_u16, "( [ -~\t]{0,10})?").prop_filter_map(
        "no body where none is allowed",
        |(framing, fields, status, reason)| {
            let header = format!("HTTP/1.1 {status}{reason}\r\n{framing}{fields}\r\n");
            (status != 204).then_some(header)
        },
    )
}

proptest! {
    #[test]
    fn a_response_by_the_book_is_fine(header in by_the_book()) {
        let limits = ResponseLimits::DEFAULT;
        let progress = ResponseScanner::new(limits).scan(header.as_bytes());
        prop_assert_eq!(progress, Ok(ResponseProgress::Complete(header.len())));
    }

    #[test]
    fn it_is_the_same_in_whichever_pieces_it_comes(
        header in by_the_book(),
        place in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n\0\t :;,\x7f\xff".to_vec()),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = header.into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let whole = ResponseScanner::new(LIMITS).scan(&bytes);
        let mut scanner = ResponseScanner::new(LIMITS);
        let front = scanner.scan(&bytes[..cut.index(bytes.len())]);
        let pieces = match front {
            Ok(ResponseProgress::Incomplete) => scanner.scan(&bytes),
            ended => ended,
        };
        prop_assert_eq!(pieces, whole);
    }
}
