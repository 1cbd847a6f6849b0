//! Body framing: lengths, codings and chunks.

use proto_contracts::ErrorCode::{BadRequest, BodyTooLarge};

use super::{
    Case, CutOff, NEXT, Neutralised, NoResponse, POST, Pipelined, Rejected, SMUGGLED, case,
};
use crate::testbed::engine;

pub(super) fn cases() -> Vec<Case> {
    [framings(), chunks(), truncated()].concat()
}

/// Framings that other parsers read differently, each followed by a request that one of them would
/// find.
fn framings() -> Vec<Case> {
    let fields = [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 0\r\ntransfer-encoding: chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5\r\nContent-Length: 0",
        "content-length: 5, 5",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: -5",
        "content-length: -0",
        "content-length: 0x5",
        "content-length: 5.0",
        "content-length: 5e0",
        "content-length: 5_0",
        "content-length: 5 5",
        "content-length: five",
        "content-length: \u{665}",
        "content-length:",
        "content-length: ,5",
        "content-length: \"5\"",
        "content-length: 5;",
        "content-length: \x0b5",
        "content-length : 5",
        "content-length\t: 5",
        " content-length: 5",
        "content-length: 18446744073709551616",
        "content-length: 99999999999999999999999",
        "transfer-encoding: identity",
        "transfer-encoding: gzip",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked,",
        "transfer-encoding: ,chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;a=b",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: chunked\x0c",
        "transfer-encoding: \u{e7}hunked",
        "transfer-encoding:",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding\x0b: chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\ntransfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding\r\n: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    ];
    let rejected = fields.map(|fields| {
        case(
            &format!("{fields:?}"),
            format!("{POST}{fields}\r\n\r\n0\r\n\r\n{SMUGGLED}"),
            Rejected(BadRequest),
        )
    });
    let old = "POST /api/v1/stateless/calculate HTTP/1.0\r\nhost: a\r\n\
               transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let others = [
        case("chunks in HTTP/1.0", format!("{old}{SMUGGLED}"), Rejected(BadRequest)),
        case(
            "a declared length over the limit",
            format!("{POST}content-length: 1048577\r\n\r\n"),
            CutOff(BodyTooLarge),
        ),
        case(
            "a huge declared length",
            format!("{POST}content-length: 9999999999999999999\r\n\r\n"),
            CutOff(BodyTooLarge),
        ),
        case(
            "spaces around a length",
            format!("{POST}content-length: \t 2 \t\r\n\r\n{{}}"),
            Neutralised,
        ),
        case(
            "zeros before a length",
            format!("{POST}content-length: 0002\r\n\r\n{{}}"),
            Neutralised,
        ),
        case(
            "a request behind a length",
            format!("{POST}content-length: 2\r\n\r\n{{}}{NEXT}"),
            Pipelined,
        ),
        case(
            "a request behind no body",
            format!("{POST}content-length: 0\r\n\r\n{NEXT}"),
            Pipelined,
        ),
        case(
            "a request as a body",
            format!("{POST}content-length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
            Neutralised,
        ),
        case("a body without a length", format!("{POST}\r\n{NEXT}"), Pipelined),
        case(
            "other names",
            format!("{POST}content_length: 5\r\nx-transfer-encoding: chunked\r\n\r\n"),
            Neutralised,
        ),
    ];
    rejected.into_iter().chain(others).collect()
}

fn chunks() -> Vec<Case> {
    let chunked = |body: &str| format!("{POST}transfer-encoding: chunked\r\n\r\n{body}");
    let rejected = [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n\x01",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}\r0\r\n\r\n",
        "2\r\n{}xx0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "\u{662}\r\n{}\r\n0\r\n\r\n",
        "2,\r\n{}\r\n0\r\n\r\n",
    ];
    let rejected =
        rejected.map(|body| case(&format!("chunks {body:?}"), chunked(body), CutOff(BadRequest)));
    // No white space around an extension, which the grammar allows for old senders: Pingora
    // decodes chunks and encodes them again.
    let spaced = case(
        "white space before an extension",
        chunked("2 ;a=\"b\"\r\n{}\r\n0\r\n\r\n"),
        if engine() == "plain" { CutOff(BadRequest) } else { Neutralised },
    );
    let valid = [
        "2\r\n{}\r\n0\r\n\r\n",
        "00000002\r\n{}\r\n0\r\n\r\n",
        "2;a=b\r\n{}\r\n0\r\n\r\n",
        "2;a=\"b\"\r\n{}\r\n0;c\r\n\r\n",
        "2\r\n{}\r\n0\r\nx-trailer: y\r\ncontent-length: 5\r\n\r\n",
        "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    ];
    let valid = valid.map(|body| {
        case(
            &format!("chunks {body:?}, then another request"),
            chunked(&format!("{body}{NEXT}")),
            Pipelined,
        )
    });
    rejected.into_iter().chain(valid).chain([spaced]).collect()
}

fn truncated() -> Vec<Case> {
    vec![
        case("less body than declared", format!("{POST}content-length: 5\r\n\r\n{{}}"), NoResponse),
        case("no body though declared", format!("{POST}content-length: 5\r\n\r\n"), NoResponse),
        case(
            "no last chunk",
            format!("{POST}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n"),
            NoResponse,
        ),
        case(
            "half a chunk",
            format!("{POST}transfer-encoding: chunked\r\n\r\n5\r\n{{}}"),
            NoResponse,
        ),
        case(
            "half a chunk's size",
            format!("{POST}transfer-encoding: chunked\r\n\r\n5"),
            NoResponse,
        ),
        case(
            "no end of the last chunk",
            format!("{POST}transfer-encoding: chunked\r\n\r\n0\r\n"),
            NoResponse,
        ),
    ]
}
