//! The fields that a gateway decides by, or must not forward.

use proto_contracts::headers;

/// Multiplier of the hash, found by trial: it gives each name a slot of its own.
const FACTOR: u64 = 0xd751_0add_dbc2_eb49;
/// Bits of a slot's number.
const SLOT_BITS: u32 = 8;
/// Names of up to this length are distinguished by three words.
const MAX_NAME: usize = 24;

macro_rules! kinds {
    ($($kind:ident = $name:expr,)*) => {
        /// Which field a line is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FieldKind {
            $(#[doc = concat!("`", stringify!($kind), "`")] $kind,)*
            /// Any other `X-Forwarded-…`.
            XForwardedOther,
            /// Any `Access-Control-…`.
            AccessControl,
            /// Any other field.
            Other,
        }

        impl FieldKind {
            /// Every kind with one name, and that name in lower case.
            pub const NAMED: &[(Self, &str)] = &[$((Self::$kind, $name)),*];
        }
    };
}

kinds! {
    Host = "host",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    KeepAlive = "keep-alive",
    Te = "te",
    Trailer = "trailer",
    ProxyConnection = "proxy-connection",
    Upgrade = "upgrade",
    Expect = "expect",
    Cookie = "cookie",
    Authorization = "authorization",
    XRequestId = headers::REQUEST_ID,
    XForwardedFor = headers::FORWARDED_FOR,
    XForwardedProto = headers::FORWARDED_PROTO,
    XForwardedHost = headers::FORWARDED_HOST,
    Forwarded = "forwarded",
    XRealIp = headers::REAL_IP,
    XSharedAddress = headers::SHARED_ADDRESS,
    XAffinity = headers::AFFINITY,
    XAffinityKey = headers::AFFINITY_KEY,
    XSessionAffinity = headers::SESSION_AFFINITY,
    XServedBy = headers::SERVED_BY,
    XInstanceId = headers::INSTANCE_ID,
    XLiveSessions = headers::LIVE_SESSIONS,
    XDraining = headers::DRAINING,
    XDrainDecision = headers::DRAIN_DECISION,
    XWeight = headers::WEIGHT,
    XClientRate = headers::CLIENT_RATE,
    XRoutingStrategy = headers::ROUTING_STRATEGY,
    IdempotencyKey = headers::IDEMPOTENCY_KEY,
    Traceparent = headers::TRACEPARENT,
    Tracestate = headers::TRACESTATE,
    Via = "via",
    Date = "date",
    Server = "server",
    SetCookie = "set-cookie",
    CacheControl = "cache-control",
    RetryAfter = "retry-after",
    ServerTiming = headers::SERVER_TIMING,
    RateLimit = headers::RATE_LIMIT,
    RateLimitPolicy = headers::RATE_LIMIT_POLICY,
}

/// Names of other fields that are common, so that they need no check byte by byte.
const COMMON: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-security-policy",
    "content-type",
    "dnt",
    "etag",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "user-agent",
    "vary",
    "x-requested-with",
];

/// Number of names in the table: those with a kind, then the common ones.
const NAMES: usize = FieldKind::NAMED.len() + COMMON.len();
/// For each hash the index of its name, plus one; 0 when no name has it.
const SLOTS: [u8; 1 << SLOT_BITS] = slots();
const KNOWN: [Known; NAMES] = known();

impl FieldKind {
    /// The kind of a field with this name, in any case.
    pub fn of(name: &[u8]) -> Self {
        Self::known(name).map_or_else(|| Self::of_unknown(name), |(kind, _)| kind)
    }

    /// The kind of a field with a name of the table, in any case, and whether it has upper-case
    /// letters. Such a name is a token.
    #[inline]
    pub(super) fn known(name: &[u8]) -> Option<(Self, bool)> {
        if name.len() > MAX_NAME {
            return None;
        }
        let key = Key::of(name);
        let index = usize::from(SLOTS[key.slot()]).wrapping_sub(1);
        let known = KNOWN.get(index)?;
        known.is(key).then(|| (known.kind, key != known.lower))
    }

    /// The kind of a name that is not [`known`](Self::known).
    #[inline]
    pub(super) fn of_unknown(name: &[u8]) -> Self {
        let begins_with = |prefix: &[u8]| {
            name.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix))
        };
        match name.first_chunk().map(|first| u64::from_le_bytes(*first) | LOWER) {
            Some(X_FORWAR) if begins_with(b"x-forwarded-") => Self::XForwardedOther,
            Some(ACCESS_C) if begins_with(b"access-control-") => Self::AccessControl,
            _ => Self::Other,
        }
    }

    /// Whether the field is meant for the next hop only (RFC 9110, section 7.6.1), so that a proxy
    /// does not forward it. A proxy frames the body itself, so it writes its own
    /// `Transfer-Encoding`.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether only gateways may set the field on a request to an instance.
    pub const fn is_internal(self) -> bool {
        matches!(
            self,
            Self::XForwardedFor
                | Self::XForwardedProto
                | Self::XForwardedHost
                | Self::XForwardedOther
                | Self::Forwarded
                | Self::XRealIp
                | Self::XSharedAddress
                | Self::XAffinity
                | Self::XAffinityKey
                | Self::XSessionAffinity
                | Self::XServedBy
                | Self::XInstanceId
                | Self::XLiveSessions
                | Self::XDraining
                | Self::XDrainDecision
                | Self::XWeight
                | Self::XClientRate
                | Self::XRoutingStrategy
        )
    }
}

