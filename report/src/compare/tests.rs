//! What may be said of two arms, and what may not.

use super::*;
use crate::schema::{Series, Server};

/// A run whose server delivers `per_cpu_s`, with a p99 of `p99` microseconds.
fn run(per_cpu_s: f64, p99: f64) -> Summary {
    let mut run = Summary { verdict: Verdict::Pass, ..Summary::default() };
    run.plan.scenario = "pairs".into();
    run.plan.rate_per_s = Some(1000.0);
    run.server = Some(Server { messages_per_cpu_s: Some(per_cpu_s), ..Server::default() });
    run.latency_us.planned_to_delivered.p99 = Some(p99);
    run
}

/// Noise of about 2 %, that is not the same twice.
fn noise(at: usize) -> f64 {
    1.0 + 0.02 * ((at * 7919 % 13) as f64 / 6.0 - 1.0)
}

/// A series of ABBA blocks whose candidate is so many times the baseline.
fn series(blocks: usize, ratio: f64) -> [Vec<Summary>; 2] {
    let mut arms = [Vec::new(), Vec::new()];
    let mut number = 0;
    for block in 1..=blocks {
        // The machine gets slower meanwhile: by much more than the arms differ.
        let drift = 1.0 - 0.03 * block as f64;
        for arm in [0, 1, 1, 0] {
            number += 1;
            let better = if arm == 1 { ratio } else { 1.0 };
            let mut run = run(1e6 * drift * better * noise(number), 1000.0 / better * noise(number + 5));
            run.series = Some(Series {
                id: "one".into(),
                arm: [Arm::Baseline, Arm::Candidate][arm],
                block: block as u64,
                number: number as u64,
                ..Series::default()
            });
            arms[arm].push(run);
        }
    }
    arms
}

fn compared(arms: &[Vec<Summary>; 2]) -> Comparison {
    let [baseline, candidate] = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    compare(baseline, candidate, &[], &BTreeMap::new(), false).unwrap()
}

fn of<'a>(comparison: &'a Comparison, name: &str) -> &'a Compared {
    comparison.metrics.iter().find(|metric| metric.metric == name).unwrap()
}

#[test]
fn ten_percent_are_seen_in_six_blocks_however_the_machine_drifts() {
    for (ratio, judgement) in [(0.9, Judgement::Worse), (1.1, Judgement::Better)] {
        let comparison = compared(&series(6, ratio));
        let cost = of(&comparison, "messages_per_cpu_s");
        assert_eq!((cost.judgement, comparison.judgement), (judgement, judgement), "{cost:?}");
        assert!((cost.ratio.unwrap() / ratio - 1.0).abs() < 0.02, "{cost:?}");
        assert!(cost.ratio_low.unwrap() < ratio && ratio < cost.ratio_high.unwrap(), "{cost:?}");
        assert_eq!(comparison.blocks, Some(6));
    }
}

/// As many duets on a machine whose speed jumps by a third from one to the next.
fn duets(count: usize, ratio: f64) -> [Vec<Summary>; 2] {
    let mut arms = [Vec::new(), Vec::new()];
    for duet in 1..=count {
        let jump = 1.0 - 0.33 * (duet % 3) as f64;
        for arm in [0, 1] {
            let number = 2 * duet + arm;
            let better = if arm == 1 { ratio } else { 1.0 };
            let mut run = run(1e6 * jump * better * noise(number), 1000.0);
            run.series = Some(Series {
                id: "one".into(),
                arm: [Arm::Baseline, Arm::Candidate][arm],
                block: duet as u64,
                number: number as u64,
                is_duet: true,
            });
            arms[arm].push(run);
        }
    }
    arms
}

