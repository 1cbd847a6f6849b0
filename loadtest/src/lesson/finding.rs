//! A number of a lesson: what theory predicts, what was measured, and whether they agree.

use proto_contracts::control::{LessonFinding, LessonPrediction, LessonUnit};
use serde::Serialize;

/// Standard errors that a measured share may differ from its prediction: chance exceeds it once in
/// 16,000 samples.
const STANDARD_ERRORS: f64 = 4.0;

/// One number of a lesson.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// Its unit.
    pub unit: Unit,
    /// What theory says; `null`: the number is only shown.
    pub predicted: Option<Prediction>,
    /// The measured value.
    pub measured: f64,
    /// The size of the sample, for a share.
    pub sample: Option<usize>,
}

/// A prediction of theory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The predicted value.
    pub value: f64,
    /// By how much the measured value may differ.
    pub tolerance: f64,
    /// Why, where it is not the chance of the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
}

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share, in per cent.
    Percent,
    /// A duration, in milliseconds.
    Ms,
    /// Per request.
    PerRequest,
}

impl Unit {
    /// Its symbol.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::Ms => "ms",
            Self::PerRequest => "a request",
        }
    }
}

impl Finding {
    /// A share of a sample, predicted as this probability (0 to 1). The tolerance is four standard
    /// errors of the sample, √(p(1−p)/n): none when theory leaves nothing to chance.
    pub(crate) fn share(what: impl Into<String>, part: usize, whole: usize, p: f64) -> Self {
        Self::share_of(what, part, whole, p, 0.0)
    }

    /// The same, where the probability itself has this standard deviation.
    pub(crate) fn share_of(
        what: impl Into<String>,
        part: usize,
        whole: usize,
        p: f64,
        deviation: f64,
    ) -> Self {
        let variance = p * (1.0 - p) / whole.max(1) as f64 + deviation * deviation;
        let tolerance = 100.0 * STANDARD_ERRORS * variance.sqrt();
        Self {
            what: what.into(),
            unit: Unit::Percent,
            predicted: Some(Prediction { value: 100.0 * p, tolerance, because: None }),
            measured: 100.0 * part as f64 / whole.max(1) as f64,
            sample: Some(whole),
        }
    }

    /// A count for each of a sample, which theory says exactly.
    pub(crate) fn ratio(
        what: impl Into<String>,
        unit: Unit,
        count: f64,
        sample: usize,
        value: f64,
    ) -> Self {
        Self {
            what: what.into(),
            unit,
            predicted: Some(Prediction { value, tolerance: 0.0, because: None }),
            measured: count / sample.max(1) as f64,
            sample: Some(sample),
        }
    }

    /// The same with this tolerance, in its unit, for another reason than chance: the report says
    /// which.
    pub(crate) fn tolerating(mut self, tolerance: f64, because: &'static str) -> Self {
        if let Some(predicted) = &mut self.predicted {
            predicted.tolerance = tolerance;
            predicted.because = Some(because);
        }
        self
    }

    /// A number that is only shown.
    pub(crate) fn shown(what: impl Into<String>, unit: Unit, measured: f64) -> Self {
        Self { what: what.into(), unit, predicted: None, measured, sample: None }
    }

    /// The prediction with its tolerance.
    pub(crate) fn predicted_text(&self) -> String {
        let unit = self.unit.symbol();
        match self.predicted {
            None => "–".to_owned(),
            Some(by) if by.tolerance == 0.0 => format!("{:.1} {unit}", by.value),
            Some(by) => format!("{:.1} ± {:.1} {unit}", by.value, by.tolerance),
        }
    }

    /// The measured value.
    pub(crate) fn measured_text(&self) -> String {
        format!("{:.1} {}", self.measured, self.unit.symbol())
    }

    /// The same for other programs.
    pub(crate) fn wire(&self) -> LessonFinding {
        let predicted =
            self.predicted.map(|by| LessonPrediction { value: by.value, tolerance: by.tolerance });
        LessonFinding {
            what: self.what.clone(),
            unit: match self.unit {
                Unit::Percent => LessonUnit::Percent,
                Unit::Ms => LessonUnit::Ms,
                Unit::PerRequest => LessonUnit::PerRequest,
            },
            predicted,
            measured: self.measured,
            sample: self.sample.map(|sample| sample as u64),
            holds: self.holds(),
        }
    }

    /// Whether the measured value agrees with the prediction. An empty sample agrees with nothing.
    pub fn holds(&self) -> bool {
        // Shares of equal value may differ in the last bit.
        let is_near = |predicted: Prediction| {
            (self.measured - predicted.value).abs() <= predicted.tolerance + 1e-9
        };
        self.sample != Some(0) && self.predicted.is_none_or(is_near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_is_four_standard_errors_of_the_sample() {
        let third = Finding::share("a third", 110, 300, 1.0 / 3.0);
        let predicted = third.predicted.expect("a prediction");
        assert!((predicted.tolerance - 10.887).abs() < 0.001, "{predicted:?}");
        assert!(third.holds());
        assert!(!Finding::share("a third", 140, 300, 1.0 / 3.0).holds());
        let larger = Finding::share("a third", 1_100, 3_000, 1.0 / 3.0);
        assert!(larger.predicted.expect("one").tolerance < predicted.tolerance / 3.0);
    }

    #[test]
    fn certainty_has_no_tolerance_and_an_empty_sample_shows_nothing() {
        assert!(Finding::share("all", 300, 300, 1.0).holds());
        assert!(!Finding::share("all", 299, 300, 1.0).holds());
        assert!(!Finding::share("none", 1, 300, 0.0).holds());
        assert!(!Finding::share("none", 0, 0, 0.0).holds());
        assert!(Finding::share("most", 280, 300, 1.0).tolerating(10.0, "a stall").holds());
        assert!(!Finding::share("most", 260, 300, 1.0).tolerating(10.0, "a stall").holds());
        assert!(Finding::shown("p99", Unit::Ms, 3.0).holds());
    }
}
