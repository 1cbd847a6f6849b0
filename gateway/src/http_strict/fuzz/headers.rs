use super::reference::header::Framed;
use super::reference::request::Request;
use super::reference::response::Response;
use super::{Random, reference, run, same_in_any_pieces};
use crate::http_strict::{
    ConnectionOptions, Fault, FieldKind, FieldLine, HeaderLimits, Progress, ResponseFault,
    ResponseLimits, ResponseProgress, ResponseScanner, Scanner, Version,
};

const MAX_FIELDS: usize = 20;
/// More bytes than an input has: whether a long or another fault is seen first depends on pieces.
const REQUESTS: HeaderLimits =
    HeaderLimits { fields: MAX_FIELDS, bytes: 1 << 20, target_bytes: 1 << 20 };
const RESPONSES: ResponseLimits = ResponseLimits { fields: MAX_FIELDS, bytes: 1 << 20 };

const REQUEST_WORDS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"OPTIONS * ",
    b"get ",
    b"/",
    b"/a",
    b"http://a",
    b"?b",
    b"%41",
    b"%00",
    b"%2f",
    b"..",
    b"#",
    b"\\",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/2\r\n",
    b"Host: a\r\n",
    b"host: [::1]:80\r\n",
    b"expect: 100-continue\r\n",
    b"upgrade: websocket\r\n",
    b"X-Forwarded-Port: 1\r\n",
    b"cookie: a=b\r\n",
];
const RESPONSE_WORDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200\r\n",
    b"HTTP/1.1 204 \r\n",
    b"HTTP/1.1 304 x\r\n",
    b"HTTP/1.1 100 Continue\r\n",
    b"HTTP/1.1 999 x\r\n",
    b"HTTP/2 200\r\n",
    b"200",
    b"OK",
    b"set-cookie: a\r\n",
    b"x-served-by: a\r\n",
    b"Date: a\r\n",
    b"Server-Timing: a\r\n",
];
const FIELD_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"content-length",
    b"transfer-encoding",
    b": chunked\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"connection: close\r\n",
    b"Connection: keep-alive, x\r\n",
    b"connection: x-served-by,cookie,te,host\r\n",
    b"connection: upgrade\r\n",
    b"connection",
    b"te: trailers\r\n",
    b"x: y\r\n",
    b"x:\r\n",
    b" \r\n",
    b"5",
    b"0",
    b"+",
    b"chunked",
    b"gzip, ",
    b"a,a,a,a,a,a,a,a,a,a,a,a,a,",
];

fn read_request(bytes: &[u8], ends: &[usize]) -> Result<Option<Request>, Fault> {
    let mut scanner = Scanner::new(REQUESTS);
    for &end in ends {
        let Progress::Complete(header) = scanner.scan(&bytes[..end])? else { continue };
        assert!(header.len <= end, "more than given");
        let request = scanner.request().expect("a complete one");
        assert_eq!(header.chunked, request.chunked);
        return Ok(Some(Request {
            len: header.len,
            method: request.method.as_str().to_owned(),
            is_http_1_0: request.version == Version::Http10,
            target: request.target(bytes).to_owned(),
            path_len: request.path_len(),
            expects_continue: request.expects_continue,
            websocket: request.upgrade,
            framed: framed(
                (request.content_length, request.chunked),
                request.connection,
                request.lines,
                &bytes[..header.len],
            ),
        }));
    }
    Ok(None)
}

fn read_response(bytes: &[u8], ends: &[usize]) -> Result<Option<Response>, ResponseFault> {
    let mut scanner = ResponseScanner::new(RESPONSES);
    for &end in ends {
        let ResponseProgress::Complete(len) = scanner.scan(&bytes[..end])? else { continue };
        assert!(len <= end, "more than given");
        let response = scanner.response().expect("a complete one");
        return Ok(Some(Response {
            len,
            status: response.status,
            is_http_1_0: response.version == Version::Http10,
            reason: bytes[response.reason.clone()].to_vec(),
            framed: framed(
                (response.content_length, response.chunked),
                response.connection,
                response.lines,
                &bytes[..len],
            ),
        }));
    }
    Ok(None)
}

/// What the lines say, and a check that they follow each other and have the right kinds.
fn framed(
    (length, chunked): (Option<u64>, bool),
    connection: ConnectionOptions,
    lines: &[FieldLine],
    header: &[u8],
) -> Framed {
    let ends = lines.iter().skip(1).map(FieldLine::start).chain([header.len() - 2]);
    for (line, end) in lines.iter().zip(ends) {
        assert!(header[..line.start()].ends_with(b"\r\n") && header[..end].ends_with(b"\r\n"));
        assert!(line.name().end < line.value().start && line.value().end <= end - 2);
    }
    let fields = lines.iter().map(|line| {
        let name = String::from_utf8_lossy(&header[line.name()]).to_ascii_lowercase();
        let known = FieldKind::NAMED.iter().find(|(_, known)| *known == name);
        let kind = match known {
            Some((kind, _)) => *kind,
            None if name.starts_with("x-forwarded-") => FieldKind::XForwardedOther,
            None if name.starts_with("access-control-") => FieldKind::AccessControl,
            None => FieldKind::Other,
        };
        assert_eq!(line.kind, kind, "{name}");
        (name, header[line.value()].to_vec(), line.is_named_by_connection())
    });
    let ConnectionOptions { close, keep_alive, upgrade, .. } = connection;
    Framed { length, chunked, close, keep_alive, upgrade, fields: fields.collect() }
}

#[test]
fn any_request_is_read_as_the_reference_reads_it() {
    let words = [REQUEST_WORDS, FIELD_WORDS].concat();
    run("request", &words, |bytes, random: &mut Random| {
        let result = same_in_any_pieces(bytes, random, |ends| read_request(bytes, ends));
        assert_eq!(result.ok().flatten(), reference::request::read(bytes, MAX_FIELDS));
    });
}

#[test]
fn any_response_is_read_as_the_reference_reads_it() {
    let words = [RESPONSE_WORDS, FIELD_WORDS].concat();
    run("response", &words, |bytes, random: &mut Random| {
        let result = same_in_any_pieces(bytes, random, |ends| read_response(bytes, ends));
        assert_eq!(result.ok().flatten(), reference::response::read(bytes, MAX_FIELDS));
    });
}
