//! Draining an instance: a gateway tells it, and it tells every gateway in its health answers.
//!
//! The instance is the one place where the drain is known, so all gateways over it see the same, those that start later
//! too. `PUT /internal/drain` begins it and `DELETE` ends it, with the token that gateways and instances share.

use std::future::{Ready, ready};
use std::ops::Add;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::WeightDecision;
use proto_contracts::control::DrainInstance;
use proto_contracts::headers::{DRAIN_DECISION, WEIGHT};
use proto_contracts::health::{DRAIN_PATH, DrainDecision, WEIGHT_PATH};
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

/// One moment by both clocks: the monotonic one counts down, and what other processes compare is wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    unix_ms: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        let unix_ms = self.unix_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { at: self.at + time, unix_ms }
    }
}

/// Whether an instance is leaving, and when an operator last decided about that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    phase: Phase,
    decided_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// It serves as usual.
    #[default]
    Serving,
    /// An operator drains it: its keys move away at `until`.
    Draining { begun: Instant, until: Moment },
    /// It got a SIGTERM, and serves on until gateways know.
    Leaving,
    /// It stops.
    Stopping,
}

impl Drain {
    /// Begins a drain, or gives one that goes on another deadline if there is one. What is drained stays so, whatever
    /// is repeated. Without effect when the instance stops anyway, or when a later decision is known.
    pub(crate) fn begin(&mut self, now: Moment, deadline: Option<Duration>, decided_ms: Option<u64>) -> bool {
        if self.is_stopping() || !self.decide(now, decided_ms) {
            return false;
        }
        self.phase = match (self.phase, deadline) {
            (Phase::Draining { begun, until }, Some(deadline)) if until.at > now.at => {
                Phase::Draining { begun, until: now + deadline }
            }
            (unchanged @ Phase::Draining { .. }, _) => unchanged,
            (_, deadline) => {
                let deadline = deadline.unwrap_or(Duration::from_secs(DrainInstance::DEFAULT_DEADLINE_S));
                Phase::Draining { begun: now.at, until: now + deadline }
            }
        };
        true
    }

    /// Ends a drain. Without effect when the instance stops anyway, or when a later decision is known.
    pub(crate) fn end(&mut self, now: Moment, decided_ms: Option<u64>) -> bool {
        if self.is_stopping() || !self.decide(now, decided_ms) {
            return false;
        }
        self.phase = Phase::Serving;
        true
    }

    /// The instance got a SIGTERM.
    pub(crate) fn leave(&mut self) {
        self.phase = Phase::Leaving;
    }

    /// The instance stops.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopping;
    }

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Stopping)
    }

    /// Takes a decision unless it is older than the one that holds. A gateway of an older version sends no time.
    fn decide(&mut self, now: Moment, decided_ms: Option<u64>) -> bool {
        let decided_ms = decided_ms.unwrap_or(now.unix_ms.max(self.decided_ms + 1));
        let holds = decided_ms >= self.decided_ms;
        if holds {
            self.decided_ms = decided_ms;
        }
        holds
    }

    /// Nothing is left in the instance: its drain is over, if gateways had the time to hear of it.
    pub(crate) fn finish_empty(&mut self, now: Moment) -> bool {
        match &mut self.phase {
            Phase::Draining { begun, until } if until.at > now.at && *begun + HEARD_BY_ALL <= now.at => {
                *until = now;
                true
            }
            _ => false,
        }
    }

    /// In how many seconds the keys move away, rounded up, so that it is 0 only when they do.
    pub(crate) fn seconds_left(&self, now: Instant) -> Option<u64> {
        match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } => {
                let left = until.at.saturating_duration_since(now);
                Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
            }
            Phase::Leaving | Phase::Stopping => Some(0),
        }
    }

    /// The decision as gateways are told it. One that stops announces none: what an operator decided holds when it is
    /// back, and the gateways remember that.
    pub(crate) fn decision(&self) -> Option<DrainDecision> {
        let until_ms = match self.phase {
            Phase::Serving => None,
            Phase::Draining { until, .. } => Some(until.unix_ms),
            Phase::Leaving | Phase::Stopping => return None,
        };
        Some(DrainDecision { decided_ms: self.decided_ms, until_ms })
    }

    /// Whether the instance should get no request any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.seconds_left(now) == Some(0)
    }

    /// When streams end, whose clients then resume them elsewhere. After the keys have moved: before that they would come
    /// back here.
    pub(crate) fn streams_end(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving | Phase::Leaving => None,
            Phase::Draining { until, .. } => Some(until.at + HEARD_BY_ALL),
            Phase::Stopping => Some(Instant::now()),
        }
    }
}

/// What a gateway must present.
struct Token(SecretString);

/// Mounts the path.
pub(crate) fn mount(app: &mut web::ServiceConfig, token: SecretString) {
    app.app_data(web::Data::new(Token(token)));
    routes::mount_at(app, DRAIN_PATH, [put(begin), delete(end)]);
    routes::mount_at(app, WEIGHT_PATH, [put(weigh)]);
}

