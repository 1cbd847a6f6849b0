use super::{Random, reference, run, same_in_any_pieces};
use crate::http_strict::chunked::{ChunkFault, Chunks};

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
