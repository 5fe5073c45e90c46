//! A generator's families: `throng_generator_..`, and those of the server that it reads, so that one address tells both.

use throng_loadgen::Phase;

use super::{Families, Kind, build_info, server};
use crate::load::Now;

/// The phases by the names of their label.
const PHASES: [(Phase, &str); 8] = [
    (Phase::Connecting, "connecting"),
    (Phase::Warmup, "warmup"),
    (Phase::Measuring, "measuring"),
    (Phase::Storming, "storming"),
    (Phase::RollCall, "roll_call"),
    (Phase::Draining, "draining"),
    (Phase::Leaving, "leaving"),
    (Phase::Done, "done"),
];

/// A page about a run.
pub(crate) fn page(now: &Now) -> Families {
    let mut page = Families::default();
    let version = env!("CARGO_PKG_VERSION");
    let told = now.seen.server.as_ref();
    match told.filter(|told| !told.throng_version.is_empty()) {
        Some(told) => {
            build_info(&mut page, &[("generator", version), ("server", &told.throng_version)]);
        }
        None => build_info(&mut page, &[("generator", version)]),
    }
    progress(&mut page, now);
    page.seconds(
        "throng_generator_delivery_latency_seconds",
        "From the planned instant of a message to its delivery, of messages planned in the measured window.",
        &now.times.planned_to_delivered,
    );
    page.seconds(
        "throng_generator_send_lag_seconds",
        "From the planned instant of a message to the attempt to send it: the generator's own lateness.",
        &now.times.send_lag,
    );
    machine(&mut page, now);
    if let Some(told) = told {
        server::add(&mut page, told);
    }
    page.one(
        Kind::Gauge,
        "throng_server_busiest_core_ratio",
        "Share of a second that the busiest of the server's cores worked for its shards.",
        now.seen.server_core,
    );
    page
}

fn progress(page: &mut Families, now: &Now) {
    let progress = &now.progress;
    let phases = PHASES.map(|(phase, name)| {
        (vec![("phase", name.to_owned())], f64::from(u8::from(phase == progress.phase)))
    });
    page.each(
        Kind::Gauge,
        "throng_generator_phase",
        "How far the run is: 1 for its phase, 0 for others.",
        phases,
    );
    let gauges = [
        ("connections", progress.connected, "Users that are connected and logged in."),
        ("connections_target", now.target, "Users of the plan."),
        ("messages_waiting", progress.waiting, "Messages that are due and not written yet."),
        ("messages_missing", progress.missing, "Messages that were accepted and have not arrived."),
    ];
    for (name, value, help) in gauges {
        page.one(Kind::Gauge, &format!("throng_generator_{name}"), help, value as f64);
    }
    let counters = [
        ("connections_established", progress.established, "Users that were let in."),
        ("connections_failed", progress.failed, "Attempts to connect that failed."),
        ("connections_lost", progress.lost, "Established connections that were lost."),
        ("messages_planned", progress.planned, "Messages of the plan that came due."),
        ("messages_sent", progress.sent, "Messages written."),
        ("messages_accepted", progress.accepted, "Messages that the server answered for."),
        ("messages_delivered", progress.delivered, "Messages that arrived, each once."),
        ("messages_refused", progress.refused, "Messages that the server declined."),
        ("messages_unknown", progress.unknown, "Messages without a known outcome."),
        ("messages_duplicated", progress.duplicated, "Messages that came again."),
        ("messages_reordered", progress.reordered, "Messages that came after a later one."),
        ("messages_corrupted", progress.corrupted, "Messages that came with a changed body."),
    ];
    for (name, value, help) in counters {
        page.one(Kind::Counter, &format!("throng_generator_{name}_total"), help, value as f64);
    }
}

fn machine(page: &mut Families, now: &Now) {
    let seen = &now.seen;
    page.one(
        Kind::Counter,
        "throng_generator_cpu_seconds_total",
        "CPU time of the generator's process, user and system.",
        now.cpu.as_secs_f64(),
    );
    let resident = seen.generator_memory.and_then(|memory| memory.resident_bytes);
    let gauges = [
        (
            "throng_generator_busiest_core_ratio",
            "Share of a second that the busiest of the generator's cores worked for its users.",
            seen.generator_core,
        ),
        (
            "throng_generator_resident_memory_bytes",
            "Memory of the generator's process.",
            resident.map(|bytes| bytes as f64),
        ),
        (
            "throng_generator_available_memory_bytes",
            "Memory that can still be had on the generator's machine.",
            now.available_bytes.map(|bytes| bytes as f64),
        ),
        (
            "throng_generator_reserve_memory_bytes",
            "Memory that the run leaves to everybody else; it ends before less can be had.",
            Some(now.reserve_bytes as f64),
        ),
        (
            "throng_generator_server_up",
            "Whether the server's figures could be read at the last look.",
            seen.asked.then(|| f64::from(u8::from(seen.server.is_some()))),
        ),
    ];
    for (name, help, value) in gauges {
        page.one(Kind::Gauge, name, help, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use throng_loadgen::{Interval, Progress};
    use throng_server::{Figures, ShardFigures};

    use super::super::tests::is_proper;
    use super::*;
    use crate::admin::ServerFigures;
    use crate::load::Seen;

    fn now(seen: Seen) -> Now {
        let mut times = Interval::default();
        times.planned_to_delivered.record(70_000);
        Now {
            progress: Progress { phase: Phase::Measuring, sent: 12, lost: 1, missing: 2, ..Progress::START },
            target: 100,
            times: Arc::new(times),
            cpu: Duration::from_millis(1500),
            available_bytes: Some(1 << 30),
            reserve_bytes: 512 << 20,
            seen: Arc::new(seen),
        }
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line}: {text}");
        }
    }

    #[test]
    fn a_run_with_a_server_that_tells_is_one_page() {
        let server = ServerFigures {
            throng_version: "1.2.3".to_owned(),
            backend_active: "epoll".to_owned(),
            server: Figures { cpu_s: 2.0, shards: vec![ShardFigures::default(); 2] },
            ..ServerFigures::default()
        };
        let seen = Seen { asked: true, server: Some(server), server_core: Some(0.5), ..Seen::default() };
        let text = page(&now(seen)).text().unwrap();
        is_proper(&text);
        has(
            &text,
            &[
                "throng_build_info{component=\"server\",version=\"1.2.3\"} 1",
                "throng_generator_phase{phase=\"measuring\"} 1",
                "throng_generator_phase{phase=\"warmup\"} 0",
                "throng_generator_connections_target 100",
                "throng_generator_connections_lost_total 1",
                "throng_generator_messages_missing 2",
                "throng_generator_messages_sent_total 12",
                "throng_generator_delivery_latency_seconds_bucket{le=\"0.0001\"} 1",
                "throng_generator_send_lag_seconds_count 0",
                "throng_generator_cpu_seconds_total 1.5",
                "throng_generator_server_up 1",
                "throng_server_busiest_core_ratio 0.5",
                "throng_server_connections{shard=\"1\"} 0",
            ],
        );
    }

    #[test]
    fn a_server_that_is_silent_is_down_and_one_that_nobody_asked_is_not_mentioned() {
        let text = page(&now(Seen { asked: true, ..Seen::default() })).text().unwrap();
        is_proper(&text);
        has(&text, &["throng_generator_server_up 0"]);
        assert!(!text.contains("throng_server_"), "{text}");
        let text = page(&now(Seen::default())).text().unwrap();
        assert!(!text.contains("throng_server_") && !text.contains("server_up"), "{text}");
    }
}
