use super::*;

/// Requests with responses.
fn counts(requests: u64, failed: u64) -> Counts {
    Counts { requests, failed, times: Times::at(0.001, requests), ..Counts::default() }
}

fn reason(canary: &Counts, others: &[Counts]) -> Option<PutBack> {
    worse(canary, others, AT_A_LOOK).map(|worse| worse.reason)
}

/// Responses that each took this long.
fn took(responses: &[(f64, u64)]) -> Counts {
    let sum = |sum: Counts, (seconds, count): &(f64, u64)| {
        sum.plus(&Counts { requests: *count, times: Times::at(*seconds, *count), ..counts(0, 0) })
    };
    responses.iter().fold(Counts::default(), sum)
}

#[test]
fn one_failure_in_fifty_is_found_within_a_thousand_requests() {
    // Two others that fail none, three, and one.
    for (others, most) in [(2, 700), (3, 550), (1, 1_050)] {
        let found = (50..).step_by(50).find(|requests| {
            let peers = vec![counts(*requests, 0); others];
            reason(&counts(*requests, requests / 50), &peers).is_some()
        });
        let found = found.expect("found");
        assert!((100..=most).contains(&found), "{others} others: {found}");
    }
}

#[test]
fn few_requests_show_a_canary_that_fails_all_and_no_less() {
    let two = |requests| [counts(requests, 0), counts(requests, 0)];
    assert_eq!(reason(&counts(20, 20), &two(20)), Some(PutBack::Errors));
    for (requests, failed) in [(1, 1), (3, 3), (10, 1), (20, 2), (100, 3)] {
        assert_eq!(reason(&counts(requests, failed), &two(requests)), None, "{failed}");
    }
    assert_eq!(reason(&counts(0, 0), &[]), None);
    assert_eq!(reason(&counts(100, 100), &[]), None, "without others there is no measure");
    assert_eq!(reason(&counts(100, 100), &[counts(0, 0)]), None, "nor with idle ones");
    assert_eq!(reason(&counts(5, 30), &two(100)), Some(PutBack::Errors), "failed before counted");
}

#[test]
fn what_fails_everywhere_is_not_the_canarys_fault_and_promotes_nothing() {
    let peers = [counts(5_000, 5_000), counts(5_000, 5_000)];
    assert_eq!(reason(&counts(5_000, 5_000), &peers), None);
    let end = at_the_end(&counts(5_000, 5_000), &peers, 1_000).expect_err("undecided");
    assert_eq!(end.reason, PutBack::Undecided);
    assert!(end.why.contains("the others failed 10,000 of 10,000"), "{}", end.why);
    // An outage of a part of the time, which met all alike.
    let peers = [counts(10_000, 300), counts(10_000, 310)];
    assert_eq!(reason(&counts(10_000, 320), &peers), None);
    assert_eq!(at_the_end(&counts(10_000, 320), &peers, 1_000), Ok(()));
}

#[test]
fn a_good_canary_is_not_put_back_for_a_trifle_in_many_requests() {
    let many = 50_000_000;
    let peers = [counts(many, 1_000), counts(many, 1_000)];
    assert_eq!(reason(&counts(many, 5_000), &peers), None, "significant, and 0.01 %");
    assert_eq!(reason(&counts(many, 100_000), &peers), Some(PutBack::Errors), "0.2 %");
}

#[test]
fn a_client_that_fails_at_its_home_is_not_the_canarys_fault() {
    // One other fails as much by its own noisy client.
    let peers = [counts(2_000, 0), counts(2_000, 0), counts(2_000, 90)];
    assert_eq!(reason(&counts(2_000, 91), &peers), None);
    assert_eq!(reason(&counts(2_000, 200), &peers), Some(PutBack::Errors));
    // One that had hardly a request hides nothing.
    let peers = [counts(4_000, 0), counts(2, 1)];
    assert_eq!(reason(&counts(2_000, 60), &peers), Some(PutBack::Errors));
}

