//! The screen of a generator: what decides the verdict first, then what it rests on.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use throng_report::Verdict;
use throng_report::text::{bytes, count, time};
use throng_report::verdict::BUSY_CORE_SHARE;

use super::charts::{Chart, Fold};
use super::draw::{self, Look, clock, counted, fact, known, share, short};
use super::view::{LoadView, Percentiles, Second, Sign};

/// From here on there is room for a third chart.
const WIDE_CHARTS: u16 = 110;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: &LoadView, look: &Look) {
    if draw::is_wide(area) { wide(frame, area, view, look) } else { narrow(frame, area, view, look) }
}

fn wide(frame: &mut Frame<'_>, area: Rect, view: &LoadView, look: &Look) {
    let latency = latency_table(view);
    let facts = facts(view, look);
    let sizes = [
        Constraint::Length(u16::from(view.heading.is_some())),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(latency.len() as u16),
        Constraint::Length(facts.len() as u16),
        Constraint::Length(draw::note_lines(&view.notes, area.width)),
    ];
    let [head, top, bar, verdict, middle, table, below, notes] = Layout::vertical(sizes).areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(heading(view)).style(bold), head);
    draw::title(frame, top, &format!(" {}", view.title), &format!("{} ", clock(view.elapsed_s)));
    draw::gauge(frame, bar, done(view), phase(view), look);
    frame.render_widget(Paragraph::new(so_far(view, look)), verdict);
    charts(frame, middle, view, look);
    frame.render_widget(Paragraph::new(latency), table);
    frame.render_widget(Paragraph::new(facts), below);
    draw::notes(frame, notes, &view.notes, look);
}

/// Lines in the order of weight: what does not fit is what matters least.
fn narrow(frame: &mut Frame<'_>, area: Rect, view: &LoadView, look: &Look) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::styled(phase(view), bold), so_far(view, look)];
    lines.splice(0..0, view.heading.is_some().then(|| Line::from(heading(view))));
    lines.extend(view.notes.last().map(|note| Line::styled(note.as_str(), look.doubtful())));
    let users = format!("users {} of {}", count(view.connected as f64), count(view.target as f64));
    lines.push(Line::from(format!("{users}  {}/s", rate(view.connect_rate))));
    if view.has_messages {
        let of = |name: &str, times: &Percentiles| {
            let [p50, p99, max] = [times.p50, times.p99, times.max].map(|value| known(value, time));
            Line::from(format!("{name} p50 {p50} p99 {p99} max {max}"))
        };
        let (sent, delivered) = (count(view.sent as f64), count(view.delivered as f64));
        lines.push(Line::from(format!("sent {sent}/s  delivered {delivered}/s")));
        lines.push(of("1 s", &view.last_second));
        lines.push(of("run", &view.whole_run));
        lines.push(of("lag", &view.lag_whole_run));
    }
    lines.push(short("cores", cores(view, look)));
    lines.push(short("memory", draw::memory(view.available_bytes, view.reserve_bytes, look).to_vec()));
    lines.push(short("a user", cost_per_connection(view)));
    // The verdict so far may want more than one line, and is worth it.
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

/// What it is part of.
fn heading(view: &LoadView) -> String {
    view.heading.as_ref().map_or_else(String::new, |heading| format!(" {heading}"))
}

/// Where the run is.
fn phase(view: &LoadView) -> String {
    let mut text = format!(" {}", view.phase);
    if let Some((over, whole)) = view.phase_s {
        text += &format!(" {over:.0} of {whole:.0} s");
    }
    if let Some(left) = view.left_s {
        text += &format!(", {} left", clock(left));
    }
    text
}

/// How much of the run is over.
fn done(view: &LoadView) -> f64 {
    match view.left_s {
        Some(left) if view.elapsed_s + left > 0.0 => view.elapsed_s / (view.elapsed_s + left),
        _ => 0.0,
    }
}

/// What the verdict would be.
fn so_far(view: &LoadView, look: &Look) -> Line<'static> {
    let label = Span::raw(" so far: ");
    if view.signs.is_empty() {
        return Line::from(vec![label, Span::styled("nothing against a PASS", look.good())]);
    }
    // Those of the verdict itself first.
    let (fails, others): (Vec<&Sign>, Vec<&Sign>) =
        view.signs.iter().partition(|sign| sign.verdict == Verdict::Fail);
    let (verdict, style) = match fails.first() {
        Some(sign) => (sign.verdict, look.bad()),
        None => (view.signs[0].verdict, look.doubtful()),
    };
    let texts: Vec<&str> = fails.into_iter().chain(others).map(|sign| sign.text.as_str()).collect();
    Line::from(vec![
        label,
        Span::styled(verdict.word().to_owned(), style),
        Span::raw(format!("  {}", texts.join("; "))),
    ])
}