async fn begin(
    _: TokenHolder,
    request: HttpRequest,
    health: web::Data<Health>,
    Json(wanted): Json<DrainInstance>,
) -> Result<HttpResponse, ApiError> {
    if wanted.deadline_s.is_some_and(|deadline| deadline > DrainInstance::MAX_DEADLINE_S) {
        let detail = format!("'deadline_s' must be 0 to {}.", DrainInstance::MAX_DEADLINE_S);
        return Err(ApiError::new(ErrorCode::InvalidBody, detail));
    }
    if health.begin_drain(wanted.deadline_s.map(Duration::from_secs), decided(&request)) {
        tracing::info!(deadline_s = wanted.deadline_s, "draining");
    }
    Ok(done())
}

async fn end(_: TokenHolder, request: HttpRequest, health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    if health.end_drain(decided(&request)) {
        tracing::info!("not draining");
    }
    Ok(done())
}

async fn weigh(_: TokenHolder, request: HttpRequest, health: web::Data<Health>) -> Result<HttpResponse, ApiError> {
    let decision: Option<WeightDecision> =
        request.headers().get(WEIGHT).and_then(|value| value.to_str().ok()?.parse().ok());
    let decision = decision.ok_or_else(|| {
        let detail = format!("The header {WEIGHT} must be '<1 to 256>; decided=<unix ms>'.");
        ApiError::new(ErrorCode::BadRequest, detail)
    })?;
    if health.set_weight(decision) {
        tracing::info!(weight = %decision.weight, "another weight");
    }
    Ok(done())
}

/// When the gateway's operator decided so, where the gateway is of a version that sends it.
fn decided(request: &HttpRequest) -> Option<u64> {
    let text = request.headers().get(DRAIN_DECISION)?.to_str().ok()?;
    text.parse().ok().map(|decision: DrainDecision| decision.decided_ms)
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

    fn begun(now: Moment) -> Drain {
        let mut drain = Drain::default();
        assert!(drain.begin(now, Some(DEADLINE), Some(1)));
        drain
    }

    #[test]
    fn a_drain_counts_down_to_its_deadline_and_streams_last_a_little_longer() {
        let now = Moment::now();
        assert_eq!((Drain::default().seconds_left(now.at), Drain::default().streams_end()), (None, None));
        let mut drain = begun(now);
        assert_eq!(drain.seconds_left(now.at), Some(30));
        assert_eq!(drain.seconds_left(now.at + Duration::from_millis(29_001)), Some(1), "rounded up");
        assert!(drain.is_over(now.at + DEADLINE));
        assert_eq!(drain.streams_end(), Some(now.at + DEADLINE + HEARD_BY_ALL));
        let until_ms = Some(now.unix_ms + 30_000);
        assert_eq!(drain.decision(), Some(DrainDecision { decided_ms: 1, until_ms }));
        assert!(drain.end(now, Some(2)));
        assert_eq!(drain.seconds_left(now.at), None);
        assert_eq!(drain.decision(), Some(DrainDecision { decided_ms: 2, until_ms: None }));
    }

    #[test]
    fn what_is_drained_stays_so_whatever_is_repeated() {
        let now = Moment::now();
        let mut drain = begun(now);
        assert!(drain.begin(now, None, Some(2)));
        assert_eq!(drain.seconds_left(now.at), Some(30), "without a deadline it keeps the one that it has");
        assert!(drain.begin(now, Some(DEADLINE * 2), Some(3)));
        assert_eq!(drain.seconds_left(now.at), Some(60));
        let over = now + DEADLINE * 2;
        assert!(drain.begin(over, Some(DEADLINE), Some(4)));
        assert_eq!(drain.seconds_left(over.at), Some(0), "it is drained");
        assert!(drain.begin(over, Some(DEADLINE), None));
        assert!(drain.is_over(over.at), "nor does an older gateway revive it");
    }

    #[test]
    fn an_older_decision_changes_nothing() {
        let now = Moment::now();
        let mut drain = Drain::default();
        assert!(drain.end(now, Some(7)));
        assert!(!drain.begin(now, Some(DEADLINE), Some(6)));
        assert_eq!(drain.seconds_left(now.at), None);
        assert!(drain.begin(now, Some(DEADLINE), Some(8)) && !drain.end(now, Some(7)));
        assert_eq!(drain.seconds_left(now.at), Some(30));
    }

    #[test]
    fn an_empty_instance_is_drained_once_all_gateways_have_heard() {
        let now = Moment::now();
        assert!(!Drain::default().finish_empty(now), "nobody drains it");
        let mut drain = begun(now);
        assert!(!drain.finish_empty(now), "requests may be on their way");
        assert!(drain.finish_empty(now + HEARD_BY_ALL));
        assert!(drain.is_over(now.at + HEARD_BY_ALL));
    }

    #[test]
    fn who_stops_cannot_be_called_back_and_announces_no_decision() {
        let now = Moment::now();
        for stop in [Drain::leave, Drain::stop] {
            let mut drain = begun(now);
            stop(&mut drain);
            assert!(!drain.begin(now, Some(DEADLINE), None) && !drain.end(now, None));
            assert_eq!((drain.seconds_left(now.at), drain.decision()), (Some(0), None));
        }
    }
}
