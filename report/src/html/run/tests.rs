//! The page as a whole: what stands in it, and what does not.

use crate::Histogram;
use crate::folder::Run;
use crate::html::run_page;
use crate::judge;
use crate::schema::{
    Lab, Outcome, ProcessMemory, Reason, Server, SlabGrowth, Storm, Summary, ThresholdResult, Verdict,
};
use crate::timeseries::Row;

/// A run of so many seconds that has everything.
fn run(seconds: usize) -> Run {
    let mut summary = Summary { started_utc: "2026-11-28T12:49:47Z".into(), ..Summary::default() };
    summary.plan.scenario = "pairs".into();
    summary.plan.protocol = "native".into();
    summary.plan.connections = 10_000;
    summary.plan.rate_per_s = Some(20_000.0);
    summary.plan.duration_s = seconds as f64;
    summary.connections.target = 10_000;
    summary.connections.established = 10_000;
    summary.messages.window.planned = 20_000;
    summary.messages.window.attempted = 20_000;
    summary.messages.window.delivered = 20_000;
    summary.messages.delivered = 20_000;
    let mut latency = Histogram::new();
    (1..=20_000).for_each(|us| latency.record(us * 1000));
    summary.latency_us.planned_to_delivered = latency.summary();
    summary.server = Some(Server { user_bytes_per_connection: Some(118.4), ..Server::default() });
    let grown =
        [("user", 118.4), ("rings", 5.3), ("page_tables", 0.2)].map(|(name, bytes)| (name.to_owned(), bytes));
    summary.memory.server =
        Some(ProcessMemory { bytes_per_connection: grown.into(), ..ProcessMemory::default() });
    summary.memory.kernel.ends = Some(20_000);
    summary.memory.kernel.slab = vec![SlabGrowth {
        cache: "TCP".into(),
        group: "socket".into(),
        objects: 20_000,
        bytes: 50_400_000,
        bytes_per_end: 2520.0,
    }];
    summary.kernel.counters = [("TcpRetransSegs".to_owned(), 12), ("TcpOutSegs".to_owned(), 12_000)].into();
    summary.host.lab = Some(Lab { made: true, kind: "root".into(), ..Lab::default() });
    judge(&mut summary, &["p99<50ms".parse().unwrap()]);
    let rows = (1..=seconds).map(|second| Row {
        time_s: second as f64,
        phase: if second < 10 { "connect" } else { "measure" }.into(),
        connections: 10_000,
        planned: 20_000,
        sent: 19_000 + second as u64 % 1000,
        delivered: 20_000 - second as u64 % 1000,
        accepted: 20_000,
        p50_us: Some(60.0 + second as f64 % 7.0),
        p99_us: Some(600.0 + second as f64 % 70.0),
        max_us: Some(6000.0 + second as f64 % 700.0),
        send_lag_p99_us: Some(90.0),
        server_cpu_s: Some(0.5),
        generator_cpu_s: Some(0.75),
    });
    let names =
        ["planned_to_delivered", "written_to_delivered", "send_lag", "connect", "login", "connect_lag"];
    Run {
        summary,
        rows: rows.collect(),
        histograms: names.map(|name| (name.to_owned(), latency.clone())).into(),
        plan: Some(serde_json::json!({"scenario": "pairs", "duration_us": 20_000_000})),
    }
}

fn charts(page: &str) -> Vec<&str> {
    page.split("<svg class=\"drawn\"").skip(1).map(|rest| rest.split_once("</svg>").unwrap().0).collect()
}

#[test]
fn a_page_has_every_part_in_its_order() {
    let page = run_page(&run(60));
    let parts = [
        "<title>PASS · pairs, 10,000 users</title>",
        "<strong>PASS</strong>",
        "<td>holds</td><td class=\"number\">19.8\u{a0}ms</td>",
        ">20.0\u{a0}k messages/s (open loop)<",
        "118.4\u{a0}B",
        ">time since the first connect (s)<",
        ">messages/s<",
        ">planned to delivered, logarithmic (µs, ms, s)<",
        ">CPU time per second (cores)<",
        ">percentile (%)<",
        ">99.9<",
        "written to delivered",
        ">bytes per end of a connection<",
        ">bytes per connection<",
        "segments sent again",
        "&quot;duration_us&quot;: 20000000",
        "by the rights of root",
    ];
    let mut rest = page.as_str();
    for part in parts {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{part} is not there, or too early"));
        rest = after;
    }
}

#[test]
fn every_chart_has_a_title_a_description_and_units() {
    let page = run_page(&run(60));
    let charts = charts(&page);
    assert_eq!(charts.len(), 9);
    let units = ["(s)<", "/s<", "(%)<", "bytes per ", "(cores)<", "connections<", "logarithmic", "µs<"];
    for chart in charts {
        assert!(chart.contains("role=\"img\" aria-labelledby="), "{chart}");
        let text = |tag: &str| {
            let inside = chart.split_once(&format!("<{tag} id=")).and_then(|(_, rest)| rest.split_once('>'));
            inside.and_then(|(_, rest)| rest.split_once(&format!("</{tag}>"))).map_or("", |(text, _)| text)
        };
        assert!(text("title").len() > 2 && text("desc").len() > 10, "{chart}");
        assert!(text("desc").contains(|letter: char| letter.is_ascii_digit()), "{}", text("desc"));
        assert!(units.iter().filter(|unit| chart.contains(**unit)).count() >= 1, "{chart}");
    }
}

