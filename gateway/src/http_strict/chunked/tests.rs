use proptest::prelude::*;

use super::*;
use crate::http_strict::fuzz::reference::chunked;

/// The payload, and what the walker reports of the whole.
fn walk(bytes: &[u8]) -> Result<(Vec<u8>, Taken), ChunkFault> {
    let mut payload = Vec::new();
    let walked = Chunks::new().walk(bytes, |data| payload.extend_from_slice(data))?;
    Ok((payload, walked))
}

#[test]
fn bodies_by_the_grammar_are_fine() {
    for (body, payload) in [
        ("0\r\n\r\n", ""),
        ("0000000000000000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("000000000000000a\r\n0123456789\r\n1\r\n\n\r\n00\r\n\r\n", "0123456789\n"),
        ("A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n"),
        ("1;a\r\nx\r\n0;b=c;d=\"e;\\\"\t\u{e4}\";f=\"\"\r\n\r\n", "x"),
        ("1\r\nx\r\n0\r\na:\r\nB: c\t\u{e4} \r\n\r\n", "x"),
    ] {
        let followed = format!("{body}GET / HTTP/1.1\r\n");
        for bytes in [body, &followed] {
            let (data, walked) = walk(bytes.as_bytes()).expect(body);
            assert_eq!(data, payload.as_bytes(), "{body:?}");
            assert_eq!((walked.len, walked.payload), (body.len(), payload.len()), "{body:?}");
            assert!(walked.complete, "{body:?}");
            let before_end = &body[..body.len() - 2];
            let fields = before_end.split_once("0\r\n").map_or("", |(_, fields)| fields);
            let fields = if before_end.contains("\r\na:") { fields } else { "" };
            assert_eq!(&body[walked.trailers], fields, "{body:?}");
        }
    }
}

#[test]
fn each_fault_is_found_at_its_byte() {
    let long = format!("1;{}", "a".repeat(255));
    let many = format!("0\r\n{}", "a:\r\n".repeat(32));
    let large = format!("0\r\na:{}", "b".repeat(8 * 1024 - 2));
    let mut seen = Vec::new();
    for (fault, fine, byte) in [
        (ChunkFault::BadSize, "", "\r"),
        (ChunkFault::BadSize, "", "\n"),
        (ChunkFault::BadSize, "", ";"),
        (ChunkFault::BadSize, "", " "),
        (ChunkFault::BadSize, "", "+"),
        (ChunkFault::BadSize, "", "g"),
        (ChunkFault::BadSize, "0", "x"),
        (ChunkFault::BadSize, "5", " "),
        (ChunkFault::BadSize, "5", "\t"),
        (ChunkFault::BadSize, "5", "_"),
        (ChunkFault::BadSize, "5", "\0"),
        (ChunkFault::SizeTooLarge, "0000000000000000", "0"),
        (ChunkFault::SizeTooLarge, "800000000000000", "0"),
        (ChunkFault::SizeTooLarge, "ffffffffffffffff", ""),
        (ChunkFault::BadExtension, "5;", " "),
        (ChunkFault::BadExtension, "5;", ";"),
        (ChunkFault::BadExtension, "5;", "\r"),
        (ChunkFault::BadExtension, "5;", "\n"),
        (ChunkFault::BadExtension, "5;a", " "),
        (ChunkFault::BadExtension, "5;a=", "\r"),
        (ChunkFault::BadExtension, "5;a=", ";"),
        (ChunkFault::BadExtension, "5;a=b", "\""),
        (ChunkFault::BadExtension, "5;a=\"", "\n"),
        (ChunkFault::BadExtension, "5;a=\"", "\r"),
        (ChunkFault::BadExtension, "5;a=\"\\", "\r"),
        (ChunkFault::BadExtension, "5;a=\"\"", "b"),
        (ChunkFault::ExtensionTooLong, &long, "a"),
        (ChunkFault::NoDataEnd, "1\r\nx", "y"),
        (ChunkFault::NoDataEnd, "1\r\nx", "\n"),
        (ChunkFault::NoDataEnd, "1\r\nx", "0"),
        (ChunkFault::NoDataEnd, "1\r\nx\r", "\r"),
        (ChunkFault::BareLineFeed, "1", "\n"),
        (ChunkFault::BareLineFeed, "1;a", "\n"),
        (ChunkFault::BareLineFeed, "1;a=b", "\n"),
        (ChunkFault::BareLineFeed, "1;a=\"b\"", "\n"),
        (ChunkFault::BareLineFeed, "0\r\n", "\n"),
        (ChunkFault::BareLineFeed, "0\r\na:", "\n"),
        (ChunkFault::BareCarriageReturn, "1\r", "x"),
        (ChunkFault::BareCarriageReturn, "1\r", "\r"),
        (ChunkFault::BareCarriageReturn, "0\r\na:\r", "b"),
        (ChunkFault::BareCarriageReturn, "0\r\n\r", "\r"),
        (ChunkFault::BadTrailer, "0\r\n", ":"),
        (ChunkFault::BadTrailer, "0\r\n", " "),
        (ChunkFault::BadTrailer, "0\r\na", " "),
        (ChunkFault::BadTrailer, "0\r\na", "\r"),
        (ChunkFault::BadTrailer, "0\r\na:", "\0"),
        (ChunkFault::BadTrailer, "0\r\na:", "\x7f"),
        (ChunkFault::BadTrailer, "0\r\na: b\r\n", "\t"),
        (ChunkFault::TooManyTrailers, &many, "a"),
        (ChunkFault::TooManyTrailers, &large, "b"),
    ] {
        let mut chunks = Chunks::new();
        let fine_len = if byte.is_empty() { fine.len() - 1 } else { fine.len() };
        let whole = format!("{fine}{byte}");
        let (before, last) = whole.split_at(fine_len);
        let walked = chunks.walk(before.as_bytes(), |_| {});
        assert!(walked.is_ok_and(|walked| !walked.complete), "{fine:?}");
        assert_eq!(chunks.walk(last.as_bytes(), |_| {}), Err(fault), "{whole:?}");
        assert_eq!(walk(whole.as_bytes()), Err(fault), "{whole:?}");
        seen.push(fault);
    }
    for fault in ChunkFault::ALL {
        assert!(seen.contains(fault), "{fault:?} has no example");
        assert!(fault.to_string().ends_with('.') && fault.label().starts_with("chunk_"));
    }
}

#[test]
fn the_largest_chunk_is_counted_to_its_end() {
    let mut chunks = Chunks::new();
    let walked = chunks.walk(b"7fffffffffffffff\r\nabc", |_| {}).expect("63 bits");
    assert_eq!((walked.len, walked.payload, walked.complete), (21, 3, false));
    assert_eq!(chunks.left, i64::MAX as u64 - 3);
}

#[test]
fn what_follows_the_end_is_no_part_of_it() {
    let mut chunks = Chunks::new();
    assert_eq!(chunks.walk(b"0\r\n\r", |_| {}).map(|walked| walked.complete), Ok(false));
    assert_eq!(chunks.walk(b"\n0\r\n", |_| {}).map(|walked| walked.len), Ok(1));
    let after = chunks.walk(b"\n", |_| {});
    assert_eq!(after, Ok(Taken { complete: true, ..Taken::default() }));
}

#[test]
fn it_is_small_enough_for_every_connection() {
    assert!(size_of::<Chunks>() <= 16);
}

fn by_the_grammar() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = "(;[a-z]{1,3}(=([a-z0-9]{1,3}|\"([a-z;= ]|\\\\[\"a])*\"))?){0,2}";
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), extension, any::<bool>());
    let trailers = "([A-Za-z-]{1,5}:[ -~\t]{0,8}\r\n){0,3}";
    (prop::collection::vec(chunk, 0..5), extension, trailers).prop_map(
        |(chunks, last_extension, trailers)| {
            let (mut body, mut payload) = (Vec::new(), Vec::new());
            for (data, extension, upper) in chunks {
                let size =
                    if upper { format!("{:04X}", data.len()) } else { format!("{:x}", data.len()) };
                body.extend(format!("{size}{extension}\r\n").bytes());
                body.extend(&data);
                body.extend(b"\r\n");
                payload.extend(data);
            }
            body.extend(format!("0{last_extension}\r\n{trailers}\r\n").bytes());
            (body, payload)
        },
    )
}

proptest! {
    #[test]
    fn a_body_by_the_grammar_is_fine((body, payload) in by_the_grammar()) {
        let (data, walked) = walk(&body).expect("by the grammar");
        prop_assert_eq!(data, payload);
        prop_assert_eq!((walked.len, walked.complete), (body.len(), true));
        let forwarded = [&body[..walked.trailers.start], &body[walked.trailers.end..]].concat();
        let (again, walked) = walk(&forwarded).expect("without its trailers");
        prop_assert_eq!((again.len(), walked.trailers.len()), (walked.payload, 0));
    }

    #[test]
    fn a_changed_body_is_read_as_the_reference_reads_it(
        (mut body, _) in by_the_grammar(),
        place in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n\0\t :;=\"\\0a5g\x7f\xff".to_vec()),
    ) {
        let place = place.index(body.len());
        body[place] = byte;
        let accepted = walk(&body).ok().filter(|(_, walked)| walked.complete);
        let accepted = accepted.map(|(payload, walked)| (walked.len, payload));
        prop_assert_eq!(accepted, chunked::read(&body));
    }
}
