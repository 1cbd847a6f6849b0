//! Metrics of accounts.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use proto_contracts::Role;

use crate::passwords::PasswordHasher;

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// With tokens.
    Accepted,
    /// An unknown user, or a wrong password.
    Rejected,
    /// The address failed too often just now.
    MustWait,
    /// Overload, an outage or an invalid body.
    Failed,
}

impl LoginOutcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::MustWait, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::MustWait => "must_wait",
            Self::Failed => "failed",
        }
    }
}

/// Counts users, registrations, logins and reused refresh tokens. Cheap to clone.
#[derive(Clone)]
pub struct AuthMetrics {
    users: IntGaugeVec,
    registered: IntCounter,
    logins: IntCounterVec,
    reused: IntCounter,
}

impl AuthMetrics {
    /// Registers them, and the queue of the hasher.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub fn register(registry: &Registry, passwords: PasswordHasher) -> prometheus::Result<Self> {
        let users = IntGaugeVec::new(
            Opts::new("accounts_users", "Users by role and state, as this instance last counted"),
            &["role", "state"],
        )?;
        let registered = IntCounter::new("accounts_registered_total", "Registered users")?;
        let logins = IntCounterVec::new(
            Opts::new("accounts_logins_total", "Logins by outcome"),
            &["outcome"],
        )?;
        // So that rates begin at 0.
        for outcome in LoginOutcome::ALL {
            logins.with_label_values(&[outcome.label()]);
        }
        let reused = IntCounter::new(
            "accounts_refresh_tokens_reused_total",
            "Refresh tokens that were used twice, which ended their login",
        )?;
        let waiting = IntGauge::new("accounts_password_queue", "Passwords that wait for a hash")?;
        registry.register(Box::new(users.clone()))?;
        registry.register(Box::new(registered.clone()))?;
        registry.register(Box::new(logins.clone()))?;
        registry.register(Box::new(reused.clone()))?;
        registry.register(Box::new(Queue { passwords, waiting }))?;
        Ok(Self { users, registered, logins, reused })
    }

    /// Shows how many users of this role are disabled or not.
    pub fn users(&self, role: Role, is_disabled: bool, count: i64) {
        let state = if is_disabled { "disabled" } else { "active" };
        self.users.with_label_values(&[role.as_str(), state]).set(count);
    }

    /// Counts a registered user.
    pub fn registered(&self) {
        self.registered.inc();
    }

    /// Counts a login.
    pub fn login(&self, outcome: LoginOutcome) {
        self.logins.with_label_values(&[outcome.label()]).inc();
    }

    /// Counts a refresh token that was used twice.
    pub fn reused(&self) {
        self.reused.inc();
    }
}

/// Reads the queue's length at each scrape.
struct Queue {
    passwords: PasswordHasher,
    waiting: IntGauge,
}

impl Collector for Queue {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.waiting.desc()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.waiting.set(i64::try_from(self.passwords.waiting()).unwrap_or(i64::MAX));
        self.waiting.collect()
    }
}