#[test]
fn duets_see_five_percent_on_a_machine_that_varies_by_a_third() {
    let comparison = compared(&duets(12, 0.95));
    assert_eq!(comparison.metrics.len(), 1, "two on the same cores have no latencies to be compared");
    let cost = of(&comparison, "messages_per_cpu_s");
    assert_eq!((cost.judgement, comparison.blocks), (Judgement::Worse, Some(12)), "{cost:?}");
    assert!(cost.noise_floor_share.unwrap() < 0.03, "{cost:?}");
    assert_eq!(compared(&duets(12, 1.0)).judgement, Judgement::NoDifference);
    let few = compared(&duets(11, 0.95));
    assert_eq!(few.judgement, Judgement::CannotTell);
    let text = render(&few, false);
    assert!(text.contains("11 of 12 duets: 1 more runs of each would do"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn what_is_no_difference_is_told_with_the_smallest_that_would_have_been_one() {
    let comparison = compared(&series(6, 1.0));
    assert_eq!(comparison.judgement, Judgement::NoDifference);
    for metric in &comparison.metrics {
        let least = if metric.metric.contains("p99") { 0.05 } else { 0.02 };
        assert!(metric.smallest_seen_share.unwrap() >= least - 1e-9, "{metric:?}");
        assert!(metric.noise_floor_share.unwrap() > 0.0, "{metric:?}");
    }
    let text = render(&comparison, false);
    assert!(text.contains("smallest difference that would have been seen"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn one_percent_is_less_than_anybody_cares_for() {
    // Without any noise: the interval excludes 1 by far.
    let mut arms = series(6, 1.0);
    for (arm, value) in arms.iter_mut().zip([1e6, 1.01e6]) {
        arm.iter_mut().for_each(|run| run.server.as_mut().unwrap().messages_per_cpu_s = Some(value));
    }
    let comparison = compared(&arms);
    let cost = of(&comparison, "messages_per_cpu_s");
    assert!(cost.ratio_low.unwrap() > 1.0 && cost.p_holm.unwrap() < 0.05, "{cost:?}");
    assert_eq!(cost.judgement, Judgement::NoDifference);
}

#[test]
fn too_few_blocks_cannot_tell_and_say_how_many_more_would() {
    let comparison = compared(&series(4, 0.5));
    assert_eq!(comparison.judgement, Judgement::CannotTell);
    assert_eq!(of(&comparison, "messages_per_cpu_s").more_runs, Some(4));
    let text = render(&comparison, false);
    assert!(text.contains("4 of 6 blocks: 4 more runs of each would do"), "{text}");
    let two = compare(
        Runs { name: "a", runs: &[run(1.0, 1.0)] },
        Runs { name: "b", runs: &[run(2.0, 1.0)] },
        &[],
        &BTreeMap::new(),
        false,
    );
    let two = two.unwrap();
    assert_eq!((two.judgement, two.metrics[0].more_runs), (Judgement::CannotTell, Some(11)));
}

#[test]
fn runs_of_no_series_are_two_samples() {
    let sample = |ratio: f64| (0..12).map(|at| run(1e6 * ratio * noise(at), 1000.0)).collect::<Vec<_>>();
    let comparison = compared(&[sample(1.0), sample(0.9)]);
    assert_eq!(comparison.blocks, None);
    assert_eq!(of(&comparison, "messages_per_cpu_s").judgement, Judgement::Worse);
    assert_eq!(of(&comparison, "planned_to_delivered.p99").judgement, Judgement::NoDifference);
}

#[test]
fn an_invalid_run_takes_its_block_with_it() {
    let mut arms = series(7, 0.9);
    arms[1][3].verdict = Verdict::Invalid;
    arms[1][3].server.as_mut().unwrap().messages_per_cpu_s = Some(9e9);
    let comparison = compared(&arms);
    assert_eq!((comparison.blocks, comparison.blocks_left_out), (Some(6), 1));
    assert_eq!(of(&comparison, "messages_per_cpu_s").judgement, Judgement::Worse);
    assert!(render(&comparison, false).contains("INVALID"));
}

#[test]
fn a_candidate_that_fails_more_often_is_worse_whatever_its_figures() {
    let mut arms = series(6, 1.1);
    arms[1][..4].iter_mut().for_each(|run| run.verdict = Verdict::Fail);
    assert_eq!(compared(&arms).judgement, Judgement::Worse);
    arms[0][..4].iter_mut().for_each(|run| run.verdict = Verdict::Fail);
    assert_eq!(compared(&arms).judgement, Judgement::Better, "both do");
}

#[test]
fn one_failure_is_chance_and_passes_no_gate() {
    let mut arms = series(6, 1.1);
    arms[1][0].verdict = Verdict::Fail;
    let comparison = compared(&arms);
    assert_eq!(comparison.judgement, Judgement::CannotTell);
    assert!(render(&comparison, false).contains("may be chance (p 0.50)"), "{}", render(&comparison, false));
}

#[test]
fn a_figure_that_is_always_zero_does_not_differ() {
    let arms = series(6, 1.0);
    let [baseline, candidate] = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    let lost = ["lost".parse().unwrap()];
    let comparison = compare(baseline, candidate, &lost, &BTreeMap::new(), false).unwrap();
    assert_eq!(comparison.judgement, Judgement::NoDifference, "{:?}", comparison.metrics);
}

#[test]
fn what_was_learned_of_these_runs_counts_once() {
    let arms = series(6, 1.0);
    let mut known = KnownNoise::default();
    arms.iter().for_each(|runs| known.learn(runs));
    let [baseline, candidate] = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    let floors = [BTreeMap::new(), known.of(&arms[0][0])].map(|noise| {
        let comparison = compare(baseline, candidate, &[], &noise, false).unwrap();
        comparison.metrics.iter().map(|metric| metric.noise_floor_share).collect::<Vec<_>>()
    });
    assert_eq!(floors[0], floors[1]);
}

#[test]
fn runs_that_differ_are_compared_by_force_alone_with_the_differences_on_top() {
    let sample = |kernel: &str| {
        let mut runs: Vec<Summary> = (0..12).map(|at| run(1e6 * noise(at), 1000.0)).collect();
        runs.iter_mut().for_each(|run| kernel.clone_into(&mut run.host.kernel));
        runs
    };
    let (old, new) = (sample("6.12"), sample("6.18"));
    let arms = [Runs { name: "old", runs: &old }, Runs { name: "new", runs: &new }];
    let error = compare(arms[0], arms[1], &[], &BTreeMap::new(), false).unwrap_err().to_string();
    assert!(error.contains("host.kernel: 6.12 -> 6.18") && error.contains("--force"), "{error}");
    let forced = compare(arms[0], arms[1], &[], &BTreeMap::new(), true).unwrap();
    assert!(render(&forced, false).contains("host.kernel: 6.12 -> 6.18"));
    assert!(to_markdown(&forced).contains("host.kernel: 6.12 -> 6.18"));
}

#[test]
fn the_arms_of_a_series_differ_in_what_was_to_be_compared() {
    let mut arms = series(6, 1.0);
    arms[1].iter_mut().for_each(|run| "epoll".clone_into(&mut run.plan.hash));
    let comparison = compared(&arms);
    assert!(comparison.one_series);
    assert_eq!(comparison.differences.len(), 1);
    // But two series are two, even with the same arms.
    arms[1].iter_mut().for_each(|run| run.series.as_mut().unwrap().id = "other".into());
    let runs = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    assert!(compare(runs[0], runs[1], &[], &BTreeMap::new(), false).is_err());
}

#[test]
fn a_metric_that_a_run_lacks_cannot_be_told() {
    let mut arms = series(6, 0.5);
    arms[0][2].latency_us.planned_to_delivered.p99 = None;
    arms[1][2].server.as_mut().unwrap().messages_per_cpu_s = Some(0.0);
    let comparison = compared(&arms);
    for metric in &comparison.metrics {
        assert_eq!(metric.judgement, Judgement::CannotTell);
        assert!(metric.why.contains("no figure"), "{metric:?}");
    }
    let nothing = [vec![Summary::default()], vec![Summary::default()]];
    let runs = nothing.each_ref().map(|runs| Runs { name: "arm", runs });
    let error = compare(runs[0], runs[1], &[], &BTreeMap::new(), true).unwrap_err();
    assert_eq!(error, CompareError::NothingInCommon);
}

#[test]
fn a_noisier_machine_wants_a_larger_effect() {
    let arms = series(6, 0.95);
    let runs = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    let loud = (0..60).map(|at| [0.0, 0.3, -0.3 * f64::from(at % 3), 0.2]).collect::<Vec<Quiet>>();
    let known = BTreeMap::from([("messages_per_cpu_s".to_owned(), loud)]);
    let judged = |noise: &BTreeMap<String, Vec<Quiet>>| {
        let comparison = compare(runs[0], runs[1], &[], noise, false).unwrap();
        of(&comparison, "messages_per_cpu_s").judgement
    };
    assert_eq!(judged(&BTreeMap::new()), Judgement::Worse);
    assert_eq!(judged(&known), Judgement::NoDifference);
}

#[test]
fn more_metrics_want_more_evidence() {
    // Six blocks whose signs agree have p = 2 / 46,656 at the least; one that is just significant alone is not among ten.
    let figure = |p: f64, judgement: Judgement| {
        let mut metric = compared(&series(6, 0.9)).metrics.remove(0);
        (metric.p, metric.judgement) = (Some(p), judgement);
        metric
    };
    let mut alone = [figure(0.03, Judgement::Worse)];
    judge(alone.iter_mut().collect());
    assert_eq!(alone[0].judgement, Judgement::Worse);
    let mut many: Vec<Compared> = (0..10).map(|_| figure(0.03, Judgement::Worse)).collect();
    judge(many.iter_mut().collect());
    assert!(many.iter().all(|metric| metric.judgement == Judgement::NoDifference));
}

#[test]
fn comparisons_that_were_asked_for_together_want_more_evidence() {
    // Four of six blocks are as they would be by chance in one of twenty comparisons.
    let mut arms = series(6, 1.0);
    for (at, run) in arms[1].iter_mut().enumerate() {
        let by = if at < 8 { 1.12 } else { 1.0 };
        let server = run.server.as_mut().unwrap();
        server.messages_per_cpu_s = server.messages_per_cpu_s.map(|figure| figure * by);
    }
    let one = compared(&arms);
    let p = of(&one, "messages_per_cpu_s").p_holm.unwrap();
    let mut many = vec![one.clone(); 9];
    correct_together(&mut many);
    let corrected = of(&many[0], "messages_per_cpu_s").p_holm.unwrap();
    assert!(corrected > p && corrected <= 1.0, "{p} {corrected}");
    let mut worse = vec![compared(&series(6, 0.8)); 2];
    correct_together(&mut worse);
    assert_eq!(worse[0].judgement, Judgement::Worse, "what is plain stays plain");
}

#[test]
fn other_programs_get_what_they_can_read() {
    let comparison = compared(&series(6, 0.9));
    let csv = to_csv(&comparison);
    let columns = |line: &str| line.split(',').count();
    assert!(csv.lines().all(|line| columns(line) == 14), "{csv}");
    assert!(csv.contains("\nmessages_per_cpu_s,worse,true,12,12,"), "{csv}");
    let bencher = to_bencher(&comparison);
    let measure = &bencher["pairs"]["messages_per_cpu_s"];
    let [low, value, high] =
        ["lower_value", "value", "upper_value"].map(|key| measure[key].as_f64().unwrap());
    assert!(low < value && value < high, "{measure}");
    let markdown = to_markdown(&comparison);
    assert!(markdown.contains("| messages_per_cpu_s |") && markdown.contains("WORSE"), "{markdown}");
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(json["metrics"][0]["judgement"], "worse");
}
