//! Faults of a response's header.

use crate::http_strict::line_fault::LineFault;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $label:literal, $detail:literal;)*) => {
        /// A fault of a response's header. Its connection must not be used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum ResponseFault {
            $($(#[$doc])* #[error($detail)] $fault,)*
        }

        impl ResponseFault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The label in metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$fault => $label,)* }
            }
        }
    };
}

faults! {
    /// The first line is not `HTTP/version status reason`.
    NoStatusLine = "no_status_line",
        "The first line of the response must be HTTP/1.1, a status and a reason.";
    /// A version other than 1.1 and 1.0.
    UnsupportedVersion = "unsupported_version", "The response must be of HTTP/1.1 or HTTP/1.0.";
    /// The status is not within 100 and 599.
    BadStatus = "bad_status", "The status of the response must be a number from 100 to 599.";
    /// A line ends with a line feed alone.
    BareLineFeed = "bare_line_feed",
        "A line of the response ends with a bare LF; it must end with CR LF.";
    /// A carriage return within a line.
    BareCarriageReturn = "bare_carriage_return",
        "The response has a CR that is not followed by LF.";
    /// A control character, such as NUL.
    ControlByte = "control_byte", "The response's header has a control character.";
    /// A line that continues the one before it (obsolete folding).
    FoldedLine = "folded_line", "A field of the response is folded over several lines.";
    /// White space between a field's name and its colon.
    SpaceInName = "space_in_name", "A field of the response has a space before its colon.";
    /// A field name has an invalid character or is empty.
    BadName = "bad_name", "A field name of the response has an invalid character.";
    /// A line without a colon.
    NoColon = "no_colon", "A header line of the response has no colon.";
    /// `Content-Length` is not a number.
    BadLength = "bad_length",
        "The response's Content-Length must be a single number of at most 19 digits.";
    /// There are two `Content-Length` fields.
    SeveralLengths = "several_lengths", "The response has several Content-Length fields.";
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndChunks = "length_and_chunks",
        "The response has both Content-Length and Transfer-Encoding.";
    /// `Transfer-Encoding` is not `chunked`.
    UnknownCoding = "unknown_coding", "The response has a transfer coding other than chunked.";
    /// More than one transfer coding.
    SeveralCodings = "several_codings", "The response has several transfer codings.";
    /// `Transfer-Encoding` in HTTP/1.0.
    ChunksInHttp10 = "chunks_in_http_1_0", "The response has Transfer-Encoding in HTTP/1.0.";
    /// A body is declared where the status allows none.
    UnexpectedBody = "unexpected_body", "A response 1xx or 204 declares a body.";
    /// The header has too many bytes.
    HeaderTooLarge = "header_too_large", "The response's header has too many bytes.";
    /// The header has too many fields.
    TooManyFields = "too_many_fields", "The response's header has too many fields.";
}

impl From<LineFault> for ResponseFault {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::BareLineFeed => Self::BareLineFeed,
            LineFault::BareCarriageReturn => Self::BareCarriageReturn,
            LineFault::ControlByte => Self::ControlByte,
            LineFault::FoldedLine => Self::FoldedLine,
            LineFault::SpaceInName => Self::SpaceInName,
            LineFault::BadName => Self::BadName,
            LineFault::NoColon => Self::NoColon,
            LineFault::TooLong => Self::HeaderTooLarge,
        }
    }
}
