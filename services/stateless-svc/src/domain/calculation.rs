//! Arithmetic whose errors name the operand at fault.

use proto_contracts::stateless::{MAX_OPERANDS, Operation};

/// Why a calculation has no result. Operands are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalculationError {
    /// More than [`MAX_OPERANDS`].
    #[error("too many operands: {given}; the limit is {MAX_OPERANDS}")]
    TooMany { given: usize },
    /// The operation is not defined for this number of operands.
    #[error("{name} takes {needs}, not {given}", name = name(*operation))]
    WrongCount {
        operation: Operation,
        /// The number that it takes, in words.
        needs: &'static str,
        given: usize,
    },
    /// A divisor is 0.
    #[error("operand {operand} is 0")]
    DivisionByZero { operand: usize },
    /// The result overflows a 64-bit floating-point number, or is not a number.
    #[error("operand {operand} makes the result overflow or not a number")]
    NotFinite { operand: usize },
}

/// Applies the operation to the operands, from the left to the right.
///
/// # Errors
/// See [`CalculationError`].
pub fn calculate(operation: Operation, operands: &[f64]) -> Result<f64, CalculationError> {
    let given = operands.len();
    if given > MAX_OPERANDS {
        return Err(CalculationError::TooMany { given });
    }
    let wrong_count = |needs| CalculationError::WrongCount { operation, needs, given };
    let first_and_rest =
        || operands.split_first().ok_or_else(|| wrong_count("at least one operand"));
    match operation {
        Operation::Add => fold(0.0, operands, 1, |sum, x| sum + x),
        Operation::Multiply => fold(1.0, operands, 1, |product, x| product * x),
        Operation::Subtract => {
            let (&first, rest) = first_and_rest()?;
            fold(first, rest, 2, |difference, x| difference - x)
        }
        Operation::Divide => {
            let (&first, rest) = first_and_rest()?;
            if let Some(zero) = rest.iter().position(|&x| x == 0.0) {
                return Err(CalculationError::DivisionByZero { operand: zero + 2 });
            }
            fold(first, rest, 2, |quotient, x| quotient / x)
        }
        Operation::Power => match operands {
            [base, exponent] if *base == 0.0 && *exponent < 0.0 => {
                Err(CalculationError::DivisionByZero { operand: 1 })
            }
            [base, exponent] => fold(*base, &[*exponent], 2, f64::powf),
            _ => Err(wrong_count("exactly two operands")),
        },
        Operation::Mean => {
            first_and_rest()?;
            Ok(mean(operands))
        }
        Operation::Min => {
            let (&first, rest) = first_and_rest()?;
            Ok(rest.iter().copied().fold(first, f64::min))
        }
        Operation::Max => {
            let (&first, rest) = first_and_rest()?;
            Ok(rest.iter().copied().fold(first, f64::max))
        }
    }
}

/// Folds until the result is not finite. The first operand has this number.
fn fold(
    start: f64,
    operands: &[f64],
    number: usize,
    step: impl Fn(f64, f64) -> f64,
) -> Result<f64, CalculationError> {
    operands.iter().enumerate().try_fold(start, |result, (index, &operand)| {
        let result = step(result, operand);
        if result.is_finite() {
            Ok(result)
        } else {
            Err(CalculationError::NotFinite { operand: number + index })
        }
    })
}

/// The mean lies between the smallest and the largest operand, so it is finite even where the sum
/// is not.
#[expect(clippy::cast_precision_loss, reason = "there are at most a thousand operands")]
fn mean(operands: &[f64]) -> f64 {
    let count = operands.len() as f64;
    let sum: f64 = operands.iter().sum();
    if sum.is_finite() { sum / count } else { operands.iter().map(|x| x / count).sum() }
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Add => "add",
        Operation::Subtract => "subtract",
        Operation::Multiply => "multiply",
        Operation::Divide => "divide",
        Operation::Power => "power",
        Operation::Mean => "mean",
        Operation::Min => "min",
        Operation::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_operation_works_from_the_left_to_the_right() {
        for (operation, operands, result) in [
            (Operation::Add, &[][..], 0.0),
            (Operation::Add, &[1.0, 2.0, 3.5], 6.5),
            (Operation::Subtract, &[10.0, 2.0, 3.0], 5.0),
            (Operation::Multiply, &[], 1.0),
            (Operation::Multiply, &[2.0, 3.0, -4.0], -24.0),
            (Operation::Divide, &[60.0, 2.0, 3.0], 10.0),
            (Operation::Divide, &[0.0], 0.0),
            (Operation::Power, &[2.0, 10.0], 1024.0),
            (Operation::Mean, &[1.0, 2.0], 1.5),
            (Operation::Mean, &[f64::MAX, f64::MAX], f64::MAX),
            (Operation::Min, &[3.0, -1.0, 2.0], -1.0),
            (Operation::Max, &[3.0, -1.0, 2.0], 3.0),
        ] {
            assert_eq!(calculate(operation, operands), Ok(result), "{operation:?} {operands:?}");
        }
    }

    #[test]
    fn an_error_names_the_operand() {
        for (operation, operands, text) in [
            (Operation::Divide, &[1.0, 2.0, 0.0][..], "operand 3 is 0"),
            (Operation::Divide, &[0.0, -0.0], "operand 2 is 0"),
            (Operation::Power, &[0.0, -1.0], "operand 1 is 0"),
            (Operation::Power, &[-8.0, 0.5], "operand 2"),
            (Operation::Power, &[10.0, 400.0], "operand 2"),
            (Operation::Power, &[2.0], "power takes exactly two operands, not 1"),
            (Operation::Add, &[f64::MAX, f64::MAX, 1.0], "operand 2"),
            (Operation::Multiply, &[1e200, 1.0, 1e200], "operand 3"),
            (Operation::Subtract, &[], "subtract takes at least one operand, not 0"),
            (Operation::Mean, &[], "mean takes at least one"),
        ] {
            let error = calculate(operation, operands).expect_err(text);
            assert!(error.to_string().contains(text), "{operation:?} {operands:?}: {error}");
        }
        let many = vec![1.0; MAX_OPERANDS + 1];
        assert_eq!(
            calculate(Operation::Add, &many),
            Err(CalculationError::TooMany { given: MAX_OPERANDS + 1 })
        );
        assert!(calculate(Operation::Add, &many[1..]).is_ok());
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        prop::sample::select(vec![
            Operation::Add,
            Operation::Subtract,
            Operation::Multiply,
            Operation::Divide,
            Operation::Power,
            Operation::Mean,
            Operation::Min,
            Operation::Max,
        ])
    }

    proptest! {
        #[test]
        fn a_result_is_always_finite(
            operation in any_operation(),
            operands in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL, 0..40),
        ) {
            match calculate(operation, &operands) {
                Ok(result) => prop_assert!(result.is_finite()),
                Err(CalculationError::DivisionByZero { operand }) => prop_assert_eq!(operands[operand - 1], 0.0),
                Err(CalculationError::NotFinite { operand }) => prop_assert!((1..=operands.len()).contains(&operand)),
                Err(_) => {}
            }
        }

        #[test]
        fn the_mean_lies_between_the_extremes(operands in prop::collection::vec(-1e300..1e300_f64, 1..40)) {
            let of = |operation| calculate(operation, &operands).expect("defined");
            let (mean, slack) = (of(Operation::Mean), 1e-9);
            let (min, max) = (of(Operation::Min), of(Operation::Max));
            prop_assert!(mean >= min - min.abs() * slack && mean <= max + max.abs() * slack);
        }
    }
}
