//! How long things took: by percentile as curves, and as a table.

use maud::{Markup, html};

use crate::folder::Run;
use crate::html::curve::by_percentile;
use crate::html::numbers::{exact, known, time};
use crate::html::page::{Column, table};
use crate::html::palette::Ink;
use crate::schema::{Latency, Summary};

/// Curves that belong together: the tag of each in `latency.hlog`, its name, and its ink.
type Curves = &'static [(&'static str, &'static str, Ink)];

const MESSAGES: Curves = &[
    ("planned_to_delivered", "planned to delivered", Ink::Blue),
    ("written_to_delivered", "written to delivered", Ink::Vermilion),
    ("send_lag", "send lag", Ink::Grey),
];
const CONNECTING: Curves = &[
    ("login", "login", Ink::Blue),
    ("handshake", "handshake", Ink::Green),
    ("connect", "connect", Ink::Vermilion),
    ("connect_lag", "connect lag", Ink::Grey),
];
const STORM: Curves = &[
    ("login_again", "logged in again", Ink::Blue),
    ("handshake_again", "handshake again", Ink::Green),
    ("reconnect", "reconnect", Ink::Vermilion),
    ("reconnect_lag", "reconnect lag", Ink::Grey),
];

/// Curves where there are histograms, and the table where anything was measured.
pub(super) fn body(run: &Run) -> Markup {
    let rows = rows(&run.summary);
    html! {
        @if rows.is_empty() && run.histograms.is_empty() {
            p.none { "Nothing was timed: no connection came about, and no message." }
        } @else if run.histograms.is_empty() {
            p.none { "There are no curves: the run left no latency.hlog." }
        } @else {
            p {
                "Towards the right, each mark leaves a tenth of the samples of the one before it. A curve ends where fewer than ten \
                 samples are beyond; the dot is the largest of all."
            }
            div.charts {
                (chart(run, "messages", "Messages of the measured window, by percentile", MESSAGES, "No message was timed."))
                (chart(run, "connecting", "Connecting, by percentile", CONNECTING, "No connection was timed."))
                @if run.summary.storm.as_ref().is_some_and(|storm| storm.kind == "reconnect") {
                    (chart(run, "storm", "Coming back, by percentile", STORM, "Nobody came back."))
                }
            }
        }
        @if run.summary.plan.has_messages() { (clocks()) }
        (table(
            "Latency",
            &[
                Column::Text("clock"),
                Column::Number("samples"),
                Column::Number("p50"),
                Column::Number("p90"),
                Column::Number("p99"),
                Column::Number("p99.9"),
                Column::Number("p99.99"),
                Column::Number("max"),
            ],
            &rows,
        ))
    }
}

/// Three clocks, because one of them always flatters.
fn clocks() -> Markup {
    html! {
        ul.notes {
            li { b { "planned to delivered" } ": from the instant that the schedule set. What a user would have felt." }
            li { b { "written to delivered" } ": from the handing over to the event loop. The server and the network alone." }
            li { b { "send lag" } ": from the planned instant to the attempt. The generator's own lateness, as is the connect lag." }
        }
    }
}

fn chart(run: &Run, id: &str, title: &str, curves: Curves, none: &str) -> Markup {
    let histogram =
        |tag: &str| run.histograms.iter().find(|(known, _)| known == tag).map(|(_, histogram)| histogram);
    let curves: Vec<_> =
        curves.iter().filter_map(|(tag, name, ink)| Some((*name, *ink, histogram(tag)?))).collect();
    by_percentile(id, title, &curves, none)
}

/// A row for each that has samples.
fn rows(summary: &Summary) -> Vec<Vec<String>> {
    let latencies = &summary.latency_us;
    let mut all: Vec<(&str, &Latency)> = vec![
        ("planned to delivered", &latencies.planned_to_delivered),
        ("written to delivered", &latencies.written_to_delivered),
        ("send lag", &latencies.send_lag),
        ("connect lag", &latencies.connect_lag),
        ("connect", &latencies.connect),
        ("handshake", &latencies.handshake),
        ("login", &latencies.login),
    ];
    if let Some(storm) = summary.storm.as_ref().filter(|storm| storm.kind == "reconnect") {
        all.push(("reconnect lag", &storm.connect_lag_us));
        all.push(("reconnect", &storm.connect_us));
        all.push(("handshake again", &storm.handshake_us));
        all.push(("logged in again", &storm.login_us));
    }
    all.retain(|(_, latency)| latency.count > 0);
    let row = |(name, latency): (&str, &Latency)| {
        let mut row = vec![name.to_owned(), exact(latency.count)];
        let values = [latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max];
        row.extend(values.map(|value| known(value, time)));
        row
    };
    all.into_iter().map(row).collect()
}