#[test]
fn rejections_count_by_a_wide_margin() {
    let rejecting = |requests, rejected| Counts { rejected, ..counts(requests, 0) };
    let peers = [rejecting(3_000, 30), rejecting(3_000, 60)];
    assert_eq!(reason(&rejecting(3_000, 150), &peers), None, "some clients are like that");
    assert_eq!(reason(&rejecting(3_000, 300), &peers), Some(PutBack::Rejections));
    assert_eq!(reason(&rejecting(200, 200), &peers), Some(PutBack::Rejections));
}

#[test]
fn a_p99_of_twice_the_others_is_worse_and_one_slow_response_is_not() {
    let peers = [took(&[(0.004, 995), (0.02, 5)]), took(&[(0.004, 995), (0.02, 5)])];
    assert_eq!(reason(&peers[0], &peers), None);
    assert_eq!(reason(&took(&[(0.004, 999), (5.0, 1)]), &peers), None);
    assert_eq!(reason(&took(&[(0.004, 900), (0.05, 100)]), &peers), Some(PutBack::Latency));
    assert_eq!(reason(&took(&[(0.05, 30)]), &peers), Some(PutBack::Latency), "thirty, all slow");
    let why = worse(&took(&[(0.05, 30)]), &peers, AT_A_LOOK).expect("worse").why;
    assert_eq!(
        why,
        "it took more than 10 ms for 30 of 30 requests (100.00 %), the others 10 of 2,000 requests \
         (0.50 %)"
    );
    // A cold cache that was not forgotten would be seen; below a millisecond nothing is.
    let quick = [took(&[(0.000_4, 2_000)]), took(&[(0.000_4, 2_000)])];
    assert_eq!(reason(&took(&[(0.002_5, 2_000)]), &quick), None, "within five milliseconds");
    let hung = [took(&[(30.0, 2_000)])];
    assert_eq!(reason(&took(&[(40.0, 2_000)]), &hung), None, "above all bounds");
    assert_eq!(reason(&took(&[(1.0, 50)]), &[took(&[(0.001, 99)])]), None, "few others");
}

#[test]
fn the_end_needs_enough_requests_of_both() {
    let (few, enough) = (counts(999, 0), counts(1_000, 0));
    for (canary, others) in [(few, [enough, enough]), (enough, [counts(500, 0), counts(499, 0)])] {
        let undecided = at_the_end(&canary, &others, 1_000).expect_err("too few");
        assert_eq!(undecided.reason, PutBack::Undecided);
        assert!(undecided.why.contains("999"), "{}", undecided.why);
    }
    assert_eq!(at_the_end(&enough, &[few, few], 1_000), Ok(()));
    // One that has not responded yet is no good one.
    let silent = Counts { requests: 1_000, ..Counts::default() };
    let undecided = at_the_end(&silent, &[enough, enough], 1_000).expect_err("silent");
    assert_eq!(undecided.reason, PutBack::Undecided);
    assert!(undecided.why.contains("has a response yet"), "{}", undecided.why);
    // Eleven of a thousand are too few for a look among many, and enough at the end.
    let peers = [enough, enough];
    assert_eq!(reason(&counts(1_000, 11), &peers), None);
    let end = at_the_end(&counts(1_000, 11), &peers, 1_000).expect_err("worse");
    assert_eq!(end.reason, PutBack::Errors);
}

/// A canary that is as good as the others, over and over: it must hardly ever be put back.
#[test]
fn chance_alone_puts_no_good_canary_back() {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    let mut random = StdRng::seed_from_u64(40);
    let mut put_back = 0;
    for _ in 0..300 {
        let mut all = [Counts::default(); 3];
        let looks = (0..600).any(|_| {
            for sum in &mut all {
                let failed = (0..20).filter(|_| random.random_bool(0.02)).count() as u64;
                *sum = sum.plus(&counts(20, failed));
            }
            worse(&all[0], &all[1..], AT_A_LOOK).is_some()
        });
        let end = at_the_end(&all[0], &all[1..], 1_000).is_err();
        put_back += u32::from(looks || end);
    }
    assert_eq!(put_back, 0, "of 300, each with 600 looks");
}

#[test]
fn numbers_are_grouped() {
    let shown = [0, 999, 1_000, 12_345_678].map(grouped);
    assert_eq!(shown, ["0", "999", "1,000", "12,345,678"]);
}
