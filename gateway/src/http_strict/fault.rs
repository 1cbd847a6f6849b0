//! Faults of a header, and the error detail for the client.

use std::borrow::Cow;

use proto_contracts::ErrorCode;
use proto_contracts::path::PathFault;

use crate::http_strict::limits::HeaderLimits;
use crate::http_strict::line_fault::LineFault;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $label:literal, $code:ident;)*) => {
        /// A fault of a header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The label in metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$fault => $label,)* }
            }

            /// The error code of the response.
            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$fault => ErrorCode::$code,)* }
            }
        }
    };
}

faults! {
    /// The first line is not `METHOD target HTTP/version`.
    NoRequestLine = "no_request_line", BadRequest;
    /// A line ends with a line feed alone.
    BareLineFeed = "bare_line_feed", BadRequest;
    /// A carriage return within a line.
    BareCarriageReturn = "bare_carriage_return", BadRequest;
    /// A control character, such as NUL.
    ControlByte = "control_byte", BadRequest;
    /// The method is not a token.
    BadMethod = "bad_method", BadRequest;
    /// The method is not supported.
    UnknownMethod = "unknown_method", MethodNotAllowed;
    /// The target has a space, a control character or a non-ASCII byte.
    IllegalByteInTarget = "illegal_byte_in_target", BadRequest;
    /// The target has an invalid character or form.
    BadTarget = "bad_target", BadRequest;
    /// A `%` without two hex digits behind it, or `%00`.
    BadEscape = "bad_escape", BadRequest;
    /// The path has a segment `.` or `..`.
    DotSegment = "dot_segment", BadRequest;
    /// The path has an escaped slash or backslash.
    EscapedSlash = "escaped_slash", BadRequest;
    /// The path has an escaped control character.
    EscapedControl = "escaped_control", BadRequest;
    /// The decoded path is not UTF-8.
    PathNotUtf8 = "path_not_utf8", BadRequest;
    /// The path is too long.
    PathTooLong = "path_too_long", UriTooLong;
    /// The version is malformed.
    BadVersion = "bad_version", BadRequest;
    /// A version other than 1.1 and 1.0.
    UnsupportedVersion = "unsupported_version", VersionNotSupported;
    /// A line that continues the one before it (obsolete folding).
    FoldedLine = "folded_line", BadRequest;
    /// White space between a field's name and its colon.
    SpaceInName = "space_in_name", BadRequest;
    /// A field name has an invalid character or is empty.
    BadName = "bad_name", BadRequest;
    /// A line without a colon.
    NoColon = "no_colon", BadRequest;
    /// `Host` is missing.
    NoHost = "no_host", BadRequest;
    /// There are two `Host` fields.
    SeveralHosts = "several_hosts", BadRequest;
    /// `Host` is malformed.
    BadHost = "bad_host", BadRequest;
    /// `Host` and the target name different hosts.
    HostDiffers = "host_differs", BadRequest;
    /// `Content-Length` is not a number.
    BadLength = "bad_length", BadRequest;
    /// There are two `Content-Length` fields.
    SeveralLengths = "several_lengths", BadRequest;
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndChunks = "length_and_chunks", BadRequest;
    /// `Transfer-Encoding` is not `chunked`.
    UnknownCoding = "unknown_coding", BadRequest;
    /// More than one transfer coding.
    SeveralCodings = "several_codings", BadRequest;
    /// `Transfer-Encoding` in HTTP/1.0.
    ChunksInHttp10 = "chunks_in_http_1_0", BadRequest;
    /// `Expect` is not `100-continue`.
    UnknownExpectation = "unknown_expectation", ExpectationFailed;
    /// `Upgrade` is not `websocket`.
    UnknownUpgrade = "unknown_upgrade", BadRequest;
    /// A request with `Upgrade` has a body.
    UpgradeWithBody = "upgrade_with_body", BadRequest;
    /// The target is too long.
    TargetTooLong = "target_too_long", UriTooLong;
    /// The header has too many bytes.
    HeaderTooLarge = "header_too_large", HeaderTooLarge;
    /// The header has too many fields.
    TooManyFields = "too_many_fields", HeaderTooLarge;
    /// The header timeout.
    TooSlow = "too_slow", RequestTimeout;
    /// The client closed before the header was complete.
    CutShort = "cut_short", BadRequest;
}

