//! What can be wrong with a header, and what the client is told.

use std::borrow::Cow;

use proto_contracts::ErrorCode;
use proto_contracts::path::PathFault;

use crate::http_strict::limits::HeaderLimits;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $label:literal, $code:ident;)*) => {
        /// What is wrong with a header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// As the metrics name it.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$fault => $label,)* }
            }

            /// The code that the client gets.
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
    /// A carriage return stands where no line ends.
    BareCarriageReturn = "bare_carriage_return", BadRequest;
    /// A control byte, NUL among them.
    ControlByte = "control_byte", BadRequest;
    /// The method is no token.
    BadMethod = "bad_method", BadRequest;
    /// The method is none that the API knows.
    UnknownMethod = "unknown_method", MethodNotAllowed;
    /// The target has a space, a control byte or one beyond ASCII.
    IllegalByteInTarget = "illegal_byte_in_target", BadRequest;
    /// The target has a sign that no target may have, or another form than the method wants.
    BadTarget = "bad_target", BadRequest;
    /// A `%` without two hex digits behind it, or `%00`.
    BadEscape = "bad_escape", BadRequest;
    /// The path has a segment `.` or `..`.
    DotSegment = "dot_segment", BadRequest;
    /// The path has an escaped slash or backslash.
    EscapedSlash = "escaped_slash", BadRequest;
    /// The path has an escaped control character.
    EscapedControl = "escaped_control", BadRequest;
    /// The escapes of the path are no UTF-8.
    PathNotUtf8 = "path_not_utf8", BadRequest;
    /// The path is longer than any may be.
    PathTooLong = "path_too_long", UriTooLong;
    /// What stands for the version is none.
    BadVersion = "bad_version", BadRequest;
    /// Another version than 1.1 and 1.0.
    UnsupportedVersion = "unsupported_version", VersionNotSupported;
    /// A line that continues the one before it (obsolete folding).
    FoldedLine = "folded_line", BadRequest;
    /// White space between a field's name and its colon.
    SpaceInName = "space_in_name", BadRequest;
    /// A field's name has a byte that no name may have, or there is no name.
    BadName = "bad_name", BadRequest;
    /// A line that is no field.
    NoColon = "no_colon", BadRequest;
    /// There is no `Host`.
    NoHost = "no_host", BadRequest;
    /// There are two `Host` fields.
    SeveralHosts = "several_hosts", BadRequest;
    /// `Host` names no host.
    BadHost = "bad_host", BadRequest;
    /// `Host` and the target name different hosts.
    HostDiffers = "host_differs", BadRequest;
    /// `Content-Length` is no number.
    BadLength = "bad_length", BadRequest;
    /// There are two `Content-Length` fields.
    SeveralLengths = "several_lengths", BadRequest;
    /// Both `Content-Length` and `Transfer-Encoding` tell where the body ends.
    LengthAndChunks = "length_and_chunks", BadRequest;
    /// `Transfer-Encoding` has another coding than `chunked`.
    UnknownCoding = "unknown_coding", BadRequest;
    /// There is more than one transfer coding.
    SeveralCodings = "several_codings", BadRequest;
    /// HTTP/1.0 knows no `Transfer-Encoding`.
    ChunksInHttp10 = "chunks_in_http_1_0", BadRequest;
    /// `Expect` wants something else than `100-continue`.
    UnknownExpectation = "unknown_expectation", ExpectationFailed;
    /// `Upgrade` wants another protocol than `websocket`.
    UnknownUpgrade = "unknown_upgrade", BadRequest;
    /// A request that wants another protocol has a body.
    UpgradeWithBody = "upgrade_with_body", BadRequest;
    /// The target is longer than it may be.
    TargetTooLong = "target_too_long", UriTooLong;
    /// The header has more bytes than it may.
    HeaderTooLarge = "header_too_large", HeaderTooLarge;
    /// The header has more fields than it may.
    TooManyFields = "too_many_fields", HeaderTooLarge;
    /// The client went on too slowly.
    TooSlow = "too_slow", RequestTimeout;
    /// The client sends nothing more, and the header is not complete.
    CutShort = "cut_short", BadRequest;
}

impl Fault {
    /// What the client is told: what is wrong, and where it helps, what would be right.
    pub fn detail(self, limits: HeaderLimits) -> Cow<'static, str> {
        let text = match self {
            Self::TargetTooLong => return format!("A target may have {} bytes.", limits.target_bytes).into(),
            Self::HeaderTooLarge | Self::TooManyFields => {
                return format!("A header may have {} fields and {} bytes.", limits.fields, limits.bytes).into();
            }
            Self::NoRequestLine => "The first line must be a method, a target and HTTP/1.1.",
            Self::BareLineFeed => "A line of the header ends with LF alone; it must end with CR LF.",
            Self::BareCarriageReturn => "The header has a CR that ends no line.",
            Self::ControlByte => "The header has a control byte.",
            Self::BadMethod => "The method has a byte that no method may have.",
            Self::UnknownMethod => "Use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
            Self::IllegalByteInTarget => {
                "The target has a space, a control byte or one beyond ASCII; escape it as %XX."
            }
            Self::BadTarget => {
                "The target must be a path, or a URL of this host; escape the signs that it may not have."
            }
            Self::BadEscape => "A % in the target must be followed by two hex digits that are not 00.",
            Self::DotSegment => return PathFault::DotSegment.to_string().into(),
            Self::EscapedSlash => return PathFault::EscapedSlash.to_string().into(),
            Self::EscapedControl => return PathFault::EscapedControl.to_string().into(),
            Self::PathNotUtf8 => return PathFault::NotUtf8.to_string().into(),
            Self::PathTooLong => return PathFault::TooLong.to_string().into(),
            Self::BadVersion => "The request line must end with HTTP/1.1.",
            Self::UnsupportedVersion => "Use HTTP/1.1.",
            Self::FoldedLine => "A field may not go on in the next line.",
            Self::SpaceInName => "A field's name is followed by a colon, without a space.",
            Self::BadName => "A field's name has a byte that no name may have.",
            Self::NoColon => "A line of the header has no colon.",
            Self::NoHost => "The Host field is missing.",
            Self::SeveralHosts => "There may be one Host field.",
            Self::BadHost => "The Host field must be a name or an address, with a port or without.",
            Self::HostDiffers => "The Host field and the target name different hosts.",
            Self::BadLength => "Content-Length must be one number of at most 19 digits, and nothing else.",
            Self::SeveralLengths => "There may be one Content-Length field.",
            Self::LengthAndChunks => "There may be Content-Length or Transfer-Encoding, not both.",
            Self::UnknownCoding => "The only transfer coding is chunked.",
            Self::SeveralCodings => "There may be one transfer coding, chunked.",
            Self::ChunksInHttp10 => "HTTP/1.0 knows no Transfer-Encoding; use HTTP/1.1.",
            Self::UnknownExpectation => "The only expectation is 100-continue, in HTTP/1.1.",
            Self::UnknownUpgrade => "The only protocol to upgrade to is websocket, from HTTP/1.1.",
            Self::UpgradeWithBody => "A request that upgrades the connection may not have a body.",
            Self::TooSlow => "The whole header must arrive sooner.",
            Self::CutShort => "The connection ended within the header.",
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
