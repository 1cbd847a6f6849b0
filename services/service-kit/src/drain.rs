//! Draining an instance: a gateway tells it, and it tells every gateway in its health answers.
//!
//! The instance is the one place where the drain is known, so all gateways over it see the same, those that start later
//! too. `PUT /internal/drain` begins it and `DELETE` ends it, with the token that gateways and instances share.

use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::DrainInstance;
use proto_contracts::health::DRAIN_PATH;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::body::Json;
use crate::health::Health;
use crate::problem::ApiError;
use crate::routes::{self, delete, put};
use crate::tokens::bearer_token;

/// For how long a drain lasts at least, and streams after it: a gateway that checks every 5 s has heard of it by then, and
/// sends no more.
const HEARD_BY_ALL: Duration = Duration::from_secs(6);

/// Whether an instance is leaving, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It serves as usual.
    #[default]
    None,
    /// An operator drains it: its keys move away at `until`.
    Until { begun: Instant, until: Instant },
    /// It was told to stop, and serves on until gateways know.
    Leaving,
    /// It stops.
    Stopping,
}

impl Drain {
    /// Begins a drain, or gives one that goes on another deadline; not when the instance stops anyway.
    pub(crate) fn begin(&mut self, now: Instant, deadline: Duration) -> bool {
        let begun = match *self {
            Self::None => now,
            Self::Until { begun, .. } => begun,
            Self::Leaving | Self::Stopping => return false,
        };
        *self = Self::Until { begun, until: now + deadline };
        true
    }

    /// Ends a drain; not when the instance stops anyway.
    pub(crate) fn end(&mut self) -> bool {
        let ends = matches!(self, Self::Until { .. });
        if ends {
            *self = Self::None;
        }
        ends
    }

    /// Nothing is left in the instance: its drain is over, if gateways had the time to hear of it.
    pub(crate) fn finish_empty(&mut self, now: Instant) -> bool {
        match self {
            Self::Until { begun, until } if *until > now && *begun + HEARD_BY_ALL <= now => {
                *until = now;
                true
            }
            _ => false,
        }
    }

    /// In how many seconds the keys move away, rounded up, so that it is 0 only when they do.
    pub(crate) fn seconds_left(self, now: Instant) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Until { until, .. } => {
                let left = until.saturating_duration_since(now);
                Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
            }
            Self::Leaving | Self::Stopping => Some(0),
        }
    }

    /// Whether the instance should get no request any more.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        self.seconds_left(now) == Some(0)
    }

    /// When streams end, whose clients then resume them elsewhere. After the keys have moved: before that they would come
    /// back here.
    pub(crate) fn streams_end(self) -> Option<Instant> {
        match self {
            Self::None | Self::Leaving => None,
            Self::Until { until, .. } => Some(until + HEARD_BY_ALL),
            Self::Stopping => Some(Instant::now()),
        }
    }
}

/// What a gateway must present.
struct Token(SecretString);

/// Mounts the path.
pub(crate) fn mount(app: &mut web::ServiceConfig, token: SecretString) {
    app.app_data(web::Data::new(Token(token)));
    routes::mount_at(app, DRAIN_PATH, [put(begin), delete(end)]);
}

async fn begin(
    _: TokenHolder,
    health: web::Data<Health>,
    Json(wanted): Json<DrainInstance>,
) -> Result<HttpResponse, ApiError> {
    if wanted.deadline_s > DrainInstance::MAX_DEADLINE_S {
        let detail = format!("'deadline_s' must be 0 to {}.", DrainInstance::MAX_DEADLINE_S);
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    health.begin_drain(Duration::from_secs(wanted.deadline_s));
    tracing::info!(deadline_s = wanted.deadline_s, "draining");
    Ok(done())
}

async fn end(_: TokenHolder, health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    health.end_drain();
    tracing::info!("no longer draining");
    Ok(done())
}

fn done() -> HttpResponse {
    HttpResponse::build(StatusCode::NO_CONTENT).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// Whoever sent the request holds the token. The first argument of each handler: the framework extracts arguments in their
/// order, so a stranger is refused before anything of a body is read.
struct TokenHolder;

impl FromRequest for TokenHolder {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let sent = request.headers().get(AUTHORIZATION).and_then(|sent| bearer_token(sent.as_bytes()));
        let token = request.app_data::<web::Data<Token>>();
        // In constant time, so that the response's delay does not tell how much of a guess was right.
        let is_token = |sent: &[u8], token: &Token| bool::from(sent.ct_eq(token.0.expose_secret().as_bytes()));
        ready(match (sent, token) {
            (Some(sent), Some(token)) if is_token(sent, token) => Ok(Self),
            _ => Err(ApiError::new(ErrorCode::Unauthorized, "The token is not this instance's INSTANCE_TOKEN.")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn a_drain_counts_down_to_its_deadline_and_streams_last_a_little_longer() {
        let now = Instant::now();
        let mut drain = Drain::default();
        assert_eq!((drain.seconds_left(now), drain.streams_end()), (None, None));
        assert!(drain.begin(now, DEADLINE));
        assert_eq!(drain.seconds_left(now), Some(30));
        assert_eq!(drain.seconds_left(now + Duration::from_millis(29_001)), Some(1), "rounded up");
        assert!(drain.is_over(now + DEADLINE));
        assert_eq!(drain.streams_end(), Some(now + DEADLINE + HEARD_BY_ALL));
        assert!(drain.end() && drain == Drain::None);
        assert!(!drain.end());
    }

    #[test]
    fn an_empty_instance_is_drained_once_all_gateways_have_heard() {
        let now = Instant::now();
        let mut drain = Drain::default();
        assert!(!drain.finish_empty(now), "nobody drains it");
        drain.begin(now, DEADLINE);
        assert!(!drain.finish_empty(now), "requests may be on their way");
        assert!(drain.finish_empty(now + HEARD_BY_ALL));
        assert!(drain.is_over(now + HEARD_BY_ALL));
    }

    #[test]
    fn who_stops_cannot_be_called_back() {
        let now = Instant::now();
        for mut drain in [Drain::Leaving, Drain::Stopping] {
            assert!(!drain.begin(now, DEADLINE) && !drain.end());
            assert_eq!(drain.seconds_left(now), Some(0));
        }
    }
}
