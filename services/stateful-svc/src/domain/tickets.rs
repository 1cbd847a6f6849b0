//! Tickets: they replace the `Authorization` header where a browser cannot set it, for a short time
//! and one session.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use proto_contracts::SessionDigest;
use sha2::Sha256;

use super::caller::{Caller, Credentials, IssuedAt};
use super::digest::ShortDigest;
use super::shared_secret::SharedSecret;

/// How long after its issue a ticket in use can reopen its connection. A ticket is part of a URL,
/// so it may leak. A leaked ticket grants access to its one session until then, or until the
/// session ends or the ticket has been unused for a while. Half of the default session lifetime.
const REOPENS_FOR: Duration = Duration::from_hours(12);
/// The subject of an anonymous caller's ticket.
const ANONYMOUS: &str = "-";

/// Issues and verifies tickets, signed with the first 128 bits of an HMAC. They are valid at all
/// instances with the same secret. The store holds only which tickets are in use.
#[derive(Clone, Debug)]
pub struct Tickets {
    secret: SharedSecret,
    validity: Duration,
}

/// The ticket was not issued for this session, or has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ticket is invalid or expired; request a new one for this session")]
pub struct InvalidTicket;

/// A ticket whose signature is valid for this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedTicket {
    /// The caller that it authorizes, and the age of the token that it was issued for.
    pub by: Credentials,
    /// Whether it can open a first connection. Later it can only reopen one that ended a short
    /// while ago.
    pub is_fresh: bool,
    signature: u128,
}

/// The use of a ticket, as stores keep it. A reader of the store cannot restore the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicketUse {
    /// The ticket's session.
    pub session: SessionDigest,
    /// The digest of the ticket and the kind of connection.
    pub id: ShortDigest,
}

impl VerifiedTicket {
    /// The use of this ticket for a kind of connection to its session.
    pub fn used_for(&self, session: SessionDigest, kind: &str) -> TicketUse {
        let id = ShortDigest::of("ticket", &[&self.signature.to_be_bytes(), kind.as_bytes()]);
        TicketUse { session, id }
    }
}

impl Tickets {
    /// Tickets signed with this secret, fresh for this validity.
    pub fn new(secret: SharedSecret, validity: Duration) -> Self {
        Self { secret, validity }
    }

    /// How long a ticket opens a first connection, and reopens one after its end.
    pub fn validity(&self) -> Duration {
        self.validity
    }

    /// A ticket for this session and caller, and when it stops being fresh.
    pub fn issue(
        &self,
        session: SessionDigest,
        by: Credentials,
        now: Timestamp,
    ) -> (String, Timestamp) {
        let expires_at = now.checked_add(self.validity).unwrap_or(Timestamp::MAX);
        let subject = match by.caller {
            Caller::Anonymous => ANONYMOUS.to_owned(),
            Caller::Subject(subject) => format!("{subject}.{}", by.issued_at.seconds()),
        };
        let claims = format!("{}.{subject}", expires_at.as_millisecond());
        let mac = self.mac(session, &claims).finalize().into_bytes();
        let signature = u128::from_be_bytes(std::array::from_fn(|i| mac[i]));
        (format!("{claims}.{signature:032x}"), expires_at)
    }

