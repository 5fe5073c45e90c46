//! The page of a run: which sections it has, and what the first of them say.

mod figures;
mod host;
mod latency;
mod memory;
mod times;

use maud::{Markup, html};

use super::numbers::{count, exact, instant, known, plain, seconds, time};
use super::page::{self, Column, Section, facts, table};
use crate::Threshold;
use crate::folder::Run;
use crate::schema::{Backend, Outcome, Summary, ThresholdResult, Verdict};
use crate::text::counters;

/// The whole page.
pub(super) fn page(run: &Run) -> String {
    let summary = &run.summary;
    let sections = [
        Section { id: "verdict", title: "Verdict", body: verdict(summary) },
        Section { id: "run", title: "What was run", body: what(summary) },
        Section { id: "figures", title: "Figures", body: figures::body(summary) },
        Section { id: "time", title: "Over time", body: times::body(run) },
        Section { id: "latency", title: "Latency", body: latency::body(run) },
        Section { id: "memory", title: "Memory", body: memory::body(summary) },
        Section { id: "counters", title: "Counters that moved", body: moved(summary) },
        Section { id: "plan", title: "Plan", body: host::plan(run) },
        Section { id: "host", title: "Host", body: host::body(summary) },
    ];
    let name = name(summary);
    let head = html! {
        p.kicker { "Throng, report of a run" @if !summary.started_utc.is_empty() { " · " time { (instant(&summary.started_utc)) } } }
        h1 { (name) }
        p.lead { (lead(summary)) }
    };
    page::document(&format!("{} · {name}", summary.verdict.word()), &head, &sections)
}

/// What a run is called: its scenario and its users.
fn name(summary: &Summary) -> String {
    let plan = &summary.plan;
    match plan.scenario.is_empty() {
        true => "a run of which nothing is known".to_owned(),
        false => format!("{}, {} users", plan.scenario, exact(plan.connections)),
    }
}

/// What they did, in a sentence.
fn lead(summary: &Summary) -> String {
    let plan = &summary.plan;
    if plan.scenario.is_empty() {
        return "It ended before there was anything to tell.".to_owned();
    }
    let size = exact(plan.payload_bytes);
    let load = match (plan.closed_loop_window, plan.rate_per_s) {
        (Some(window), _) => format!("A closed loop: {window} messages of {size} bytes in flight per pair"),
        (None, Some(rate)) if rate > 0.0 => {
            format!("{} messages of {size} bytes a second (open loop)", count(rate))
        }
        _ => "Connections without messages".to_owned(),
    };
    format!(
        "{load}, over the protocol {}. Measured for {} after {} of warm-up.",
        plan.protocol,
        seconds(plan.duration_s),
        seconds(plan.warmup_s),
    )
}

fn verdict(summary: &Summary) -> Markup {
    let (tone, means) = match summary.verdict {
        Verdict::Pass => ("pass", "Every threshold holds, and the server did what was asked of it."),
        Verdict::Fail => ("fail", "The server did not do what was asked of it."),
        Verdict::Invalid => {
            ("invalid", "Something other than the server was measured: the figures say little about it.")
        }
    };
    html! {
        div class={ "verdict " (tone) } {
            strong { (summary.verdict.word()) }
            p { (means) }
            @if !summary.reasons.is_empty() {
                ul {
                    @for reason in &summary.reasons {
                        li { @if reason.verdict != summary.verdict { (reason.verdict.word()) ": " } (reason.text) }
                    }
                }
            }
        }
        (table(
            "Thresholds",
            &[Column::Text("threshold"), Column::Text("came out"), Column::Number("measured")],
            &summary.thresholds.iter().map(threshold).collect::<Vec<_>>(),
        ))
        @if !summary.detected.is_empty() {
            h3 { "Held back by" }
            ul.notes {
                @for found in &summary.detected { li { strong { (found.knob) } ": " (found.text) ". " code { (found.remedy) } } }
            }
        }
        @if !summary.warnings.is_empty() {
            h3 { "Worth knowing" }
            ul.notes { @for warning in &summary.warnings { li { (warning) } } }
        }
    }
}