fn charts(frame: &mut Frame<'_>, area: Rect, view: &LoadView, look: &Look) {
    let mut all = vec![Chart {
        title: format!(
            "Users {} of {}, {}/s",
            count(view.connected as f64),
            count(view.target as f64),
            rate(view.connect_rate)
        ),
        seconds: view.history.seconds(),
        value: |second: &Second| second.connections,
        fold: Fold::Mean,
        top: view.target as f64,
        style: look.chart(),
    }];
    if view.has_messages {
        all.push(Chart {
            title: format!("Delivered {}/s, last {}", count(view.delivered as f64), look.span()),
            value: |second: &Second| second.delivered,
            top: view.planned as f64,
            ..chart(view, look)
        });
    }
    if view.has_messages && area.width >= WIDE_CHARTS {
        all.push(Chart {
            title: format!("p99 {}", known(view.last_second.p99, time)),
            value: |second: &Second| second.p99_us,
            fold: Fold::Max,
            ..chart(view, look)
        });
    }
    let areas = Layout::horizontal(vec![Constraint::Fill(1); all.len()]).split(area);
    all.iter().zip(areas.iter()).for_each(|(chart, area)| chart.draw(frame, *area, look));
}

/// A chart that says nothing yet.
fn chart<'a>(view: &'a LoadView, look: &Look) -> Chart<'a> {
    Chart {
        title: String::new(),
        seconds: view.history.seconds(),
        value: |_| 0.0,
        fold: Fold::Mean,
        top: 0.0,
        style: look.chart(),
    }
}

/// The percentiles; empty without messages.
fn latency_table(view: &LoadView) -> Vec<Line<'static>> {
    if !view.has_messages {
        return Vec::new();
    }
    let row = |name: &str, cells: [String; 4]| {
        let [p50, p99, p999, max] = cells;
        Line::from(format!(" {name:<32}{p50:>10}{p99:>10}{p999:>10}{max:>10}"))
    };
    let of = |name: &str, times: &Percentiles| {
        row(name, [times.p50, times.p99, times.p999, times.max].map(|value| known(value, time)))
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    vec![
        row("Latency", ["p50", "p99", "p99.9", "max"].map(str::to_owned)).style(bold),
        of("planned to delivered, last s", &view.last_second),
        of("planned to delivered, the run", &view.whole_run),
        of("send lag, last s", &view.lag_last_second),
        of("send lag, the run", &view.lag_whole_run),
    ]
}

fn facts(view: &LoadView, look: &Look) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if view.has_messages {
        let per_s = |name: &str, value: u64| Span::raw(format!("{name} {}/s", count(value as f64)));
        lines.push(fact(
            " messages",
            vec![
                per_s("planned", view.planned),
                per_s("sent", view.sent),
                per_s("delivered", view.delivered),
                counted("waiting", view.waiting, look.doubtful()),
            ],
        ));
    }
    lines.push(trouble(view, look));
    let us = |name: &str, value| Span::raw(format!("{name} {}", known(value, time)));
    if view.has_messages {
        lines.push(fact(
            " CPU",
            vec![
                us("server", view.server_us_per_message),
                us("both sides", view.both_us_per_message),
                Span::raw("per message"),
            ],
        ));
    }
    lines.push(fact(" a user", cost_per_connection(view)));
    let mut busy = cores(view, look);
    busy.extend(view.skew.map(|skew| Span::raw(format!("fullest shard {skew:.2} of the average"))));
    lines.push(fact(" cores", busy));
    lines.push(fact(" memory", draw::memory(view.available_bytes, view.reserve_bytes, look).to_vec()));
    lines
}

