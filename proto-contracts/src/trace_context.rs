//! The `traceparent` header (W3C Trace Context).

use crate::hex;

/// Length of the header's value in version 00.
const LENGTH: usize = 55;
/// The flag for a trace that the sender records.
const SAMPLED: u8 = 1;

/// The sender's position in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The sender's span.
    pub span_id: [u8; 8],
    /// Whether the sender records the trace.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Parses the header's value; `None` when it is invalid. Of a later version it reads the known
    /// fields, as the standard requires.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (fields, rest) = value.split_at_checked(LENGTH)?;
        let [version] = hex::decode(&fields[..2])?;
        let is_complete = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let is_delimited = [2, 35, 52].iter().all(|&place| fields[place] == b'-');
        let trace_id = hex::decode(&fields[3..35])?;
        let span_id = hex::decode(&fields[36..52])?;
        let [flags] = hex::decode(&fields[53..])?;
        let is_valid = is_complete && is_delimited && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, is_sampled: flags & SAMPLED != 0 })
    }

    /// The header's value.
    pub fn to_ascii(self) -> [u8; LENGTH] {
        let mut value = *b"00-________________________________-________________-00";
        hex::encode(&self.trace_id, &mut value[3..35]);
        hex::encode(&self.span_id, &mut value[36..52]);
        value[54] = b'0' + u8::from(self.is_sampled);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_value_round_trips() {
        let context = TraceContext::parse(VALID.as_bytes()).expect("valid");
        assert!(context.is_sampled);
        assert_eq!(context.to_ascii(), VALID.as_bytes());
        let unsampled = TraceContext { is_sampled: false, ..context };
        assert!(unsampled.to_ascii().ends_with(b"-00"));
        assert_eq!(TraceContext::parse(&unsampled.to_ascii()), Some(unsampled));
    }

    #[test]
    fn unknown_flags_are_ignored() {
        let value = VALID.replace("-01", "-ff");
        assert!(TraceContext::parse(value.as_bytes()).expect("valid").is_sampled);
        let value = VALID.replace("-01", "-fe");
        assert!(!TraceContext::parse(value.as_bytes()).expect("valid").is_sampled);
    }

    #[test]
    fn a_later_version_may_have_more_fields() {
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("cc{}-more", &VALID[2..]),
        ] {
            assert!(TraceContext::parse(later.as_bytes()).is_some(), "{later}");
        }
    }

    #[test]
    fn nothing_else_is_valid() {
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for wrong in [
            String::new(),
            "00".to_owned(),
            VALID[..54].to_owned(),
            format!("{VALID}-"),
            format!("{VALID}-more"),
            format!("{VALID}0"),
            format!("ff-{ids}-01"),
            format!("cc-{ids}-01more"),
            format!("0x-{ids}-01"),
            format!("00_{ids}-01"),
            format!("00-{ids}_01"),
            format!("00-{}-01", ids.replace('-', "_")),
            format!("00-{}-01", ids.to_uppercase()),
            format!("00-{ids}-0g"),
            format!("00-{ids}-1"),
            format!(" 00-{ids}-01"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            "é".repeat(28),
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