#[test]
fn nothing_leads_outside_and_nothing_runs() {
    let page = run_page(&run(60));
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
    for part in [
        "http:", "https:", "://", "<script", "src=", "xmlns", "onload", "@import", "url(", "style=", "NaN",
        "inf\"",
    ] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.split("href=\"").skip(1).all(|href| href.starts_with('#') || href.starts_with("data:,")));
}

#[test]
fn whatever_somebody_wrote_is_text() {
    let evil = "<i>&\"'</i><script>alert(1)</script>";
    let mut run = run(5);
    let text = || evil.to_owned();
    let pairs = || [(text(), text())].into();
    let summary = &mut run.summary;
    summary.plan.scenario = text();
    summary.label = pairs();
    summary.reasons.push(Reason { verdict: Verdict::Fail, code: text(), text: text() });
    summary.warnings.push(text());
    summary.thresholds.push(ThresholdResult { text: text(), outcome: Outcome::Broken, measured: None });
    summary.host.cmdline = text();
    summary.host.sysctls = pairs();
    summary.host.limits = pairs();
    summary.host.mitigations = pairs();
    summary.host.lab = Some(Lab { set: pairs(), refused: pairs(), why: text(), kind: text(), made: false });
    summary.memory.kernel.slab[0].cache = text();
    summary.connections.failed_by_cause = [(text(), 1)].into();
    summary.storm =
        Some(Storm { kind: text(), failed_attempts_by_cause: [(text(), 1)].into(), ..Storm::default() });
    run.plan = Some(serde_json::json!({ evil: evil }));
    run.rows[0].phase = text();
    run.histograms[0].0 = text();
    let page = run_page(&run);
    assert!(!page.contains("<script") && !page.contains("<i>"));
    assert!(page.matches("&lt;script&gt;").count() > 15);
}

#[test]
fn of_an_empty_run_there_is_a_page_with_sentences_instead_of_charts() {
    let page = run_page(&Run::default());
    assert!(charts(&page).is_empty());
    for part in [
        "INVALID · a run of which nothing is known",
        "There is no time series",
        "Nothing was timed",
        "Nothing is known: the run did not get as far",
        "None that should have stood still",
        "The run left no plan.json",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn an_idle_run_says_that_it_had_no_messages() {
    let mut run = run(20);
    run.summary.plan.rate_per_s = None;
    for row in &mut run.rows {
        *row = Row { time_s: row.time_s, phase: row.phase.clone(), connections: 5, ..Row::default() };
    }
    run.histograms.clear();
    let page = run_page(&run);
    assert_eq!(page.matches("The plan has no messages.").count(), 2);
    assert!(page.contains("The CPU time of neither side is known."));
    assert!(page.contains("There are no curves"));
}

#[test]
fn a_page_stays_small_however_long_the_run_was() {
    let (minutes, day) = (run_page(&run(600)).len(), run_page(&run(86_400)).len());
    assert!(minutes < 400_000 && day < 400_000, "{minutes} {day}");
}

#[test]
fn a_spike_of_a_second_is_still_there_after_a_day() {
    let mut run = run(86_400);
    run.rows[50_000].max_us = Some(3_600_000.0);
    let page = run_page(&run);
    let chart = charts(&page).into_iter().find(|chart| chart.contains("latency-time-title")).unwrap();
    let line = chart.split("stroke=\"#963C8C\"").nth(1).and_then(|line| line.split_once("points=\""));
    let points = line.and_then(|(_, points)| points.split_once('"')).unwrap().0.split_whitespace();
    let mut heights: Vec<i32> =
        points.map(|point| point.split_once(',').unwrap().1.parse().unwrap()).collect();
    heights.sort_unstable();
    assert!(
        heights.len() > 500 && heights[0] + 200 < heights[1],
        "one point is far above all others: {heights:?}"
    );
}

/// Old results must still open: those that are recorded here have a summary, and nothing else.
#[test]
fn recorded_runs_have_pages() {
    let runs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/runs");
    let folders = std::fs::read_dir(runs).unwrap().flatten().filter(|entry| entry.path().is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    let runs: Vec<Run> = files.filter_map(|file| crate::folder::read(&file.path()).ok()).collect();
    assert!(runs.len() > 5, "{}", runs.len());
    for run in runs {
        let page = run_page(&run);
        assert!(page.contains(run.summary.verdict.word()) && !page.contains("NaN"));
        assert!(page.contains("Memory of the kernel, by slab cache"));
    }
}
