//! The figures that count: connections, messages, latency, and what each costs.

use maud::{Markup, html};

use crate::html::numbers::{UNKNOWN, bytes, count, exact, known, per_second, share, time};
use crate::html::page::{Column, facts, figures, table};
use crate::schema::{Storm, Summary};

/// Large figures first, then the accounts.
pub(super) fn body(summary: &Summary) -> Markup {
    html! {
        (figures(&headline(summary)))
        div.columns {
            div {
                @if summary.plan.has_messages() { (messages(summary)) (flaws(summary)) }
            }
            div { (connections(summary)) (cost(summary)) }
        }
        @if let Some(storm) = &summary.storm { (told_of(storm)) }
    }
}

fn headline(summary: &Summary) -> Vec<(&'static str, String, String)> {
    let (connections, messages) = (&summary.connections, &summary.messages);
    let mut figures = vec![(
        "connected",
        exact(connections.established),
        format!(
            "of {}; failed {}, lost {}",
            exact(connections.target),
            exact(connections.failed),
            exact(connections.lost)
        ),
    )];
    if summary.plan.has_messages() {
        let latency = &summary.latency_us.planned_to_delivered;
        figures.extend([
            (
                "delivered",
                known(messages.rate_per_s, per_second),
                format!("{} in all", exact(messages.delivered)),
            ),
            (
                "lost",
                format!("{}{}", at_least(summary), exact(messages.lost)),
                format!("duplicated {}, reordered {}", exact(messages.duplicated), exact(messages.reordered)),
            ),
            ("latency, p50", known(latency.p50, time), "from the planned instant".to_owned()),
            ("latency, p99", known(latency.p99, time), format!("largest {}", known(latency.max, time))),
        ]);
    }
    if let Some(storm) = &summary.storm {
        let all = format!("{} of {} users", exact(storm.back), exact(storm.users));
        figures.push(("the storm's last one in", known(storm.last_back_after_s, seconds_told), all));
    }
    let server = summary.server.as_ref();
    let costs: [(&'static str, Option<String>, &str); 4] = [
        (
            "server, per user",
            server.and_then(|server| server.user_bytes_per_connection).map(bytes),
            "of user space, all in",
        ),
        ("generator, per user", summary.generator.user_bytes_per_user.map(bytes), "of user space, all in"),
        ("kernel, per end", summary.kernel.bytes_per_connection.map(bytes), "of a connection"),
        ("CPU per message", summary.machine.cpu_us_per_message.map(time), "of both sides together"),
    ];
    figures.extend(
        costs.into_iter().filter_map(|(name, figure, about)| Some((name, figure?, about.to_owned()))),
    );
    figures
}

fn seconds_told(value: f64) -> String {
    time(value * 1e6)
}

fn at_least(summary: &Summary) -> &'static str {
    if summary.messages.lost_is_lower_bound { "≥\u{a0}" } else { "" }
}

fn messages(summary: &Summary) -> Markup {
    let (all, window) = (&summary.messages, &summary.messages.window);
    let row = |name: &str, counts: [u64; 4]| {
        let mut row = vec![name.to_owned()];
        row.extend(counts.map(exact));
        row
    };
    table(
        "Messages",
        &[
            Column::Text("when"),
            Column::Number("planned"),
            Column::Number("sent"),
            Column::Number("accepted"),
            Column::Number("delivered"),
        ],
        &[
            row("measured window", [window.planned, window.sent, window.accepted, window.delivered]),
            row("whole run", [all.planned, all.sent, all.accepted, all.delivered]),
        ],
    )
}

/// What should be nought.
fn flaws(summary: &Summary) -> Markup {
    let messages = &summary.messages;
    let heartbeats = &summary.heartbeats;
    facts(&[
        ("lost", format!("{}{}", at_least(summary), exact(messages.lost))),
        ("duplicated", format!("{}{}", at_least(summary), exact(messages.duplicated))),
        ("reordered", exact(messages.reordered)),
        ("corrupted", exact(messages.corrupted)),
        ("refused", exact(messages.refused)),
        ("no outcome known", exact(messages.unknown)),
        ("due, never written", exact(messages.unsent)),
        ("of no message", exact(messages.strays)),
        ("order checked for", messages.order_checked.clone()),
        (
            "heartbeats",
            match heartbeats.due {
                0 => String::new(),
                due => format!("{} of {} answered", exact(heartbeats.answered), exact(due)),
            },
        ),
    ])
}

fn connections(summary: &Summary) -> Markup {
    let connections = &summary.connections;
    let causes = |count: u64, causes: &std::collections::BTreeMap<String, u64>| {
        let causes: Vec<String> =
            causes.iter().map(|(cause, count)| format!("{cause} {}", exact(*count))).collect();
        match causes.is_empty() {
            true => exact(count),
            false => format!("{} ({})", exact(count), causes.join(", ")),
        }
    };
    let planned = connections.planned_connect_rate_per_s;
    let planned = planned.map(|rate| format!(" of {}/s planned", count(rate))).unwrap_or_default();
    let or_none = |count: u64| if count == 0 { String::new() } else { exact(count) };
    html! {
        h3 { "Connections" }
        (facts(&[
            ("established", format!("{} of {}", exact(connections.established), exact(connections.target))),
            ("failed", causes(connections.failed, &connections.failed_by_cause)),
            ("lost", causes(connections.lost, &connections.lost_by_cause)),
            ("connect rate", known(connections.connect_rate_per_s, per_second) + &planned),
            ("held back", or_none(connections.held_back)),
            ("refused by the server", or_none(connections.refused_by_server)),
        ]))
    }
}

/// CPU time of both sides in the measured window.
fn cost(summary: &Summary) -> Markup {
    let (server, generator) = (summary.server.as_ref(), &summary.generator);
    let row = |name: &str, server: String, generator: String| vec![name.to_owned(), server, generator];
    let of_server = |figure: fn(&crate::schema::Server) -> Option<f64>, show: fn(f64) -> String| {
        known(server.and_then(figure), show)
    };
    table(
        "CPU in the measured window",
        &[Column::Text(""), Column::Number("server"), Column::Number("generator")],
        &[
            row(
                "CPU time",
                of_server(|server| server.cpu_s, seconds_told),
                known(generator.cpu_s, seconds_told),
            ),
            row(
                "busiest core",
                of_server(|server| server.busiest_core, share),
                known(generator.busiest_core, share),
            ),
            row(
                "messages per CPU-second",
                of_server(|server| server.messages_per_cpu_s, count),
                UNKNOWN.to_owned(),
            ),
            row(
                "busiest thread, with its waits for a core",
                UNKNOWN.to_owned(),
                known(generator.busiest_thread, share),
            ),
            row(
                "ready, waited for a core",
                UNKNOWN.to_owned(),
                known(generator.run_queue_delay_s, seconds_told),
            ),
        ],
    )
}

fn told_of(storm: &Storm) -> Markup {
    let causes: Vec<String> = storm
        .failed_attempts_by_cause
        .iter()
        .map(|(cause, count)| format!("{cause} {}", exact(*count)))
        .collect();
    html! {
        h3 { "The storm" }
        (facts(&[
            ("of", format!("{}s, {}", storm.kind, storm.reconnect)),
            ("users", exact(storm.users)),
            ("back", exact(storm.back)),
            ("never back", exact(storm.never_back)),
            ("attempts", format!("{}, of them repeats {}", exact(storm.attempts), exact(storm.repeats))),
            ("failed attempts", causes.join(", ")),
            ("last one in after", known(storm.last_back_after_s, seconds_told)),
        ]))
    }
}