/// What must be zero for a PASS.
fn trouble(view: &LoadView, look: &Look) -> Line<'static> {
    let bad = look.bad();
    let mut figures = vec![counted("failed", view.failed, bad), counted("lost", view.lost_connections, bad)];
    if !view.has_messages {
        return fact(" users", figures);
    }
    let trouble = &view.trouble;
    figures = vec![
        counted("missing", trouble.missing, bad),
        counted("twice", trouble.duplicated, bad),
        counted("reordered", trouble.reordered, bad),
        counted("refused", trouble.refused + trouble.unknown, bad),
        counted("users failed", view.failed, bad),
        counted("lost", view.lost_connections, bad),
    ];
    fact(" trouble", figures)
}

fn cost_per_connection(view: &LoadView) -> Vec<Span<'static>> {
    let names = ["server", "generator", "machine"];
    let each = names.iter().zip(view.bytes_per_connection);
    each.map(|(name, value)| Span::raw(format!("{name} {}", known(value, bytes)))).collect()
}

fn cores(view: &LoadView, look: &Look) -> Vec<Span<'static>> {
    vec![
        share("server", view.server_core, BUSY_CORE_SHARE, look.doubtful()),
        share("generator", view.generator_core, BUSY_CORE_SHARE, look.doubtful()),
    ]
}

