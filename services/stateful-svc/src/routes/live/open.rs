//! Opening a live connection: authorization, the connection limit and the subscription.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpRequest, rt};
use jiff::Timestamp;
use proto_contracts::error::FieldError;
use proto_contracts::headers::LAST_EVENT_ID;
use proto_contracts::live::LiveQuery;
use proto_contracts::{ErrorCode, SessionId};
use service_kit::problem::{ApiError, sentence};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::domain::caller::Credentials;
use crate::domain::cursor::Cursor;
use crate::domain::tickets::{InvalidTicket, TicketUse};
use crate::feed::Feed;
use crate::metrics::LiveKind;
use crate::routes::caller::access_by;
use crate::routes::context::Sessions;
use crate::store::{Access, ReadError, SessionStore};

const LAST_ID: HeaderName = HeaderName::from_static(LAST_EVENT_ID);

/// The longest interval between two records of a ticket's use.
const RECORD_TICKET_EVERY: Duration = Duration::from_secs(20);

/// The feed of one connection, with what the connection holds until it ends.
pub(super) struct Subscription {
    pub(super) id: SessionId,
    pub(super) access: Access,
    pub(super) feed: Feed,
    _permit: OwnedSemaphorePermit,
    _ticket: Option<TicketInUse>,
}

/// Records periodically that a ticket is in use, until the connection ends. From then on the ticket
/// can reopen the connection for its validity, and up to two intervals more.
struct TicketInUse(JoinHandle<()>);

impl TicketInUse {
    fn record(store: Arc<dyn SessionStore>, ticket: TicketUse, validity: Duration) -> Self {
        let interval = RECORD_TICKET_EVERY.min(validity / 2);
        Self(rt::spawn(async move {
            loop {
                // The store logs its outages. The last record outlives a short one.
                let _unavailable = store.record_ticket_use(ticket, validity + 2 * interval).await;
                sleep(interval).await;
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
    /// Subscribes the sender of this request to the session.
    pub(super) async fn subscribe(
        &self,
        request: &HttpRequest,
        id: SessionId,
        query: LiveQuery,
        kind: LiveKind,
    ) -> Result<Subscription, ApiError> {
        let (by, ticket) =
            self.live_caller(request.headers(), &id, query.ticket.as_deref(), kind).await?;
        let access = access_by(request.headers(), &id, by);
        let after = last_event_id(request.headers(), query.last_event_id)?;
        let permit = Arc::clone(&self.live.permits).try_acquire_owned().map_err(|_full| {
            let detail = "This instance has reached its limit of live connections; retry shortly.";
            ApiError::new(ErrorCode::TooManyStreams, detail)
        })?;
        let (draining, heartbeat) = (self.live.draining.clone(), self.live.heartbeat);
        let feed = Feed::open(Arc::clone(&self.store), access, after, draining, heartbeat).await?;
        let validity = self.live.tickets.validity();
        let ticket =
            ticket.map(|ticket| TicketInUse::record(Arc::clone(&self.store), ticket, validity));
        Ok(Subscription { id, access, feed, _permit: permit, _ticket: ticket })
    }

    /// The caller, and the ticket that authorizes it, if any.
    async fn live_caller(
        &self,
        headers: &HeaderMap,
        id: &SessionId,
        ticket: Option<&str>,
        kind: LiveKind,
    ) -> Result<(Credentials, Option<TicketUse>), ApiError> {
        let Some(ticket) = ticket else { return Ok((self.credentials(headers)?, None)) };
        let invalid = |error: InvalidTicket| {
            let fault = FieldError::in_query("ticket", "must be a fresh ticket of this session");
            ApiError::new(ErrorCode::InvalidTicket, sentence(error)).with_errors([fault])
        };
        let verified =
            self.live.tickets.verify(ticket, id.digest(), Timestamp::now()).map_err(invalid)?;
        let used = verified.used_for(id.digest(), kind.as_str());
        // A browser reopens a broken stream with the stream's original URL, however old its ticket
        // is.
        if verified.is_fresh || self.store.is_ticket_in_use(used).await.map_err(ReadError::Store)? {
            Ok((verified.by, Some(used)))
        } else {
            Err(invalid(InvalidTicket))
        }
    }
}

/// The header takes precedence: a reconnecting browser sends it together with the stream's original
/// URL.
fn last_event_id(headers: &HeaderMap, queried: Option<u64>) -> Result<Option<Cursor>, ApiError> {
    let after = |number| Cursor::after(number).ok_or_else(malformed_id);
    let queried = queried.map(after).transpose()?;
    let Some(value) = headers.get(LAST_ID) else { return Ok(queried) };
    match value.to_str().ok().map(str::parse) {
        Some(Ok(number)) => after(number).map(Some),
        _ => Err(malformed_id()),
    }
}

fn malformed_id() -> ApiError {
    let detail =
        "Last-Event-ID must be the id of the last message event received, or 0 for all messages.";
    ApiError::new(ErrorCode::InvalidLastEventId, detail)
}
