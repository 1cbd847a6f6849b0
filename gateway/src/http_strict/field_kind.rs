//! The fields that a gateway decides by, or must not forward.

use proto_contracts::headers;

/// Multiplier of the hash, found by trial: it gives each name a slot of its own.
const FACTOR: u64 = 0x1d9c_2560_4254_c82b;
/// Bits of a slot's number.
const SLOT_BITS: u32 = 7;
/// The names up to here are told apart by three words.
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

/// For each hash the index in [`FieldKind::NAMED`], plus one; 0 when no name has it.
const SLOTS: [u8; 1 << SLOT_BITS] = slots();
const KEYS: [Key; FieldKind::NAMED.len()] = keys();

impl FieldKind {
    /// The kind of a field with this name, in any case. The name must be a token.
    pub fn of(name: &[u8]) -> Self {
        if name.len() > MAX_NAME {
            return Self::of_unknown(name);
        }
        let key = Key::of(name);
        let index = usize::from(SLOTS[key.slot()]).wrapping_sub(1);
        match KEYS.get(index) {
            Some(known) if *known == key => Self::NAMED[index].0,
            _ => Self::of_unknown(name),
        }
    }

    fn of_unknown(name: &[u8]) -> Self {
        match name {
            [b'x' | b'X', b'-', b'f' | b'F', ..] => {
                let prefix = name.get(..b"x-forwarded-".len());
                let forwarded = prefix.is_some_and(|it| it.eq_ignore_ascii_case(b"x-forwarded-"));
                if forwarded { Self::XForwardedOther } else { Self::Other }
            }
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

/// A name in lower case, as numbers: its length, its first and last bytes, and those between.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    middle: u64,
    len: u64,
}

impl Key {
    /// Of a token. Among the bytes of tokens, only letters become letters or `-` by this bit.
    const fn of(name: &[u8]) -> Self {
        const LOWER: u64 = 0x2020_2020_2020_2020;
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
        Self {
            first: first | LOWER,
            last: last | LOWER,
            middle: middle | LOWER,
            len: name.len() as u64,
        }
    }

    const fn slot(&self) -> usize {
        let mixed = (self.first ^ self.last << 1 ^ self.len).wrapping_mul(FACTOR);
        (mixed >> (u64::BITS - SLOT_BITS)) as usize
    }
}

const fn keys() -> [Key; FieldKind::NAMED.len()] {
    let mut keys = [Key { first: 0, last: 0, middle: 0, len: 0 }; FieldKind::NAMED.len()];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = Key::of(FieldKind::NAMED[index].1.as_bytes());
        index += 1;
    }
    keys
}

const fn slots() -> [u8; 1 << SLOT_BITS] {
    let (keys, mut slots) = (keys(), [0; 1 << SLOT_BITS]);
    let mut index = 0;
    while index < keys.len() {
        let slot = keys[index].slot();
        assert!(slots[slot] == 0, "two names have the same slot: choose another FACTOR");
        assert!(FieldKind::NAMED[index].1.len() <= MAX_NAME, "the name is too long for a key");
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
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another_field() {
        for &(kind, name) in FieldKind::NAMED {
            for place in 0..name.len() {
                for byte in (b'!'..=b'~').filter(|&byte| super::super::token::is_token(byte)) {
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
    }
}
