//! Live connections: `…/events` (server-sent events), `…/live` (a WebSocket), and the tickets that open them.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use jiff::Timestamp;
use proto_contracts::headers::LAST_EVENT_ID;
use proto_contracts::live::{LiveQuery, Ticket};
use proto_contracts::{ErrorCode, SessionId};
use service_kit::body::Json;
use service_kit::health::Draining;
use service_kit::problem::ApiError;
use service_kit::response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Sessions;
use super::caller::routing;
use super::entity_tags::{condition, overtaken};
use super::session_path::{SessionPath, sentence};
use crate::config::LiveConfig;
use crate::domain::caller::Caller;
use crate::domain::cursor::Cursor;
use crate::domain::message_rate::MessageRates;
use crate::domain::origins::AllowedOrigins;
use crate::domain::tickets::{InvalidTicket, TicketUse, Tickets};
use crate::feed::Feed;
use crate::metrics::LiveKind;
use crate::store::{Access, ReadError, SessionStore};

pub(super) mod events;
pub(super) mod socket;

const LAST_ID: HeaderName = HeaderName::from_static(LAST_EVENT_ID);

/// How often it is noted that a ticket is in use, at least.
const NOTE_TICKETS_EVERY: Duration = Duration::from_secs(20);

/// What live connections share. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    tickets: Tickets,
    places: Arc<Semaphore>,
    allowed_origins: Arc<AllowedOrigins>,
    rates: MessageRates,
    draining: Draining,
    heartbeat: Duration,
    send_timeout: Duration,
}

impl Live {
    /// No connection is open yet.
    pub fn new(config: LiveConfig, tickets: Tickets, draining: Draining) -> Self {
        let LiveConfig { max_connections, heartbeat, send_timeout, allowed_origins, ticket_validity: _ } = config;
        Self {
            tickets,
            places: Arc::new(Semaphore::new(max_connections)),
            allowed_origins: Arc::new(allowed_origins),
            rates: MessageRates::default(),
            draining,
            heartbeat,
            send_timeout,
        }
    }
}

/// A feed that may be sent to a client, and the place that it takes.
struct Open {
    id: SessionId,
    access: Access,
    feed: Feed,
    _place: OwnedSemaphorePermit,
    _ticket: Option<TicketInUse>,
}

/// Notes again and again that a ticket is in use, until the connection ends. It can be reopened by the ticket from then on
/// for the ticket's validity, and up to two pauses more.
struct TicketInUse(JoinHandle<()>);

impl TicketInUse {
    fn note(store: Arc<dyn SessionStore>, ticket: TicketUse, validity: Duration) -> Self {
        let pause = NOTE_TICKETS_EVERY.min(validity / 2);
        Self(rt::spawn(async move {
            loop {
                // The store logs its outages. The ticket counts as in use for a while without it.
                let _unavailable = store.note_ticket(ticket, validity + 2 * pause).await;
                sleep(pause).await;
            }
        }))
    }
}

impl Drop for TicketInUse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sessions {
    /// Opens a feed of the session for whoever sent this.
    async fn open(
        &self,
        request: &HttpRequest,
        id: SessionId,
        query: LiveQuery,
        kind: LiveKind,
    ) -> Result<Open, ApiError> {
        let (caller, ticket) = self.live_caller(request.headers(), &id, query.ticket.as_deref(), kind).await?;
        let access = Access { session: id.digest(), caller, routing: routing(request.headers(), &id) };
        let after = last_event_id(request.headers(), query.last_event_id)?;
        let place = Arc::clone(&self.live.places).try_acquire_owned().map_err(|_full| {
            ApiError::new(ErrorCode::TooManyStreams, "This instance has no room for another one; try again soon.")
        })?;
        let (draining, heartbeat) = (self.live.draining.clone(), self.live.heartbeat);
        let feed = Feed::open(Arc::clone(&self.store), access, after, draining, heartbeat).await?;
        let validity = self.live.tickets.validity();
        let ticket = ticket.map(|ticket| TicketInUse::note(Arc::clone(&self.store), ticket, validity));
        Ok(Open { id, access, feed, _place: place, _ticket: ticket })
    }

    /// Who sent this, and the ticket that said so.
    async fn live_caller(
        &self,
        headers: &HeaderMap,
        id: &SessionId,
        ticket: Option<&str>,
        kind: LiveKind,
    ) -> Result<(Caller, Option<TicketUse>), ApiError> {
        let Some(ticket) = ticket else { return Ok((self.caller(headers)?, None)) };
        let refused = |error: InvalidTicket| ApiError::new(ErrorCode::InvalidTicket, sentence(error));
        let known = self.live.tickets.verify(ticket, id.digest(), Timestamp::now()).map_err(refused)?;
        let used = known.used_for(id.digest(), kind.as_str());
        // A browser reopens a stream that broke by the URL that it was opened by, however long ago that was.
        if known.is_fresh || self.store.is_ticket_noted(used).await.map_err(ReadError::Store)? {
            Ok((known.caller, Some(used)))
        } else {
            Err(refused(InvalidTicket))
        }
    }
}

/// `POST …/tickets`: a ticket for a session that the caller may use.
pub(super) async fn issue_ticket(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    Json(NoMembers {}): Json<NoMembers>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let expected = condition(request.headers())?;
    if !expected.allows(sessions.store.read(access).await?.value.tag()) {
        return Err(overtaken());
    }
    let (ticket, expires_at) = sessions.live.tickets.issue(access.session, access.caller, Timestamp::now());
    response::no_store(StatusCode::CREATED, &Ticket { ticket, expires_at })
}

/// A body that says nothing.
#[derive(Debug, serde::Deserialize)]
pub(super) struct NoMembers {}

/// The header goes first: a browser that comes back sends it, with the URL that it came by at first.
fn last_event_id(headers: &HeaderMap, queried: Option<u64>) -> Result<Option<Cursor>, ApiError> {
    let given = match headers.get(LAST_ID) {
        None => queried,
        Some(value) => match value.to_str().ok().map(str::parse) {
            Some(Ok(number)) => Some(number),
            _ => return Err(malformed_id()),
        },
    };
    given.map(|number| Cursor::after(number).ok_or_else(malformed_id)).transpose()
}

fn malformed_id() -> ApiError {
    ApiError::new(ErrorCode::InvalidLastEventId, "Send the id of the last message's event, or 0 for all messages.")
}
