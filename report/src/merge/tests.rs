//! Parts of one run, and what is none.

use super::*;
use crate::schema::{Reason, Server};

/// The part `number` of `of`, with 100,000 samples from `nanos` on.
fn part(number: u32, of: u32, nanos: u64) -> Part {
    let mut histogram = Histogram::new();
    (0..100_000).for_each(|at| histogram.record(nanos + at));
    let mut summary = Summary { verdict: Verdict::Pass, ..Summary::default() };
    summary.plan.hash = "one".into();
    summary.plan.rate_per_s = Some(1000.0);
    summary.plan.part = (of > 1).then(|| format!("{number}/{of}"));
    summary.connections.target = 10;
    summary.connections.established = 10;
    summary.messages.window.planned = 100_000;
    summary.messages.window.attempted = 100_000;
    summary.messages.window.delivered = 100_000;
    summary.messages.rate_per_s = Some(500.0);
    summary.generator.cpu_s = Some(2.0);
    summary.generator.busiest_core = Some(0.1 * f64::from(number));
    let lag = Histogram::new();
    let histograms = vec![("planned_to_delivered".into(), histogram), ("send_lag".into(), lag)];
    Part { name: format!("part {number}"), summary, histograms }
}

#[test]
fn samples_are_added_and_judged_as_one_run() {
    let mut parts = [part(1, 2, 1_000_000), part(2, 2, 9_000_000)];
    parts[1].summary.server = Some(Server { cpu_s: Some(4.0), ..Server::default() });
    let holds: Threshold = "p50<5ms".parse().unwrap();
    let broken: Threshold = "p99<5ms".parse().unwrap();
    let (merged, histograms) = merge(&parts, std::slice::from_ref(&holds)).unwrap();
    assert_eq!(merged.verdict, Verdict::Pass, "{:?}", merged.reasons);
    assert_eq!(merged.latency_us.planned_to_delivered.count, 200_000);
    assert_eq!(histograms[0].1.count(), 200_000);
    let p99 = merged.latency_us.planned_to_delivered.p99.unwrap();
    assert!((9_000.0..9_200.0).contains(&p99), "{p99}");
    assert_eq!((merged.connections.target, merged.messages.rate_per_s), (20, Some(1000.0)));
    assert_eq!((merged.generator.cpu_s, merged.generator.busiest_core), (Some(4.0), Some(0.2)));
    assert_eq!(merged.server.unwrap().messages_per_cpu_s, Some(50_000.0));
    assert_eq!(merged.plan.part, None);
    // The first part alone would pass this one.
    let (merged, _) = merge(&parts, &[holds, broken]).unwrap();
    assert_eq!((merged.verdict, merged.reasons.len()), (Verdict::Fail, 1));
}

#[test]
fn what_one_machine_alone_knows_is_not_told_of_all() {
    let mut parts = [part(1, 2, 1000), part(2, 2, 1000)];
    for part in &mut parts {
        let server = Server { cpu_s: Some(4.0), user_bytes_per_connection: Some(200.0), ..Server::default() };
        part.summary.server = Some(server);
        part.summary.memory.connections = 10;
        part.summary.kernel.bytes_per_connection = Some(4000.0);
        part.summary.machine.cpu_us_per_message = Some(9.0);
    }
    let (merged, _) = merge(&parts, &[]).unwrap();
    let server = merged.server.unwrap();
    assert_eq!((merged.memory, merged.kernel.bytes_per_connection), (Memory::default(), None));
    assert_eq!((server.user_bytes_per_connection, merged.machine.cpu_us_per_message), (None, None));
    assert_eq!(server.messages_per_cpu_s, Some(50_000.0));
    // Messages of a roll call are not of the time that the CPU was taken of.
    parts.iter_mut().for_each(|part| part.summary.plan.roll_call = true);
    assert_eq!(merge(&parts, &[]).unwrap().0.server.unwrap().messages_per_cpu_s, None);
}

#[test]
fn a_part_that_measured_something_else_spoils_the_whole() {
    let mut parts = [part(1, 2, 1000), part(2, 2, 1000)];
    parts[1].summary.verdict = Verdict::Invalid;
    parts[1].summary.reasons.push(Reason {
        verdict: Verdict::Invalid,
        code: "send_lag".into(),
        text: "the generator was late".into(),
    });
    let (merged, _) = merge(&parts, &[]).unwrap();
    assert_eq!(merged.verdict, Verdict::Invalid);
    assert_eq!(merged.reasons[0].text, "part 2: the generator was late");
    // What is lost outranks it.
    parts[0].summary.messages.lost = 1;
    assert_eq!(merge(&parts, &[]).unwrap().0.verdict, Verdict::Fail);
}

#[test]
fn what_is_not_one_run_is_told() {
    let error = |parts: &[Part]| merge(parts, &[]).unwrap_err().to_string();
    assert!(error(&[]).contains("nothing"));
    assert!(error(&[part(1, 4, 1), part(3, 4, 1)]).contains("2/4, 4/4 are missing"));
    assert!(error(&[part(1, 2, 1), part(1, 2, 1)]).contains("same part"));
    assert!(error(&[part(1, 1, 1), part(1, 1, 1)]).contains("same part"));
    let mut other = part(2, 2, 1);
    other.summary.plan.hash = "two".into();
    assert!(error(&[part(1, 2, 1), other]).contains("another plan"));
    let mut stormy = part(2, 2, 1);
    stormy.summary.storm = Some(crate::schema::Storm::default());
    assert!(error(&[part(1, 2, 1), stormy]).contains("has a storm"));
    let mut bare = part(2, 2, 1);
    bare.histograms.clear();
    assert!(error(&[part(1, 2, 1), bare]).contains("latency.hlog"));
}

#[test]
fn a_late_part_makes_the_whole_invalid_though_its_samples_break_a_threshold() {
    let mut parts = [part(1, 2, 1_000_000), part(2, 2, 900_000_000)];
    parts[1].summary.verdict = Verdict::Invalid;
    parts[1].summary.reasons =
        vec![Reason { verdict: Verdict::Invalid, code: "send_lag".into(), text: "late".into() }];
    let broken: Threshold = "p99<50ms".parse().unwrap();
    let (summary, _) = merge(&parts, std::slice::from_ref(&broken)).unwrap();
    assert_eq!((summary.verdict, summary.reasons[0].code.as_str()), (Verdict::Invalid, "part_send_lag"));
    parts[0].summary.messages.lost = 1;
    let (summary, _) = merge(&parts, std::slice::from_ref(&broken)).unwrap();
    assert_eq!((summary.verdict, summary.reasons[0].code.as_str()), (Verdict::Fail, "messages_lost"));
}

#[test]
fn parts_that_measured_at_different_times_are_no_run() {
    let at = |begins: [f64; 2]| {
        let mut parts = [part(1, 2, 1_000_000), part(2, 2, 1_000_000)];
        for (part, begins) in parts.iter_mut().zip(begins) {
            part.summary.messages.window.duration_s = 10.0;
            part.summary.messages.window.begins_unix_s = Some(begins);
        }
        let (summary, _) = merge(&parts, &[]).unwrap();
        let codes: Vec<String> = summary.reasons.into_iter().map(|reason| reason.code).collect();
        (summary.verdict, codes)
    };
    assert_eq!(at([100.0, 100.9]), (Verdict::Pass, vec![]));
    assert_eq!(at([100.0, 101.5]), (Verdict::Invalid, vec!["parts_apart".to_owned()]));
    assert_eq!(at([200.0, 100.0]), (Verdict::Invalid, vec!["parts_apart".to_owned()]));
}