impl Fault {
    /// The error detail: the fault and, where it helps, the cure.
    pub fn detail(self, limits: HeaderLimits) -> Cow<'static, str> {
        let text = match self {
            Self::TargetTooLong => {
                return format!(
                    "The request target may have at most {} bytes.",
                    limits.target_bytes
                )
                .into();
            }
            Self::HeaderTooLarge | Self::TooManyFields => {
                return format!(
                    "The header may have at most {} fields and {} bytes.",
                    limits.fields, limits.bytes
                )
                .into();
            }
            Self::NoRequestLine => "The first line must be a method, a target and HTTP/1.1.",
            Self::BareLineFeed => "A header line ends with a bare LF; it must end with CR LF.",
            Self::BareCarriageReturn => "The header has a CR that is not followed by LF.",
            Self::ControlByte => "The header has a control character.",
            Self::BadMethod => "The method has an invalid character.",
            Self::UnknownMethod => "Use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
            Self::IllegalByteInTarget => {
                "The request target has a space, a control character or a non-ASCII byte; \
                 percent-encode it."
            }
            Self::BadTarget => {
                "The request target must be a path or a URL of this host; percent-encode reserved \
                 characters."
            }
            Self::BadEscape => {
                "A % in the request target must be followed by two hex digits other than 00."
            }
            Self::DotSegment => return PathFault::DotSegment.to_string().into(),
            Self::EscapedSlash => return PathFault::EscapedSlash.to_string().into(),
            Self::EscapedControl => return PathFault::EscapedControl.to_string().into(),
            Self::PathNotUtf8 => return PathFault::NotUtf8.to_string().into(),
            Self::PathTooLong => return PathFault::TooLong.to_string().into(),
            Self::BadVersion => "The request line must end with HTTP/1.1.",
            Self::UnsupportedVersion => "Use HTTP/1.1.",
            Self::FoldedLine => "A header field must not be folded over several lines.",
            Self::SpaceInName => "There must be no space between a field name and its colon.",
            Self::BadName => "A field name has an invalid character.",
            Self::NoColon => "A header line has no colon.",
            Self::NoHost => "The Host header is missing.",
            Self::SeveralHosts => "There must be exactly one Host header.",
            Self::BadHost => "The Host header must be a name or an address, with an optional port.",
            Self::HostDiffers => "The Host header and the request target name different hosts.",
            Self::BadLength => "Content-Length must be a single number of at most 19 digits.",
            Self::SeveralLengths => "There must be at most one Content-Length header.",
            Self::LengthAndChunks => "Content-Length and Transfer-Encoding must not be combined.",
            Self::UnknownCoding => "The only supported transfer coding is chunked.",
            Self::SeveralCodings => "There must be at most one transfer coding, chunked.",
            Self::ChunksInHttp10 => "HTTP/1.0 has no Transfer-Encoding; use HTTP/1.1.",
            Self::UnknownExpectation => "The only supported expectation is 100-continue.",
            Self::UnknownUpgrade => "The only supported upgrade is websocket, over HTTP/1.1.",
            Self::UpgradeWithBody => "A request with Upgrade must not have a body.",
            Self::TooSlow => "The header did not arrive within the timeout.",
            Self::CutShort => "The connection closed before the header was complete.",
        };
        text.into()
    }
}

impl From<PathFault> for Fault {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::IllegalByte => Self::BadTarget,
            PathFault::BadEscape => Self::BadEscape,
            PathFault::EscapedSlash => Self::EscapedSlash,
            PathFault::EscapedControl => Self::EscapedControl,
            PathFault::DotSegment => Self::DotSegment,
            PathFault::NotUtf8 => Self::PathNotUtf8,
            PathFault::TooLong => Self::PathTooLong,
        }
    }
}

impl From<LineFault> for Fault {
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
