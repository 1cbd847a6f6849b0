use super::{Random, reference, run, same_in_any_pieces};
use crate::http_strict::{Body, ChunkFault, Chunks, Framing, HeaderLimits, Progress, Scanner};

const WORDS: &[&[u8]] = &[
    b"0",
    b"1",
    b"5",
    b"a",
    b"F",
    b"10",
    b"\r\n",
    b"\r",
    b"\n",
    b";",
    b"=",
    b"\"",
    b"\\",
    b":",
    b" ",
    b"\t",
    b"\0",
    b"x",
    b"\xff",
    b"0\r\n",
    b"0\r\n\r\n",
    b"1\r\nx\r\n",
    b";a=b",
    b";a=\"b\"",
    b"a: b\r\n",
    b"7fffffffffffffff",
    b"ffffffffffffffff",
    b"0x",
    b"+",
    b"_",
    b"hello",
];

/// What was read before the end, a fault, or the end of the input.
#[derive(Debug, PartialEq)]
struct Read {
    len: usize,
    payload: Vec<u8>,
    /// Without trailers.
    forwarded: Vec<u8>,
    complete: bool,
}

fn read(bytes: &[u8], ends: &[usize]) -> Result<Read, ChunkFault> {
    let mut chunks = Chunks::new();
    let mut read = Read { len: 0, payload: Vec::new(), forwarded: Vec::new(), complete: false };
    let mut start = 0;
    for &end in ends {
        let (piece, before) = (&bytes[start..end], read.payload.len());
        let walked = chunks.walk(piece, |data| read.payload.extend_from_slice(data))?;
        assert!(walked.len <= piece.len() && walked.payload <= walked.len, "more than given");
        assert_eq!(walked.payload, read.payload.len() - before);
        assert_eq!(walked.complete, chunks.is_complete());
        assert!(walked.complete || walked.len == piece.len(), "bytes are left out");
        read.len += walked.len;
        read.forwarded.extend_from_slice(&piece[..walked.trailers.start]);
        read.forwarded.extend_from_slice(&piece[walked.trailers.end..walked.len]);
        read.complete = walked.complete;
        start = end;
    }
    Ok(read)
}

#[test]
fn any_bytes_are_read_as_the_reference_reads_them() {
    run("chunked", WORDS, |bytes, random: &mut Random| {
        let result = same_in_any_pieces(bytes, random, |ends| read(bytes, ends));
        let accepted = result.ok().filter(|read| read.complete);
        let summary = accepted.as_ref().map(|read| (read.len, read.payload.clone()));
        assert_eq!(summary, reference::chunked::read(bytes));
        if let Some(accepted) = accepted {
            let again = read(&accepted.forwarded, &[accepted.forwarded.len()]);
            let again = again.expect("what is forwarded is a body too");
            assert_eq!((again.payload, again.complete), (accepted.payload, true));
        }
    });
}

#[test]
fn a_body_ends_at_the_same_byte_in_any_pieces() {
    run("chunked", WORDS, |bytes, random: &mut Random| {
        let length = random.below(2 * bytes.len() + 2);
        let (framing, expected) = match random.below(4) {
            0 => (Framing::None, Some((0, 0, true))),
            1 => {
                let len = length.min(bytes.len());
                (Framing::Length(length as u64), Some((len, len, len == length)))
            }
            2 => (Framing::UntilClose, Some((bytes.len(), bytes.len(), false))),
            _ => {
                let read = reference::chunked::read(bytes);
                (Framing::Chunked, read.map(|(len, payload)| (len, payload.len(), true)))
            }
        };
        let result = same_in_any_pieces(bytes, random, |ends| {
            let (mut body, mut start, mut sum) = (Body::new(framing), 0, (0, 0));
            for &end in ends {
                let piece = &bytes[start..end];
                let taken = body.take(piece)?;
                assert!(taken.len <= piece.len() && taken.payload <= taken.len);
                sum = (sum.0 + taken.len, sum.1 + taken.payload);
                start = end;
            }
            Ok::<_, ChunkFault>((sum.0, sum.1, body.is_complete()))
        });
        match expected {
            Some(expected) => assert_eq!(result, Ok(expected), "{framing:?}"),
            None => assert!(!matches!(result, Ok((_, _, true))), "the reference has no end"),
        }
    });
}

/// Targets and payloads.
type Requests = Vec<(String, Vec<u8>)>;

/// The requests of a connection, each with its payload, and the fault that ends it.
fn requests(bytes: &[u8], ends: &[usize]) -> (Requests, Option<&'static str>) {
    let limits = HeaderLimits { fields: 20, bytes: 1 << 20, target_bytes: 1 << 20 };
    let (mut found, mut buffer, mut start) = (Requests::new(), Vec::new(), 0);
    let (mut scanner, mut body) = (Scanner::new(limits), None::<Body>);
    for &end in ends {
        buffer.extend_from_slice(&bytes[start..end]);
        start = end;
        loop {
            if let Some(current) = &mut body {
                let payload = &mut found.last_mut().expect("its header came before").1;
                match current.take_data(&buffer, |data| payload.extend_from_slice(data)) {
                    Ok(taken) => drop(buffer.drain(..taken.len)),
                    Err(fault) => return (found, Some(fault.label())),
                }
                if !current.is_complete() {
                    break;
                }
                body = None;
            }
            match scanner.scan(&buffer) {
                Ok(Progress::Incomplete) => break,
                Ok(Progress::Complete(header)) => {
                    let request = scanner.request().expect("a complete one");
                    found.push((request.target(&buffer).to_owned(), Vec::new()));
                    body = Some(Body::new(request.framing()));
                    buffer.drain(..header.len);
                    scanner = Scanner::with_lines(limits, scanner.into_lines());
                }
                Err(fault) => return (found, Some(fault.label())),
            }
        }
    }
    (found, None)
}

#[test]
fn a_connection_has_the_same_requests_in_any_pieces() {
    let requests_and_chunks: Vec<&[u8]> = [
        WORDS,
        &[
            b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
            b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ],
    ]
    .concat();
    run("request", &requests_and_chunks, |bytes, random: &mut Random| {
        same_in_any_pieces(bytes, random, |ends| requests(bytes, ends));
    });
}