    /// Verifies signature and age. Only the store can tell whether a ticket that is not fresh is in
    /// use.
    ///
    /// # Errors
    /// When it was not issued for this session, or too long ago.
    pub fn verify(
        &self,
        ticket: &str,
        session: SessionDigest,
        now: Timestamp,
    ) -> Result<VerifiedTicket, InvalidTicket> {
        let (claims, signature) = ticket.rsplit_once('.').ok_or(InvalidTicket)?;
        let signature = u128::from_str_radix(signature, 16).map_err(|_| InvalidTicket)?;
        // A comparison in constant time.
        self.mac(session, claims)
            .verify_truncated_left(&signature.to_be_bytes())
            .map_err(|_| InvalidTicket)?;
        let (expires_at, subject) = claims.split_once('.').ok_or(InvalidTicket)?;
        let expires_at: i64 = expires_at.parse().map_err(|_| InvalidTicket)?;
        let expires_at = Timestamp::from_millisecond(expires_at).map_err(|_| InvalidTicket)?;
        if expires_at.checked_add(REOPENS_FOR).is_ok_and(|end| end <= now) {
            return Err(InvalidTicket);
        }
        let by = match subject.split_once('.') {
            None if subject == ANONYMOUS => Credentials::ANONYMOUS,
            // Of an earlier version: older than any revocation.
            None => authorized(subject, 0)?,
            Some((subject, issued_at)) => {
                authorized(subject, issued_at.parse().map_err(|_| InvalidTicket)?)?
            }
        };
        Ok(VerifiedTicket { by, is_fresh: now < expires_at, signature })
    }

    fn mac(&self, session: SessionDigest, claims: &str) -> Hmac<Sha256> {
        self.secret.mac(&format!("ticket {session} {claims}"))
    }
}

fn authorized(subject: &str, issued_at: i64) -> Result<Credentials, InvalidTicket> {
    let caller = ShortDigest::parse(subject).map(Caller::Subject).ok_or(InvalidTicket)?;
    Ok(Credentials { caller, issued_at: IssuedAt::at(issued_at) })
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
        let [mine, other] =
            [1, 2].map(|key| SessionId::generate(AffinityKey::from_bits(key)).digest());
        let now = Timestamp::from_second(1_770_249_600).expect("in range");
        let ada = Credentials {
            caller: Caller::subject("i", "ada"),
            issued_at: IssuedAt::at(1_770_249_000),
        };
        for caller in [Credentials::ANONYMOUS, ada] {
            let (ticket, expires_at) = tickets.issue(mine, caller, now);
            let verify = |tickets: &Tickets, session, now| {
                tickets
                    .verify(&ticket, session, now)
                    .map(|verified| (verified.by, verified.is_fresh))
            };
            assert_eq!(verify(&tickets, mine, now), Ok((caller, true)));
            let before =
                |time: Timestamp| time.checked_sub(Duration::from_millis(1)).expect("in range");
            assert_eq!(verify(&tickets, mine, before(expires_at)), Ok((caller, true)));
            // From then on it may reopen its connection, for a limited time.
            assert_eq!(verify(&tickets, mine, expires_at), Ok((caller, false)));
            let end = expires_at.checked_add(REOPENS_FOR).expect("in range");
            assert_eq!(verify(&tickets, mine, before(end)), Ok((caller, false)));
            assert_eq!(verify(&tickets, mine, end), Err(InvalidTicket));
            assert_eq!(verify(&tickets, other, now), Err(InvalidTicket));
            assert_eq!(
                verify(&under(SharedSecret::of_this_process()), mine, now),
                Err(InvalidTicket)
            );
            assert_eq!(
                verify(&under(SharedSecret::new(&SecretString::from("s"))), mine, now),
                Ok((caller, true))
            );
        }
    }

    #[test]
    fn forged_tickets_are_rejected() {
        let tickets =
            Tickets::new(SharedSecret::new(&SecretString::from("s")), Duration::from_secs(60));
        let session = SessionId::generate(AffinityKey::random()).digest();
        let now = Timestamp::from_second(1_770_249_600).expect("in range");
        let (ticket, _) = tickets.issue(session, Credentials::ANONYMOUS, now);
        let (claims, signature) = ticket.rsplit_once('.').expect("three parts");
        let ada = format!(
            "{}.{}.{signature}",
            claims.trim_end_matches(".-"),
            ShortDigest::of("ada", &[])
        );
        let later = format!("9{ticket}");
        for forged in [
            "",
            ".",
            "..",
            "é.é.é",
            claims,
            signature,
            &ticket[1..],
            &ada,
            &later,
            &format!("{claims}."),
        ] {
            assert_eq!(tickets.verify(forged, session, now), Err(InvalidTicket), "{forged}");
        }
    }
}
