//! The page of a search: the answer, what gave out, and every trial.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{Chart, Line};
use super::numbers::{exact, known, lasting, share, time};
use super::page::{self, Column, Section, figures, table};
use super::palette::Ink;
use crate::capacity::{Capacity, Trial};

/// The whole page.
pub(super) fn page(capacity: &Capacity) -> String {
    let sections = [
        Section { id: "answer", title: "Answer", body: answer(capacity) },
        Section { id: "trials", title: "Trials", body: trials(capacity) },
    ];
    let name = format!("{}: how much does it carry?", capacity.scenario);
    let head = html! {
        p.kicker { "Throng, search for a capacity" }
        h1 { (name) }
        p.lead { (lead(capacity)) }
    };
    page::document(&name, &head, &sections)
}

fn lead(capacity: &Capacity) -> String {
    let held = match capacity.thresholds.as_slice() {
        [] => "nothing lost".to_owned(),
        thresholds => thresholds.join(", "),
    };
    format!(
        "The most with {held}: found by {} runs in {}.",
        exact(capacity.trials.len() as u64),
        lasting(capacity.took_s)
    )
}

fn answer(capacity: &Capacity) -> Markup {
    let show = |load: Option<u64>| load.map_or_else(|| "nothing".to_owned(), |load| capacity.find.show(load));
    let bound = if capacity.is_lower_bound { "at least" } else { "" };
    let tone = if capacity.load.is_some() { "pass" } else { "fail" };
    html! {
        div class={ "verdict " (tone) } {
            strong { (bound) " " (show(capacity.load)) }
            ul { @for remark in capacity.remarks() { li { (remark) } } }
        }
        (figures(&[
            ("lower end, 95 %", show(capacity.low), String::new()),
            ("upper end, 95 %", show(capacity.high), String::new()),
            (
                "exhausted",
                capacity.exhausted.map_or_else(|| "nothing".to_owned(), |what| what.to_string()),
                "in most of the trials around the limit that did not hold".to_owned(),
            ),
        ]))
    }
}

fn trials(capacity: &Capacity) -> Markup {
    let row = |(number, trial): (usize, &Trial)| {
        vec![
            exact(number as u64 + 1),
            capacity.find.show(trial.load),
            trial.verdict.word().to_owned(),
            known(trial.p99_us, time),
            known(trial.server_busiest_core, share),
            known(trial.generator_busiest_core, share),
            trial.reason.as_ref().map(|(_, text)| text.clone()).unwrap_or_default(),
        ]
    };
    html! {
        div.charts { (path(capacity)) }
        (table(
            "In the order of time",
            &[
                Column::Number("trial"),
                Column::Number("load"),
                Column::Text("verdict"),
                Column::Number("p99"),
                Column::Number("server's core"),
                Column::Number("users' core"),
                Column::Text("why not"),
            ],
            &capacity.trials.iter().enumerate().map(row).collect::<Vec<_>>(),
        ))
    }
}

/// The way of the search: what held, and what did not.
fn path(capacity: &Capacity) -> Markup {
    let points = |held: bool| {
        let of = |(number, trial): (usize, &Trial)| {
            (number as f64 + 1.0, (trial.held() == held).then_some(trial.load as f64))
        };
        capacity.trials.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let most = capacity.trials.iter().map(|trial| trial.load).max().unwrap_or(0) as f64;
    let chart = Chart {
        id: "search",
        title: "The way of the search",
        says: format!(
            "{} trials held, {} did not.",
            capacity.trials.iter().filter(|trial| trial.held()).count(),
            capacity.trials.iter().filter(|trial| !trial.held()).count()
        ),
        x: Axis::linear("trial", capacity.trials.len() as f64),
        y: Axis::linear("load", most),
        bands: &[],
        lines: vec![
            Line { name: "held", ink: Ink::Green, points: points(true), dot: None },
            Line { name: "did not hold", ink: Ink::Vermilion, points: points(false), dot: None },
        ],
        note: "",
        none: "Nothing was tried.",
    };
    chart.figure()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Verdict;

    #[test]
    fn a_page_shows_the_answer_and_every_trial() {
        let trial = |load: u64, verdict| Trial {
            load,
            verdict,
            reason: (verdict != Verdict::Pass).then(|| ("threshold".into(), "p99<20ms & more".into())),
            ..Trial::default()
        };
        let capacity = Capacity {
            scenario: "pairs".into(),
            thresholds: vec!["p99<20ms".into()],
            load: Some(20_000),
            low: Some(19_000),
            high: Some(21_000),
            is_lower_bound: true,
            trials: vec![trial(10_000, Verdict::Pass), trial(30_000, Verdict::Fail)],
            ..Capacity::default()
        };
        let html = page(&capacity);
        for part in [
            "at least 20.0 k messages/s",
            "id=\"search\"",
            "p99&lt;20ms &amp; more",
            "1 trials held, 1 did not",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("://") && page(&Capacity::default()).contains("nothing"));
    }
}
