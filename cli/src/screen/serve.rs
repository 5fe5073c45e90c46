//! The screen of a server.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use throng_report::text::{bytes, count, time};
use throng_report::verdict::BUSY_CORE_SHARE;

use super::charts::{Chart, Fold};
use super::draw::{self, Look, clock, counted, fact, known, share};
use super::view::{Second, ServeView};

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: &ServeView, look: &Look) {
    if draw::is_wide(area) { wide(frame, area, view, look) } else { narrow(frame, area, view, look) }
}

fn wide(frame: &mut Frame<'_>, area: Rect, view: &ServeView, look: &Look) {
    let facts = facts(view, look);
    let shards = shard_table(view);
    // Charts keep their size while the table of shards takes what there is.
    let sizes = [
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(facts.len() as u16),
        Constraint::Max(shards.len() as u16),
        Constraint::Length(draw::note_lines(&view.notes, area.width)),
    ];
    let [top, middle, below, table, notes] = Layout::vertical(sizes).areas(area);
    draw::title(frame, top, &format!(" {}", view.title), &format!("up {} ", clock(view.uptime_s)));
    charts(frame, middle, view, look);
    frame.render_widget(Paragraph::new(facts), below);
    frame.render_widget(Paragraph::new(shards), table);
    draw::notes(frame, notes, &view.notes, look);
}

/// Lines in the order of weight: what does not fit is what matters least.
fn narrow(frame: &mut Frame<'_>, area: Rect, view: &ServeView, look: &Look) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::styled(format!(" up {}", clock(view.uptime_s)), bold)];
    lines.extend(view.notes.last().map(|note| Line::styled(note.as_str(), look.doubtful())));
    lines.extend(facts(view, look));
    frame.render_widget(Paragraph::new(lines), area);
}

fn charts(frame: &mut Frame<'_>, area: Rect, view: &ServeView, look: &Look) {
    let seconds = view.history.seconds();
    let style = look.chart();
    let connections = Chart {
        title: format!("Connections {}", count(view.connections as f64)),
        seconds,
        value: |second: &Second| second.connections,
        fold: Fold::Mean,
        top: 0.0,
        style,
    };
    let messages = Chart {
        title: format!("Delivered {}/s, last {}", count(view.messages[1].round()), look.span()),
        seconds,
        value: |second: &Second| second.delivered,
        fold: Fold::Mean,
        top: 0.0,
        style,
    };
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    connections.draw(frame, left, look);
    messages.draw(frame, right, look);
}

fn facts(view: &ServeView, look: &Look) -> Vec<Line<'static>> {
    let plain = |name: &str, value: u64| Span::raw(format!("{name} {}", count(value as f64)));
    let per_s = |name: &str, value: f64| Span::raw(format!("{name} {}/s", count(value.round())));
    let [received, delivered, accepted] = view.messages;
    let [refused, unknown] = view.unanswered;
    let [pauses, left_group, mailbox, no_room] = view.shortages;
    let mut memory = draw::memory(view.available_bytes, view.reserve_bytes, look).to_vec();
    memory.insert(0, Span::raw(known(view.resident_bytes.map(|bytes| bytes as f64), bytes)));
    memory.insert(1, Span::raw(format!("a connection {}", known(view.bytes_per_connection, bytes))));
    vec![
        fact(
            " clients",
            vec![
                plain("connected", view.connections),
                plain("logged in", view.logged_in),
                plain("logging in", view.logging_in),
                per_s("new", view.connect_rate),
            ],
        ),
        fact(
            " messages",
            vec![per_s("received", received), per_s("delivered", delivered), per_s("accepted", accepted)],
        ),
        fact(
            " in all",
            vec![
                counted("refused", refused, look.doubtful()),
                counted("unknown", unknown, look.doubtful()),
                counted("accept pauses", pauses, look.bad()),
                counted("shards full", left_group, look.bad()),
            ],
        ),
        fact(
            "",
            vec![
                counted("mailboxes full", mailbox, look.doubtful()),
                counted("closed for want of room", no_room, look.bad()),
            ],
        ),
        fact(
            " CPU",
            vec![
                Span::raw(known(view.cpu, |share| format!("{:.0} %", share * 100.0))),
                share("busiest core", view.busiest_core, BUSY_CORE_SHARE, look.doubtful()),
                Span::raw(format!("a message {}", known(us_per_message(view), time))),
            ],
        ),
        fact(" memory", memory),
    ]
}