/// The bit that makes letters lower case, in each byte of a word.
const LOWER: u64 = 0x2020_2020_2020_2020;
const X_FORWAR: u64 = u64::from_le_bytes(*b"x-forwar");
const ACCESS_C: u64 = u64::from_le_bytes(*b"access-c");

/// A name as numbers: its first and last bytes, those between, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    middle: u64,
    len: u64,
}

impl Key {
    const fn of(name: &[u8]) -> Self {
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) => {
                    (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
                }
                _ => match name {
                    [a, .., b] => (*a as u64, (*b as u64) << 8 | name[name.len() / 2] as u64),
                    [a] => (*a as u64, 0),
                    [] => (0, 0),
                },
            },
        };
        let middle = match name.len() {
            17.. => match name.split_at(8).1.first_chunk() {
                Some(middle) => u64::from_le_bytes(*middle),
                None => 0,
            },
            _ => 0,
        };
        Self { first, last, middle, len: name.len() as u64 }
    }

    const fn slot(&self) -> usize {
        let mixed = (self.first | LOWER) ^ (self.last | LOWER) << 1 ^ self.len;
        (mixed.wrapping_mul(FACTOR) >> (u64::BITS - SLOT_BITS)) as usize
    }
}

/// A name in lower case, and the bits by which its letters may differ.
#[derive(Clone, Copy)]
struct Known {
    lower: Key,
    letters: Key,
    kind: FieldKind,
}

impl Known {
    const fn is(&self, key: Key) -> bool {
        let Self { lower, letters, .. } = self;
        key.first | letters.first == lower.first
            && key.last | letters.last == lower.last
            && key.middle | letters.middle == lower.middle
            && key.len == lower.len
    }
}

const fn known() -> [Known; NAMES] {
    const NONE: Key = Key { first: 0, last: 0, middle: 0, len: 0 };
    let mut known = [Known { lower: NONE, letters: NONE, kind: FieldKind::Other }; NAMES];
    let mut index = 0;
    while index < NAMES {
        let (kind, name) = if index < FieldKind::NAMED.len() {
            FieldKind::NAMED[index]
        } else {
            (FieldKind::Other, COMMON[index - FieldKind::NAMED.len()])
        };
        let name = name.as_bytes();
        let mut letters = [0; MAX_NAME];
        assert!(name.len() <= MAX_NAME, "the name is too long for a key");
        let mut place = 0;
        while place < name.len() {
            assert!(name[place] == b'-' || name[place].is_ascii_lowercase(), "no lower-case name");
            letters[place] = if name[place] == b'-' { 0 } else { 0x20 };
            place += 1;
        }
        let letters = Key::of(letters.split_at(name.len()).0);
        known[index] = Known { lower: Key::of(name), letters, kind };
        index += 1;
    }
    known
}

const fn slots() -> [u8; 1 << SLOT_BITS] {
    let (known, mut slots) = (known(), [0; 1 << SLOT_BITS]);
    let mut index = 0;
    while index < NAMES {
        let slot = known[index].lower.slot();
        assert!(slots[slot] == 0, "two names have the same slot: choose another FACTOR");
        index += 1;
        slots[slot] = index as u8;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_kind_in_any_case() {
        for &(kind, name) in FieldKind::NAMED {
            let title: String = name
                .split_inclusive('-')
                .map(|part| format!("{}{}", part[..1].to_ascii_uppercase(), &part[1..]))
                .collect();
            for spelled in [name, &title, &name.to_ascii_uppercase()] {
                assert_eq!(FieldKind::of(spelled.as_bytes()), kind, "{spelled}");
            }
        }
        for name in ["x-forwarded-", "X-Forwarded-Port", "x-forwarded-for-a-very-long-time"] {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::XForwardedOther, "{name}");
        }
        for name in ["access-control-max-age", "Access-Control-Allow-Origin"] {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::AccessControl, "{name}");
        }
        assert_eq!(FieldKind::of(b"access-controls"), FieldKind::Other);
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another_field() {
        for &(kind, name) in FieldKind::NAMED {
            for place in 0..name.len() {
                for byte in 0..=u8::MAX {
                    let mut other = name.as_bytes().to_vec();
                    other[place] = byte;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(FieldKind::of(&other) == kind, same, "{}", other.escape_ascii());
                }
            }
            let longer = [name.as_bytes(), b"x"].concat();
            assert_ne!(FieldKind::of(&longer), kind, "{name}x");
            assert_ne!(FieldKind::of(&name.as_bytes()[1..]), kind, "{name}");
        }
        assert_eq!(FieldKind::of(b"x_forwarded_for"), FieldKind::Other);
        for name in COMMON {
            let known = |name: &str| FieldKind::known(name.as_bytes());
            assert_eq!(known(name), Some((FieldKind::Other, false)), "{name}");
            for place in name.match_indices(char::is_alphabetic).map(|(place, _)| place) {
                let mut other = (*name).to_owned();
                other[place..=place].make_ascii_uppercase();
                assert_eq!(known(&other), Some((FieldKind::Other, true)), "{other}");
            }
        }
        assert_eq!(FieldKind::known(b"acc\rpt"), None, "no token");
    }
}
