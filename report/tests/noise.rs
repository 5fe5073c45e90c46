//! How often comparisons are wrong where nothing differs: 240 runs of one binary, one after the other, on a shared machine of two
//! cores (`scripts/compare.sh record`), and 10,000 ways to call them baseline and candidate.

#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use throng_report::compare::{Judgement, Runs, compare};
use throng_report::schema::{Arm, Series, Server, Summary, Verdict};

const RUNS: &str = include_str!("fixtures/aa-240.csv");
const RELABELLINGS: usize = 10_000;
const THREADS: usize = 2;
/// Runs of a block, and blocks of a comparison.
const BLOCK: usize = 4;
const BLOCKS: usize = 6;

/// A run of the fixture.
fn run(line: &str) -> Summary {
    let figures: Vec<Option<f64>> = line.split(',').map(|figure| figure.parse().ok()).collect();
    let mut run = Summary { verdict: Verdict::Pass, ..Summary::default() };
    run.plan.closed_loop_window = Some(8);
    run.server = Some(Server { messages_per_cpu_s: figures[0], ..Server::default() });
    run.machine.cpu_us_per_message = figures[1];
    run.messages.rate_per_s = figures[2];
    run.latency_us.planned_to_delivered.p50 = figures[3];
    run.latency_us.planned_to_delivered.p99 = figures[4];
    run
}

/// Calls two of each block's runs the candidate; true when any figure is called better or worse.
fn is_called(runs: &[Summary], chance: &mut Xoshiro256PlusPlus) -> bool {
    let mut below = |bound: usize| (chance.next_u64() % bound as u64) as usize;
    let first = below(runs.len() / BLOCK - BLOCKS + 1);
    let mut arms = [Vec::new(), Vec::new()];
    for (block, runs) in runs.chunks(BLOCK).skip(first).take(BLOCKS).enumerate() {
        let mut order = [0, 1, 2, 3];
        for at in (1..BLOCK).rev() {
            order.swap(at, below(at + 1));
        }
        for (place, at) in order.into_iter().enumerate() {
            let arm = usize::from(place >= BLOCK / 2);
            let series = Series {
                id: "one".into(),
                arm: [Arm::Baseline, Arm::Candidate][arm],
                block: block as u64 + 1,
                number: (block * BLOCK + at) as u64 + 1,
                ..Series::default()
            };
            arms[arm].push(Summary { series: Some(series), ..runs[at].clone() });
        }
    }
    let [baseline, candidate] = arms.each_ref().map(|runs| Runs { name: "arm", runs });
    let comparison = compare(baseline, candidate, &[], &BTreeMap::new(), false).unwrap();
    assert_eq!((comparison.metrics.len(), comparison.blocks), (5, Some(BLOCKS as u64)));
    matches!(comparison.judgement, Judgement::Better | Judgement::Worse)
}

#[test]
fn at_most_one_in_twenty_comparisons_of_one_and_the_same_thing_sees_a_difference() {
    let runs: Vec<Summary> = RUNS.lines().skip(1).map(run).collect();
    assert_eq!(runs.len(), 240);
    let called: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|seed| {
                let runs = &runs;
                scope.spawn(move || {
                    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
                    (0..RELABELLINGS / THREADS).filter(|_| is_called(runs, &mut chance)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{called} of {RELABELLINGS}");
    assert!(called * 20 <= RELABELLINGS, "{called} of {RELABELLINGS}");
}

#[test]
fn ten_percent_planted_into_those_runs_are_seen_nearly_always() {
    let runs: Vec<Summary> = RUNS.lines().skip(1).map(run).collect();
    let mut seen = 0;
    let sets = runs.len() / BLOCK / BLOCKS;
    for set in 0..sets {
        let mut arms = [Vec::new(), Vec::new()];
        for (at, run) in runs[set * BLOCK * BLOCKS..][..BLOCK * BLOCKS].iter().enumerate() {
            let arm = usize::from(matches!(at % BLOCK, 1 | 2));
            let mut run = run.clone();
            let server = run.server.as_mut().unwrap();
            server.messages_per_cpu_s =
                server.messages_per_cpu_s.map(|figure| if arm == 1 { figure / 1.1 } else { figure });
            run.series = Some(Series {
                id: "one".into(),
                arm: [Arm::Baseline, Arm::Candidate][arm],
                block: (at / BLOCK) as u64 + 1,
                number: at as u64 + 1,
                ..Series::default()
            });
            arms[arm].push(run);
        }
        let [baseline, candidate] = arms.each_ref().map(|runs| Runs { name: "arm", runs });
        let comparison = compare(baseline, candidate, &[], &BTreeMap::new(), false).unwrap();
        assert_ne!(comparison.judgement, Judgement::CannotTell);
        let cost = comparison.metrics.iter().find(|metric| metric.metric == "messages_per_cpu_s").unwrap();
        assert_ne!(cost.judgement, Judgement::Better);
        seen += usize::from(cost.judgement == Judgement::Worse);
    }
    // In two sets the machine itself became a fifth slower, in some blocks between the first run and the last.
    assert!(10 * seen >= 8 * sets, "{seen} of {sets}");
}
