//! Runs of the past still open: what stands in `fixtures/` was written once and is never written again.

use throng_report::schema::{Outcome, SchemaError, Summary, Verdict};

const PUBLISHED: &str = include_str!("../summary.schema.json");
const RUN_1: &str = include_str!("fixtures/run-1.json");

#[test]
fn a_summary_of_schema_1_opens_with_every_figure() {
    let run = Summary::from_json(RUN_1).unwrap();
    assert_eq!((run.verdict, run.verdict.exit_code()), (Verdict::Fail, 99));
    assert_eq!(run.reasons[0].code, "threshold");
    assert_eq!((run.thresholds[0].outcome, run.thresholds[1].outcome), (Outcome::Broken, Outcome::NoData));
    assert_eq!((run.plan.seed, run.plan.rate_per_s, run.plan.closed_loop_window), (7, Some(20_000.0), None));
    assert_eq!((run.connections.established, run.connections.connect_rate_per_s), (10_000, Some(25_000.0)));
    assert_eq!((run.messages.delivered, run.messages.window.delivered), (240_000, 200_000));
    let latency = run.latency_us.planned_to_delivered;
    assert_eq!((latency.p99, latency.p999, latency.p9999), (Some(51_200.0), Some(60_000.0), None));
    let server = run.server.unwrap();
    assert_eq!((server.shards, server.backend.unwrap().active.as_str()), (Some(1), "io-uring"));
    assert_eq!(run.kernel.counters["TcpRetransSegs"], 3);
    assert_eq!(run.generator.busiest_core, Some(0.42));
    assert_eq!(run.machine.cpu_us_per_message, Some(9.5));
    assert_eq!(run.host.sysctls["net.core.somaxconn"], "4096");
}

#[test]
fn every_name_of_schema_1_is_still_written() {
    let old: serde_json::Value = serde_json::from_str(RUN_1).unwrap();
    let new: serde_json::Value = serde_json::from_str(&Summary::from_json(RUN_1).unwrap().to_json()).unwrap();
    kept("", &old, &new);
}

/// Fails unless every key and value of `old` stands in `new`, but for those whose key says that it is not known.
fn kept(path: &str, old: &serde_json::Value, new: &serde_json::Value) {
    match old {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with("a_later_")) {
                let path = format!("{path}/{name}");
                kept(&path, value, new.get(name).unwrap_or_else(|| panic!("{path} is gone")));
            }
        }
        value => assert_eq!(value, new, "{path}"),
    }
}

#[test]
fn the_published_schema_is_that_of_the_types_and_old_runs_fit_it() {
    let schema = Summary::json_schema();
    let published: serde_json::Value = serde_json::from_str(PUBLISHED).unwrap();
    assert!(schema == published, "run: throng report schema > report/summary.schema.json");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let default = serde_json::to_value(Summary::default()).unwrap();
    for run in [serde_json::from_str(RUN_1).unwrap(), default] {
        let errors: Vec<String> = validator.iter_errors(&run).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let damaged = serde_json::json!({"schema": "throng.run/1", "verdict": "perhaps"});
    assert!(!validator.is_valid(&damaged));
}

#[test]
fn what_is_missing_has_its_default_and_what_nobody_judged_is_no_pass() {
    let run = Summary::from_json(r#"{"schema": "throng.run/1"}"#).unwrap();
    assert_eq!(run, Summary::default());
    assert_eq!(run.verdict, Verdict::Invalid);
}

#[test]
fn what_this_build_cannot_read_says_why() {
    let error = |text: &str| Summary::from_json(text).unwrap_err();
    assert!(matches!(error("{\"schema\": \"thro"), SchemaError::NotJson(_)));
    assert!(matches!(error("[]"), SchemaError::NotARun { .. }));
    assert!(error(r#"{"schema": "other/1"}"#).to_string().contains("other/1"));
    assert!(matches!(error(r#"{"schema": "throng.run/1", "plan": 3}"#), SchemaError::Field(_)));
    let newer = error(r#"{"schema": "throng.run/2", "throng_version": "3.4"}"#).to_string();
    assert!(newer.contains("newer Throng (3.4)") && newer.contains("up to 1"), "{newer}");
}