fn threshold(result: &ThresholdResult) -> Vec<String> {
    let is_latency = result.text.parse::<Threshold>().is_ok_and(|threshold| threshold.is_latency());
    let outcome = match result.outcome {
        Outcome::Holds => "holds",
        Outcome::Broken => "broken",
        Outcome::NoData => "no figure",
    };
    let measured = known(result.measured, if is_latency { time } else { count });
    vec![result.text.clone(), outcome.to_owned(), measured]
}

/// What was asked for, by whom, with what.
fn what(summary: &Summary) -> Markup {
    let (plan, host, generator) = (&summary.plan, &summary.host, &summary.generator);
    let server = summary.server.as_ref();
    let ramp = summary.connections.planned_connect_rate_per_s;
    let labels: Vec<String> = summary.label.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let cores = |cores: &[u32]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    facts(&[
        ("scenario", plan.scenario.clone()),
        ("protocol", plan.protocol.clone()),
        ("users", exact(plan.connections)),
        ("ramp", ramp.map(|rate| format!("{} connections/s", count(rate))).unwrap_or_default()),
        ("rate", rate(summary)),
        (
            "payload",
            if plan.has_messages() { format!("{}\u{a0}B", exact(plan.payload_bytes)) } else { String::new() },
        ),
        ("measured window", seconds(plan.duration_s)),
        ("warm-up", seconds(plan.warmup_s)),
        ("seed", plan.seed.to_string()),
        ("plan", plan.hash.clone()),
        ("labels", labels.join(", ")),
        ("began", instant(&summary.started_utc)),
        ("network", host.network.clone()),
        (
            "server",
            server
                .map(|server| threads(server.shards, "shard", server.backend.as_ref(), ""))
                .unwrap_or_default(),
        ),
        ("server's cores", server.map(|server| cores(&server.cpus)).unwrap_or_default()),
        (
            "generator",
            threads(
                Some(generator.threads).filter(|threads| *threads > 0),
                "thread",
                generator.backend.as_ref(),
                &generator.engine,
            ),
        ),
        ("generator's cores", cores(&generator.cpus)),
        ("Throng", [summary.throng_version.as_str(), &host.build.profile].join(" ").trim().to_owned()),
        ("commit", host.build.commit.clone()),
        ("built by", [host.build.rustc.as_str(), &host.build.target].join(" ").trim().to_owned()),
    ])
}

fn rate(summary: &Summary) -> String {
    match (summary.plan.closed_loop_window, summary.plan.rate_per_s) {
        (Some(window), _) => format!("{window} in flight per pair (closed loop)"),
        (None, Some(rate)) if rate > 0.0 => format!("{} messages/s (open loop)", count(rate)),
        _ => String::new(),
    }
}

/// `2 shards, io-uring: asked for by name`
fn threads(number: Option<u64>, one: &str, backend: Option<&Backend>, engine: &str) -> String {
    let number =
        number.map(|number| format!("{} {one}{}", exact(number), if number == 1 { "" } else { "s" }));
    let engine = Some(engine).filter(|engine| !engine.is_empty()).map(|engine| format!("engine {engine}"));
    let backend = backend.map(|backend| match backend.reason.is_empty() {
        true => backend.active.clone(),
        false => format!("{} ({})", backend.active, backend.reason),
    });
    [number, engine, backend].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn moved(summary: &Summary) -> Markup {
    let places = counters::moved(summary);
    html! {
        @if places.is_empty() {
            p.none { "None that should have stood still, neither of the server nor of the kernel." }
        }
        @for (title, counters) in places {
            (table(
                title,
                &[Column::Text("counter"), Column::Number("by"), Column::Text("what it means")],
                &counters
                    .into_iter()
                    .map(|(name, by, meaning)| vec![name.to_owned(), format!("+{}", exact(by)).replace("+−", "−"), meaning.to_owned()])
                    .collect::<Vec<_>>(),
            ))
        }
        @if let Some(squeezed) = shares(summary) { p { (squeezed) } }
    }
}

/// Counters say little without what they are a part of.
fn shares(summary: &Summary) -> Option<String> {
    let counter = |name: &str| summary.kernel.counters.get(name).copied().filter(|by| *by > 0);
    let (segments, again) = (counter("TcpOutSegs")?, counter("TcpRetransSegs").unwrap_or(0));
    let share = plain(again as f64 * 100.0 / segments as f64);
    Some(format!("Of {} segments that the kernel sent, {share}\u{a0}% were sent again.", exact(segments)))
}

#[cfg(test)]
mod tests;
