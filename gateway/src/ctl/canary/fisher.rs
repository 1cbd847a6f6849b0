//! Fisher's exact test, one-sided.

/// The probability that chance alone gives the first group at least `marked` of the marked
/// requests, if each request of both groups is as likely to be marked as any other.
///
/// The groups have `size` and `other_size` requests, of which `marked` and `other_marked` are
/// marked (R. A. Fisher, "Statistical Methods for Research Workers", 1934, §21.02).
pub(super) fn p_value(marked: u64, size: u64, other_marked: u64, other_size: u64) -> f64 {
    let (all_marked, all) = (marked + other_marked, size + other_size);
    let [k, n, m, all_marked_f, all_f] =
        [marked, size, other_size, all_marked, all].map(|count| count as f64);
    // Not above its share: the probability is about a half or more.
    if all == 0 || k * all_f <= n * all_marked_f {
        return 1.0;
    }
    let mut term = (ln_choose(size, marked) + ln_choose(other_size, other_marked)
        - ln_choose(all, all_marked))
    .exp();
    let mut sum = 0.0;
    // From here on the terms fall, so the sum is complete once one adds nothing.
    for more in 0..=other_marked.min(size - marked) {
        if sum + term == sum {
            break;
        }
        sum += term;
        let x = k + more as f64;
        term *= (n - x) * (all_marked_f - x) / ((x + 1.0) * (m - all_marked_f + x + 1.0));
    }
    sum.min(1.0)
}

fn ln_choose(of: u64, taken: u64) -> f64 {
    ln_factorial(of) - ln_factorial(taken) - ln_factorial(of - taken)
}

/// By Stirling's series, whose next term is below 10⁻¹⁰ from 16 on.
fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = n as f64;
    let half_ln_tau = 0.918_938_533_204_672_8;
    (x + 0.5) * x.ln() - x + half_ln_tau + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
        + 1.0 / (1_260.0 * x.powi(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_close(p: f64, expected: f64) {
        assert!((p / expected - 1.0).abs() < 1e-6, "{p} instead of {expected}");
    }

    #[test]
    fn known_tables_have_their_probabilities() {
        // Fisher's tea: all four of four, and three of four.
        assert_close(p_value(4, 4, 0, 4), 1.0 / 70.0);
        assert_close(p_value(3, 4, 1, 4), 17.0 / 70.0);
        // All of three, in a third of the requests: 10·9·8 / 30·29·28.
        assert_close(p_value(3, 10, 0, 20), 720.0 / 24_360.0);
        // By R: fisher.test(matrix(c(27, 1283, 2, 2618), 2), alternative = "greater").
        assert!(p_value(27, 1_310, 2, 2_620) < 1e-9);
    }

    #[test]
    fn a_group_at_or_below_its_share_is_no_finding() {
        for (marked, size, other_marked, other_size) in
            [(0, 0, 0, 0), (0, 10, 0, 10), (10, 10, 20, 20), (1, 100, 5, 100), (0, 5, 0, 0)]
        {
            assert_eq!(p_value(marked, size, other_marked, other_size), 1.0);
        }
        assert_eq!(p_value(5, 5, 0, 0), 1.0, "without another group");
    }

    #[test]
    fn it_is_the_sum_of_all_tables_that_are_as_extreme() {
        // By enumeration, for every table of small groups.
        for (n, m) in [(3_u64, 5_u64), (7, 2), (6, 6)] {
            for k in 0..=n {
                for l in 0..=m {
                    let choose = |of, taken| ln_choose(of, taken).exp();
                    let from = k..=(k + l).min(n);
                    let fits = |x: &u64| k + l - x <= m;
                    let sum: f64 = from
                        .filter(fits)
                        .map(|x| choose(n, x) * choose(m, k + l - x) / choose(n + m, k + l))
                        .sum();
                    let p = p_value(k, n, l, m);
                    if p < 1.0 {
                        assert_close(p, sum);
                    } else {
                        assert!(sum > 0.4, "{k} of {n}, {l} of {m}: {sum}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_counts_neither_overflow_nor_take_long() {
        let million = 1_000_000;
        assert_eq!(p_value(30 * million, 100 * million, 1, 100 * million), 0.0);
        let p = p_value(10_200, million, 10_000, million);
        assert!((0.05..0.2).contains(&p), "two per cent more, at 1.4 standard deviations: {p}");
    }
}
