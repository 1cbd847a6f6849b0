//! Tickets: they stand for the `Authorization` header where a browser cannot set one, for a short time and one session.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use proto_contracts::SessionDigest;
use sha2::Sha256;

use super::caller::Caller;
use super::digest::ShortDigest;
use super::shared_secret::SharedSecret;

/// For how long after it was issued a ticket that is in use reopens what it opened. A ticket stands in a URL, so it may leak;
/// whoever has it can read and write its one session until then, until the session ends, or until nobody used it for a
/// while. Half of the time that a session may live by default.
const REOPENS_FOR: Duration = Duration::from_hours(12);
/// The caller's digest of one who did not say who it is.
const ANONYMOUS: &str = "-";

/// Issues tickets, sealed by the first 128 bits of an HMAC, and knows them again, through any instance that has the same
/// secret. Nothing is kept of them, but that one is in use.
#[derive(Clone, Debug)]
pub struct Tickets {
    secret: SharedSecret,
    validity: Duration,
}

/// The ticket was not issued for this session, or its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("get a new ticket for this session and use it at once")]
pub struct InvalidTicket;

/// A ticket that was issued for this session, and may still count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownTicket {
    /// In whose name it opens the session.
    pub caller: Caller,
    /// Whether it opens any connection. Later it only reopens what it opened, if that ended a short while ago.
    pub is_fresh: bool,
    seal: u128,
}

/// A ticket and what it opened, as stores know them: who reads a store cannot use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicketUse {
    /// The ticket's session.
    pub session: SessionDigest,
    /// Which ticket, and for what.
    pub id: ShortDigest,
}

impl KnownTicket {
    /// The use of this ticket for a kind of connection to its session.
    pub fn used_for(&self, session: SessionDigest, kind: &str) -> TicketUse {
        let id = ShortDigest::of("ticket", &[&self.seal.to_be_bytes(), kind.as_bytes()]);
        TicketUse { session, id }
    }
}

impl Tickets {
    /// Tickets under this secret, that open a first connection for so long.
    pub fn new(secret: SharedSecret, validity: Duration) -> Self {
        Self { secret, validity }
    }

    /// For how long a ticket opens a connection, and reopens one after its end.
    pub fn validity(&self) -> Duration {
        self.validity
    }

    /// A ticket for this session in the caller's name, and until when it is valid.
    pub fn issue(&self, session: SessionDigest, caller: Caller, now: Timestamp) -> (String, Timestamp) {
        let expires_at = now.checked_add(self.validity).unwrap_or(Timestamp::MAX);
        let subject = match caller {
            Caller::Anonymous => ANONYMOUS.to_owned(),
            Caller::Subject(subject) => subject.to_string(),
        };
        let claims = format!("{}.{subject}", expires_at.as_millisecond());
        let mac = self.mac(session, &claims).finalize().into_bytes();
        let seal = u128::from_be_bytes(std::array::from_fn(|i| mac[i]));
        (format!("{claims}.{seal:032x}"), expires_at)
    }

    /// What a ticket is good for, as far as it says so itself.
    ///
    /// # Errors
    /// When it was not issued for this session, or too long ago.
    pub fn verify(&self, ticket: &str, session: SessionDigest, now: Timestamp) -> Result<KnownTicket, InvalidTicket> {
        let (claims, seal) = ticket.rsplit_once('.').ok_or(InvalidTicket)?;
        let seal = u128::from_str_radix(seal, 16).map_err(|_| InvalidTicket)?;
        // Compared in constant time.
        self.mac(session, claims).verify_truncated_left(&seal.to_be_bytes()).map_err(|_| InvalidTicket)?;
        let (expires_at, subject) = claims.split_once('.').ok_or(InvalidTicket)?;
        let expires_at: i64 = expires_at.parse().map_err(|_| InvalidTicket)?;
        let expires_at = Timestamp::from_millisecond(expires_at).map_err(|_| InvalidTicket)?;
        if expires_at.checked_add(REOPENS_FOR).is_ok_and(|end| end <= now) {
            return Err(InvalidTicket);
        }
        let caller = match subject {
            ANONYMOUS => Caller::Anonymous,
            subject => ShortDigest::parse(subject).map(Caller::Subject).ok_or(InvalidTicket)?,
        };
        Ok(KnownTicket { caller, is_fresh: now < expires_at, seal })
    }

    fn mac(&self, session: SessionDigest, claims: &str) -> Hmac<Sha256> {
        self.secret.mac(&format!("ticket {session} {claims}"))
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::{AffinityKey, SessionId};
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_ticket_opens_one_session_for_a_while() {
        let under = |secret: SharedSecret| Tickets::new(secret, Duration::from_secs(60));
        let tickets = under(SharedSecret::new(&SecretString::from("s")));
        let [mine, other] = [1, 2].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        let now = Timestamp::from_second(1_770_249_600).expect("in range");
        for caller in [Caller::Anonymous, Caller::subject("i", "ada")] {
            let (ticket, expires_at) = tickets.issue(mine, caller, now);
            let verify = |tickets: &Tickets, session, now| {
                tickets.verify(&ticket, session, now).map(|known| (known.caller, known.is_fresh))
            };
            assert_eq!(verify(&tickets, mine, now), Ok((caller, true)));
            let before = |time: Timestamp| time.checked_sub(Duration::from_millis(1)).expect("in range");
            assert_eq!(verify(&tickets, mine, before(expires_at)), Ok((caller, true)));
            // From then on it may reopen what it opened, but not for ever.
            assert_eq!(verify(&tickets, mine, expires_at), Ok((caller, false)));
            let end = expires_at.checked_add(REOPENS_FOR).expect("in range");
            assert_eq!(verify(&tickets, mine, before(end)), Ok((caller, false)));
            assert_eq!(verify(&tickets, mine, end), Err(InvalidTicket));
            assert_eq!(verify(&tickets, other, now), Err(InvalidTicket));
            assert_eq!(verify(&under(SharedSecret::of_this_process()), mine, now), Err(InvalidTicket));
            assert_eq!(verify(&under(SharedSecret::new(&SecretString::from("s"))), mine, now), Ok((caller, true)));
        }
    }

    #[test]
    fn what_was_not_issued_opens_nothing() {
        let tickets = Tickets::new(SharedSecret::new(&SecretString::from("s")), Duration::from_secs(60));
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
