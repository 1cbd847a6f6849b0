//! Bodies of the stateless service's own endpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceName;
use crate::timestamp::Timestamp;

/// The most operands of one calculation.
pub const MAX_OPERANDS: usize = 1_000;
/// The most values of one request to `random`.
pub const MAX_RANDOM_COUNT: u32 = 1_000;
/// The largest bound of one request to `random`, and the smallest with a minus: 2⁵³ − 1. Up to
/// here every program reads a JSON number exactly (RFC 8259, section 6).
pub const MAX_RANDOM_BOUND: i64 = (1 << 53) - 1;

/// `GET /info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// Always `stateless-svc`.
    pub service: String,
    /// The program's version.
    pub version: String,
    /// The instance's name.
    pub instance: InstanceName,
    /// Its clock.
    pub timestamp: Timestamp,
    /// Seconds since its start.
    pub uptime_s: u64,
}

/// `POST /calculate`. `{}` is the sum of no operands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CalculateRequest {
    /// Applied from left to right.
    pub operation: Operation,
    /// At most 1,000 finite numbers.
    #[schemars(length(max = 1_000))]
    pub operands: Vec<f64>,
}

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The sum; 0 without operands.
    #[default]
    Add,
    /// The first minus all others.
    Subtract,
    /// The product; 1 without operands.
    Multiply,
    /// The first divided by all others.
    Divide,
    /// The first to the power of the second: exactly two operands.
    Power,
    /// The arithmetic mean; at least one operand.
    Mean,
    /// The smallest; at least one operand.
    Min,
    /// The largest; at least one operand.
    Max,
}

/// Response to `POST /calculate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalculateResponse {
    /// As requested.
    pub operation: Operation,
    /// As requested.
    pub operands: Vec<f64>,
    /// A finite number.
    pub result: f64,
}

/// Query of `GET /random`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RandomQuery {
    /// Inclusive lower bound, within ±(2⁵³ − 1); 0 by default.
    #[schemars(range(min = -MAX_RANDOM_BOUND, max = MAX_RANDOM_BOUND))]
    pub min: i64,
    /// Inclusive upper bound, within ±(2⁵³ − 1); 100 by default.
    #[schemars(range(min = -MAX_RANDOM_BOUND, max = MAX_RANDOM_BOUND))]
    pub max: i64,
    /// Number of values, 1 to 1,000; 1 by default.
    #[schemars(range(min = 1, max = 1_000))]
    pub count: u32,
}

impl Default for RandomQuery {
    fn default() -> Self {
        Self { min: 0, max: 100, count: 1 }
    }
}

/// Response to `GET /random`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RandomResponse {
    /// As requested.
    pub min: i64,
    /// As requested.
    pub max: i64,
    /// Uniform over `min..=max`.
    pub values: Vec<i64>,
}