/// A rate without fractions of a user.
fn rate(value: f64) -> String {
    count(value.round())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::draw::tests::drawn;
    use super::super::view::{History, Trouble, View};
    use super::*;

    fn shows(view: &LoadView, size: (u16, u16), parts: &[&str]) -> String {
        let text = drawn(&View::Load(Box::new(view.clone())), &Look::default(), size);
        for part in parts {
            assert!(text.contains(part), "{part} is missing at {size:?}:\n{text}");
        }
        text
    }

    fn ramp() -> LoadView {
        let mut history = History::default();
        (1..=5).for_each(|nth| {
            history.push(Second { connections: f64::from(nth) * 2000.0, ..Second::default() });
        });
        LoadView {
            title: "throng load  pairs over native".to_owned(),
            phase: "connecting".to_owned(),
            phase_s: Some((5.0, 25.0)),
            elapsed_s: 5.0,
            left_s: Some(40.0),
            connected: 10_000,
            target: 50_000,
            connect_rate: 2_000.0,
            has_messages: true,
            available_bytes: Some(12_000_000_000),
            reserve_bytes: 700_000_000,
            history: Arc::new(history),
            ..LoadView::default()
        }
    }

    fn measuring() -> LoadView {
        LoadView {
            phase: "measuring".to_owned(),
            phase_s: Some((12.0, 30.0)),
            elapsed_s: 40.0,
            left_s: Some(18.0),
            connected: 50_000,
            planned: 20_000,
            sent: 19_990,
            delivered: 19_980,
            waiting: 7,
            last_second: Percentiles { p50: Some(70.2), p99: Some(543.0), p999: None, max: Some(8_730.0) },
            whole_run: Percentiles {
                p50: Some(71.0),
                p99: Some(600.0),
                p999: Some(3_220.0),
                max: Some(9_000.0),
            },
            lag_whole_run: Percentiles { p99: Some(177.0), ..Percentiles::default() },
            server_us_per_message: Some(21.3),
            both_us_per_message: Some(60.9),
            bytes_per_connection: [Some(101.8), Some(98.6), Some(8_900.0)],
            server_core: Some(0.63),
            generator_core: Some(0.91),
            skew: Some(1.02),
            ..ramp()
        }
    }

    #[test]
    fn a_ramp_shows_how_far_it_is_and_how_fast() {
        let text = shows(
            &ramp(),
            (80, 24),
            &[
                "throng load  pairs over native",
                "5 s",
                "connecting 5 of 25 s, 40 s left",
                "so far: nothing against a PASS",
                "Users 10.0 k of 50.0 k, 2000/s",
                "left 12.00 GB  reserve 700.00 MB",
            ],
        );
        assert!(text.contains('▁') || text.contains('▂'), "the ramp's columns: {text}");
        shows(
            &ramp(),
            (40, 12),
            &[
                "connecting 5 of 25 s, 40 s left",
                "nothing against a PASS",
                "users 10.0 k of 50.0 k  2000/s",
                "left 12.00 GB",
                "q stop",
            ],
        );
    }

    #[test]
    fn the_window_shows_rates_percentiles_cost_and_cores() {
        shows(
            &measuring(),
            (80, 24),
            &[
                "measuring 12 of 30 s, 18 s left",
                "Delivered 20.0 k/s, last 60 s",
                "planned to delivered, last s       70.2 us    543 us         -   8.73 ms",
                "planned to delivered, the run      71.0 us    600 us   3.22 ms   9.00 ms",
                "send lag, the run                        -    177 us         -         -",
                "planned 20.0 k/s  sent 20.0 k/s  delivered 20.0 k/s  waiting 7",
                "missing 0  twice 0  reordered 0  refused 0  users failed 0  lost 0",
                "server 21.3 us  both sides 60.9 us  per message",
                "server 102 B  generator 99 B  machine 8.90 kB",
                "server 63 %  generator 91 %  fullest shard 1.02 of the average",
            ],
        );
        shows(
            &measuring(),
            (40, 12),
            &[
                "measuring 12 of 30 s, 18 s left",
                "sent 20.0 k/s  delivered 20.0 k/s",
                "1 s p50 70.2 us p99 543 us max 8.73 ms",
                "run p50 71.0 us p99 600 us max 9.00 ms",
                "server 63 %  generator 91 %",
            ],
        );
    }

    #[test]
    fn a_run_of_a_search_says_so_on_top() {
        let view = LoadView { heading: Some("search, run 3: 20.0 k messages/s".to_owned()), ..measuring() };
        for size in [(80, 24), (40, 12)] {
            let text = shows(&view, size, &["measuring 12 of 30 s"]);
            assert!(text.starts_with(" search, run 3: 20.0 k messages/s\n"), "{text}");
        }
    }

    #[test]
    fn trouble_comes_first_and_with_its_verdict() {
        let sign = |verdict, text: &str| Sign { verdict, text: text.to_owned() };
        let view = LoadView {
            signs: vec![
                sign(Verdict::Invalid, "send lag p99 2 ms"),
                sign(Verdict::Fail, "3 messages missing"),
            ],
            trouble: Trouble { missing: 3, ..Trouble::default() },
            lost_connections: 1,
            notes: vec!["an old note".to_owned(), "memory is short, everybody leaves".to_owned()],
            ..measuring()
        };
        for size in [(80, 24), (40, 12)] {
            shows(&view, size, &["so far: FAIL", "3 messages missing", "memory is short, everybody leaves"]);
        }
        let text = shows(&view, (80, 24), &["missing 3", "lost 1"]);
        let at = |part: &str| text.find(part).unwrap();
        assert!(at("so far") < at("Latency") && at("memory is short") < at("an old note"), "{text}");
    }

    #[test]
    fn without_messages_there_is_nothing_about_them() {
        let view = LoadView { has_messages: false, failed: 2, ..ramp() };
        let text = shows(&view, (80, 24), &["failed 2  lost 0"]);
        assert!(!text.contains("Latency") && !text.contains("Delivered"), "{text}");
    }
}
