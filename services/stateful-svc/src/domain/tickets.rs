//! Tickets: they stand for the `Authorization` header where a browser cannot set one, for a short time and one session.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use proto_contracts::SessionDigest;
use sha2::Sha256;

use super::caller::Caller;
use super::digest::ShortDigest;
use super::shared_secret::SharedSecret;

/// For how long a ticket opens a connection: enough to open it at once, and no more, since a ticket stands in a URL.
pub const VALID_FOR: Duration = Duration::from_secs(60);
/// The caller's digest of one who did not say who it is.
const ANONYMOUS: &str = "-";

/// Issues tickets, sealed by the first 128 bits of an HMAC, and knows them again, through any instance that has the same
/// secret. Nothing is kept of them.
#[derive(Clone, Debug)]
pub struct Tickets(SharedSecret);

/// The ticket was not issued for this session, or its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("get a new ticket for this session and use it within {} seconds", VALID_FOR.as_secs())]
pub struct InvalidTicket;

impl Tickets {
    /// Tickets under this secret.
    pub fn new(secret: SharedSecret) -> Self {
        Self(secret)
    }

    /// A ticket for this session in the caller's name, and until when it is valid.
    pub fn issue(&self, session: SessionDigest, caller: Caller, now: Timestamp) -> (String, Timestamp) {
        let expires_at = now.checked_add(VALID_FOR).unwrap_or(Timestamp::MAX);
        let subject = match caller {
            Caller::Anonymous => ANONYMOUS.to_owned(),
            Caller::Subject(subject) => subject.to_string(),
        };
        let claims = format!("{}.{subject}", expires_at.as_millisecond());
        let mac = self.mac(session, &claims).finalize().into_bytes();
        let seal = u128::from_be_bytes(std::array::from_fn(|i| mac[i]));
        (format!("{claims}.{seal:032x}"), expires_at)
    }

    /// In whose name a ticket opens this session.
    ///
    /// # Errors
    /// When it does not.
    pub fn verify(&self, ticket: &str, session: SessionDigest, now: Timestamp) -> Result<Caller, InvalidTicket> {
        let (claims, seal) = ticket.rsplit_once('.').ok_or(InvalidTicket)?;
        let seal = u128::from_str_radix(seal, 16).map_err(|_| InvalidTicket)?;
        // Compared in constant time.
        self.mac(session, claims).verify_truncated_left(&seal.to_be_bytes()).map_err(|_| InvalidTicket)?;
        let (expires_at, subject) = claims.split_once('.').ok_or(InvalidTicket)?;
        let expires_at: i64 = expires_at.parse().map_err(|_| InvalidTicket)?;
        if expires_at <= now.as_millisecond() {
            return Err(InvalidTicket);
        }
        match subject {
            ANONYMOUS => Ok(Caller::Anonymous),
            subject => ShortDigest::parse(subject).map(Caller::Subject).ok_or(InvalidTicket),
        }
    }

    fn mac(&self, session: SessionDigest, claims: &str) -> Hmac<Sha256> {
        self.0.mac(&format!("ticket {session} {claims}"))
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_ticket_opens_one_session_for_a_while() {
        let tickets = Tickets::new(SharedSecret::new(&SecretString::from("s")));
        let [mine, other] = [1, 2].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        let now = Timestamp::from_second(1_770_249_600).expect("in range");
        for caller in [Caller::Anonymous, Caller::subject("i", "ada")] {
            let (ticket, expires_at) = tickets.issue(mine, caller, now);
            assert_eq!(tickets.verify(&ticket, mine, now), Ok(caller));
            let last = expires_at.checked_sub(Duration::from_millis(1)).expect("in range");
            assert_eq!(tickets.verify(&ticket, mine, last), Ok(caller));
            assert_eq!(tickets.verify(&ticket, mine, expires_at), Err(InvalidTicket));
            assert_eq!(tickets.verify(&ticket, other, now), Err(InvalidTicket));
            assert_eq!(Tickets::new(SharedSecret::of_this_process()).verify(&ticket, mine, now), Err(InvalidTicket));
            assert_eq!(
                Tickets::new(SharedSecret::new(&SecretString::from("s"))).verify(&ticket, mine, now),
                Ok(caller)
            );
        }
    }

    #[test]
    fn what_was_not_issued_opens_nothing() {
        let tickets = Tickets::new(SharedSecret::new(&SecretString::from("s")));
        let session = SessionId::generate(AffinityKey::random()).digest();
        let now = Timestamp::from_second(1_770_249_600).expect("in range");
        let (ticket, _) = tickets.issue(session, Caller::Anonymous, now);
        let (claims, seal) = ticket.rsplit_once('.').expect("three parts");
        let ada = format!("{}.{}.{seal}", claims.trim_end_matches(".-"), ShortDigest::of("ada", &[]));
        let later = format!("9{ticket}");
        for forged in ["", ".", "..", "é.é.é", claims, seal, &ticket[1..], &ada, &later, &format!("{claims}.")] {
            assert_eq!(tickets.verify(forged, session, now), Err(InvalidTicket), "{forged}");
        }
    }
}