/// CPU time per message delivered, in microseconds.
fn us_per_message(view: &ServeView) -> Option<f64> {
    view.cpu.filter(|_| view.messages[1] > 0.0).map(|share| share * 1e6 / view.messages[1])
}

/// A line for each shard, the fullest first; none where there is one shard, which has everything.
fn shard_table(view: &ServeView) -> Vec<Line<'static>> {
    if view.shards.len() < 2 {
        return Vec::new();
    }
    let skew = known(view.skew, |skew| format!("{skew:.2}"));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = format!(
        " {:<8}{:>14}{:>14}{:>8}   fullest by the average {skew}",
        "shard", "connections", "delivered/s", "CPU"
    );
    let mut order: Vec<usize> = (0..view.shards.len()).collect();
    order.sort_by_key(|&nth| std::cmp::Reverse(view.shards[nth].connections));
    let rows = order.into_iter().map(|nth| {
        let shard = &view.shards[nth];
        let (connections, delivered) = (count(shard.connections as f64), count(shard.delivered.round()));
        Line::from(format!(" {nth:<8}{connections:>14}{delivered:>14}{:>6.0} %", shard.cpu * 100.0))
    });
    std::iter::once(Line::styled(head, bold)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::super::draw::tests::drawn;
    use super::super::view::{ShardView, View};
    use super::*;

    fn view() -> ServeView {
        ServeView {
            title: "throng serve  127.0.0.1:7400  io-uring, 2 shards".to_owned(),
            uptime_s: 125.0,
            connections: 10_000,
            logged_in: 9_990,
            logging_in: 10,
            connect_rate: 123.4,
            messages: [20_000.0, 19_000.0, 18_000.0],
            unanswered: [3, 0],
            shards: vec![
                ShardView { connections: 4_000, delivered: 9_000.0, cpu: 0.4 },
                ShardView { connections: 6_000, delivered: 10_000.0, cpu: 0.55 },
            ],
            skew: Some(1.2),
            shortages: [5, 0, 0, 0],
            cpu: Some(0.95),
            busiest_core: Some(0.55),
            resident_bytes: Some(20_000_000),
            bytes_per_connection: Some(101.0),
            available_bytes: Some(4_000_000_000),
            reserve_bytes: 600_000_000,
            notes: vec!["memory is short".to_owned()],
            ..ServeView::default()
        }
    }

    #[test]
    fn a_server_shows_clients_messages_shards_and_what_it_lacks() {
        let text = drawn(&View::Serve(Box::new(view())), &Look::default(), (80, 24));
        for part in [
            "throng serve  127.0.0.1:7400  io-uring, 2 shards",
            "up 2:05",
            "connected 10.0 k  logged in 9990  logging in 10  new 123/s",
            "received 20.0 k/s  delivered 19.0 k/s  accepted 18.0 k/s",
            "refused 3  unknown 0  accept pauses 5  shards full 0",
            "95 %  busiest core 55 %  a message 50.0 us",
            "20.00 MB  a connection 101 B  left 4.00 GB  reserve 600.00 MB",
            "fullest by the average 1.20",
            "memory is short",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let rows: Vec<&str> = text.lines().filter(|line| line.ends_with(" %") && line.len() < 50).collect();
        assert!(rows[0].starts_with(" 1 ") && rows[1].starts_with(" 0 "), "the fullest first: {text}");
    }

    #[test]
    fn a_small_terminal_shows_what_matters_most() {
        let text = drawn(&View::Serve(Box::new(view())), &Look::default(), (40, 12));
        for part in ["up 2:05", "memory is short", "connected 10.0 k", "received 20.0 k/s", "95 %"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn one_shard_has_everything_and_no_table() {
        let view = ServeView { shards: vec![ShardView::default()], ..view() };
        let text = drawn(&View::Serve(Box::new(view)), &Look::default(), (80, 24));
        assert!(!text.contains("fullest"), "{text}");
    }
}
