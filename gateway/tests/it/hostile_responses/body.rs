//! Bodies: chunks, early ends, surplus bytes, and bodies where there are none.

use super::{Bodiless, Case, CutOff, LEAKED, Passed, Rejected};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n";
const LAST: &str = "0\r\n\r\n";

/// Chunks that two parsers may read differently.
const INVALID: [&str; 26] = [
    "zz\r\nok\r\n0\r\n\r\n",
    "g\r\nok\r\n0\r\n\r\n",
    "\r\n2\r\nok\r\n0\r\n\r\n",
    "2\nok\r\n0\r\n\r\n",
    "2\rok\r\n0\r\n\r\n",
    "2\r\r\nok\r\n0\r\n\r\n",
    "-2\r\nok\r\n0\r\n\r\n",
    "+2\r\nok\r\n0\r\n\r\n",
    "0x2\r\nok\r\n0\r\n\r\n",
    " 2\r\nok\r\n0\r\n\r\n",
    "2 \r\nok\r\n0\r\n\r\n",
    "2\0\r\nok\r\n0\r\n\r\n",
    "2,2\r\nok\r\n0\r\n\r\n",
    "2;\r\nok\r\n0\r\n\r\n",
    "2;=\r\nok\r\n0\r\n\r\n",
    "2;a=\"\r\nok\r\n0\r\n\r\n",
    "2;a=b\nok\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "10000000000000002\r\nok\r\n0\r\n\r\n",
    "00000000000000002\r\nok\r\n0\r\n\r\n",
    "2\r\nokk\r\n0\r\n\r\n",
    "1\r\nok\r\n0\r\n\r\n",
    "2\r\nok\n0\r\n\r\n",
    "2\r\nok\r\n0\r\nx y: z\r\n\r\n",
    "2\r\nok\r\n0\r\nx: y\r\n z\r\n\r\n",
    "2\r\nok\r\n0\r\nx: y\n\r\n",
];

/// Ends before the body does.
const SHORT: [&str; 12] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",
    "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nok",
    "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7fffffffffffffff\r\nok",
];

/// More than the body.
fn surplus() -> Vec<Case> {
    let passed = |text: String| Case::raw(text, Passed);
    vec![
        passed(format!("{LENGTH}\r\nok{LEAKED}")),
        passed(format!("{LENGTH}\r\nok\r\n")),
        passed(format!("{LENGTH}\r\nok\0")),
        passed(format!("{LENGTH}connection: close\r\n\r\nok{LEAKED}")),
        passed(format!("{LENGTH}\r\nok{}", LEAKED.repeat(2_000))),
        passed(format!("{CHUNKED}2\r\nok\r\n{LAST}{LEAKED}")),
        passed(format!("{CHUNKED}2\r\nok\r\n{LAST}{LAST}")),
        passed(format!("{LENGTH}\r\nokHTTP/1.1 100 Go\r\n\r\n")),
        Case::closed(format!("{LENGTH}\r\nok{LEAKED}"), Passed),
        Case::closed(format!("{CHUNKED}2\r\nok\r\n{LAST}{LEAKED}"), Passed),
    ]
}

/// Bodies where there are none.
fn bodiless() -> Vec<Case> {
    let modified = |fields: &str| format!("HTTP/1.1 304 Same\r\n{fields}\r\n");
    let head = |text: String| Case::raw(text, Bodiless(200)).for_head();
    vec![
        Case::raw(format!("HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n{LAST}"), Rejected),
        Case::raw("HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\nok", Rejected),
        Case::raw("HTTP/1.1 204 No\r\n\r\nok", Bodiless(204)),
        Case::raw(format!("HTTP/1.1 204 No\r\n\r\n{LEAKED}"), Bodiless(204)),
        Case::raw(modified("content-length: 6\r\n") + "leaked", Bodiless(304)),
        Case::raw(modified("transfer-encoding: chunked\r\n") + "2\r\nok\r\n" + LAST, Bodiless(304)),
        Case::raw(modified("") + LEAKED, Bodiless(304)),
        Case::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{LEAKED}"), Bodiless(200)),
        head(format!("{LENGTH}\r\nok")),
        head(format!("{LENGTH}\r\n{LEAKED}")),
        head(format!("{CHUNKED}2\r\nok\r\n{LAST}")),
        head("HTTP/1.1 200 OK\r\n\r\nok".to_owned()),
        head("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_owned()),
        Case::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n", Rejected)
            .for_head(),
        Case::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", Rejected).for_head(),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let invalid = INVALID.map(|chunks| Case::raw(format!("{CHUNKED}{chunks}"), Rejected));
    let old = format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n{LAST}");
    let passed = [
        format!("{CHUNKED}2\r\nok\r\n0\r\nx-leak: y\r\n\r\n"),
        format!("{CHUNKED}2;a=b\r\nok\r\n0;c\r\n\r\n"),
        format!("{CHUNKED}0002;a=\"\\\"\"\r\nok\r\n000\r\n\r\n"),
        format!("{CHUNKED}1\r\no\r\n1\r\nk\r\n{LAST}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n{LAST}"),
    ];
    let until_close = ["HTTP/1.1 200 OK\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok"];
    let mut cases: Vec<_> = invalid.into_iter().collect();
    cases.push(Case::raw(old, Rejected));
    cases.extend(passed.map(|text| Case::raw(text, Passed)));
    cases.extend(until_close.map(|text| Case::closed(text, Passed)));
    cases.extend(SHORT.map(|text| Case::closed(text, CutOff)));
    cases.extend(surplus());
    cases.extend(bodiless());
    cases
}
