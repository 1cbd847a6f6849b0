//! Bodies of the stateless service's own endpoints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceName;

/// The most operands of one calculation.
pub const MAX_OPERANDS: usize = 1_000;
/// The most values of one call of `random`.
pub const MAX_RANDOM_COUNT: u32 = 1_000;

/// `GET /info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Always `stateless-svc`.
    pub service: String,
    /// The program's version.
    pub version: String,
    /// Which instance answered.
    pub instance: InstanceName,
    /// Its clock.
    pub timestamp: Timestamp,
    /// For how many seconds it has been running.
    pub uptime_s: u64,
}

/// `POST /calculate`. An empty body object is the sum of nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CalculateRequest {
    /// What to do with the operands, from the left to the right.
    pub operation: Operation,
    /// At most [`MAX_OPERANDS`] finite numbers.
    pub operands: Vec<f64>,
}

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The sum; of nothing, 0.
    #[default]
    Add,
    /// The first less each other.
    Subtract,
    /// The product; of nothing, 1.
    Multiply,
    /// The first divided by each other.
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

/// Answer to `POST /calculate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalculateResponse {
    /// As asked.
    pub operation: Operation,
    /// As asked.
    pub operands: Vec<f64>,
    /// A finite number.
    pub result: f64,
}

/// Query of `GET /random`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomQuery {
    /// The smallest value that may be drawn; 0 by default.
    pub min: i64,
    /// The largest value that may be drawn; 100 by default.
    pub max: i64,
    /// How many to draw, 1 to [`MAX_RANDOM_COUNT`]; 1 by default.
    pub count: u32,
}

impl Default for RandomQuery {
    fn default() -> Self {
        Self { min: 0, max: 100, count: 1 }
    }
}

/// Answer to `GET /random`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomResponse {
    /// As asked.
    pub min: i64,
    /// As asked.
    pub max: i64,
    /// Drawn uniformly from `min..=max`.
    pub values: Vec<i64>,
}
