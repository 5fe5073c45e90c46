//! From a view to widgets: what both screens have in common. Nothing here knows a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Gauge, Paragraph, Wrap};
use throng_report::text::{bytes, count};

use super::view::View;
use super::{load, serve};

/// Seconds that the charts span, from near to far.
pub(super) const SCALES_S: [usize; 5] = [60, 120, 300, 900, 3600];

/// From here on a screen has charts and tables; below, lines.
const WIDE: (u16, u16) = (72, 20);

/// Lines of notes on a wide screen.
const NOTE_LINES: u16 = 3;

/// How a view is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// The time scale, one of [`SCALES_S`].
    pub(super) scale: usize,
    /// Whether the help is shown.
    pub(super) help: bool,
    /// Whether there may be colour.
    pub(super) colour: bool,
    /// Keys cannot be read any more.
    pub(super) keys_are_lost: bool,
}

impl Look {
    /// Ink for what is well.
    pub(super) fn good(&self) -> Style {
        self.ink(Color::Green)
    }

    /// Ink for what is not.
    pub(super) fn bad(&self) -> Style {
        self.ink(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Ink for what may become so.
    pub(super) fn doubtful(&self) -> Style {
        self.ink(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Ink for figures in charts.
    pub(super) fn chart(&self) -> Style {
        self.ink(Color::Cyan)
    }

    fn ink(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// The scale in words.
    pub(super) fn span(&self) -> String {
        match SCALES_S[self.scale] {
            seconds @ ..120 => format!("{seconds} s"),
            seconds @ 120..3600 => format!("{} min", seconds / 60),
            seconds => format!("{} h", seconds / 3600),
        }
    }
}

/// Draws a view.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, look: &Look) {
    let [body, foot] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    match view {
        View::Load(view) => load::draw(frame, body, view, look),
        View::Serve(view) => serve::draw(frame, body, view, look),
    }
    footer(frame, foot, look);
    if look.help {
        help(frame);
    }
}

/// Whether an area has room for charts and tables.
pub(super) fn is_wide(area: Rect) -> bool {
    area.width >= WIDE.0 && area.height + 1 >= WIDE.1
}

fn footer(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let text = if look.keys_are_lost {
        Line::from("keys cannot be read any more: kill -INT ends this").style(look.doubtful())
    } else {
        let key = |key: &'static str| Span::styled(key, bold);
        Line::from(vec![
            key(" q"),
            Span::raw(" stop  "),
            key("+ -"),
            Span::raw(format!(" time scale ({})  ", look.span())),
            key("?"),
            Span::raw(" help"),
        ])
    };
    frame.render_widget(Paragraph::new(text), area);
}

const HELP: &str = "\
q        stop: what is under way is waited for,
         then the report; q again: at once
+ and -  fewer and more seconds in the charts
?        this help

SIGINT and SIGTERM do the same as q.
A dash is a figure that nobody knows yet.";

fn help(frame: &mut Frame<'_>) {
    let whole = frame.area();
    let (width, height) = (54.min(whole.width), 9.min(whole.height));
    let area = Rect {
        x: whole.x + (whole.width - width) / 2,
        y: whole.y + (whole.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let text = Paragraph::new(HELP).block(Block::bordered().title(" Keys "));
    frame.render_widget(text, area);
}

/// A title line, with what belongs to its right end.
pub(super) fn title(frame: &mut Frame<'_>, area: Rect, left: &str, right: &str) {
    let width = usize::from(area.width);
    let room = width.saturating_sub(right.chars().count() + 1);
    let left: String = left.chars().take(room).collect();
    let text = format!("{left:<room$} {right}");
    let style = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
    frame.render_widget(Paragraph::new(text).style(style), area);
}

/// How much of something is done, with words over it.
pub(super) fn gauge(frame: &mut Frame<'_>, area: Rect, share: f64, words: String, look: &Look) {
    // Without colour a full block under the words would hide them: they are said, and the bar is left out.
    if !look.colour {
        return frame.render_widget(Paragraph::new(words), area);
    }
    let style = Style::new().fg(Color::Blue).bg(Color::Black);
    let gauge = Gauge::default().ratio(share.clamp(0.0, 1.0)).gauge_style(style).label(words);
    frame.render_widget(gauge, area);
}

/// A label and figures behind it, below those of other lines.
pub(super) fn fact(label: &str, figures: Vec<Span<'static>>) -> Line<'static> {
    labelled(format!("{label:<10}"), figures)
}

/// The same where there is little room.
pub(super) fn short(label: &str, figures: Vec<Span<'static>>) -> Line<'static> {
    labelled(format!("{label} "), figures)
}

fn labelled(label: String, figures: Vec<Span<'static>>) -> Line<'static> {
    let mut spans = vec![Span::raw(label)];
    for (nth, figure) in figures.into_iter().enumerate() {
        if nth > 0 {
            spans.push(Span::raw("  "));
        }
        spans.push(figure);
    }
    Line::from(spans)
}

/// A figure behind its name, in that ink when it is not zero.
pub(super) fn counted(name: &str, value: u64, alarm: Style) -> Span<'static> {
    let text = format!("{name} {}", count(value as f64));
    if value > 0 { Span::styled(text, alarm) } else { Span::raw(text) }
}

/// A share as a percentage; from `alarm` on in that ink.
pub(super) fn share(name: &str, value: Option<f64>, alarm: f64, style: Style) -> Span<'static> {
    let text = format!("{name} {}", known(value, |share| format!("{:.0} %", share * 100.0)));
    if value.is_some_and(|value| value >= alarm) { Span::styled(text, style) } else { Span::raw(text) }
}

/// What is known, or a dash.
pub(super) fn known(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Memory that can be had, and what is to be left of it; in another ink when that is near.
pub(super) fn memory(available: Option<u64>, reserve: u64, look: &Look) -> [Span<'static>; 2] {
    let left = format!("left {}", known(available.map(|left| left as f64), bytes));
    // A tenth above the reserve is a second or two of a fast ramp.
    let is_near = available.is_some_and(|left| left < reserve + reserve / 10);
    let style = if is_near { look.bad() } else { Style::new() };
    [Span::styled(left, style), Span::raw(format!("reserve {}", bytes(reserve as f64)))]
}

/// Seconds as people read them: `18 s`, `2:05`, `1:02:03`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

/// How many lines the notes want, in that width.
pub(super) fn note_lines(notes: &[String], width: u16) -> u16 {
    let width = usize::from(width.max(1));
    let lines: usize = notes.iter().map(|note| note.chars().count().div_ceil(width).max(1)).sum();
    (lines as u16).min(NOTE_LINES)
}

/// Notes, the newest first: what does not fit is old.
pub(super) fn notes(frame: &mut Frame<'_>, area: Rect, notes: &[String], look: &Look) {
    let lines: Vec<Line<'_>> =
        notes.iter().rev().map(|note| Line::styled(note.as_str(), look.doubtful())).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

#[cfg(test)]
pub(super) mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::LoadView;
    use super::*;

    /// What a view looks like, a line for each row.
    pub(in super::super) fn drawn(view: &View, look: &Look, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, look)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    /// Whether any cell has a colour.
    pub(in super::super) fn has_colour(view: &View, look: &Look) -> bool {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, view, look)).unwrap();
        let cells = terminal.backend().buffer().content().iter();
        cells.into_iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    }

    fn empty() -> View {
        View::Load(Box::default())
    }

    #[test]
    fn every_size_can_be_drawn() {
        for size in [(1, 1), (3, 2), (10, 5), (40, 12), (71, 24), (72, 20), (80, 19), (80, 24), (300, 100)] {
            for help in [false, true] {
                let view = LoadView { notes: vec!["a note".to_owned(); 9], ..LoadView::default() };
                drawn(&View::Load(Box::new(view)), &Look { help, ..Look::default() }, size);
                drawn(&View::Serve(Box::default()), &Look { help, ..Look::default() }, size);
            }
        }
    }

    #[test]
    fn the_footer_names_the_keys_and_the_help_explains_them() {
        let plain = drawn(&empty(), &Look::default(), (80, 24));
        assert!(plain.lines().last().unwrap().contains("q stop  + - time scale (60 s)  ? help"), "{plain}");
        let help = drawn(&empty(), &Look { help: true, scale: 4, ..Look::default() }, (80, 24));
        assert!(help.contains("time scale (1 h)") && help.contains("q again: at once"), "{help}");
        let lost = drawn(&empty(), &Look { keys_are_lost: true, ..Look::default() }, (80, 24));
        assert!(lost.contains("kill -INT"), "{lost}");
    }

    #[test]
    fn without_colour_nothing_has_one() {
        assert!(!has_colour(&empty(), &Look::default()));
        assert!(has_colour(&empty(), &Look { colour: true, ..Look::default() }));
    }

    #[test]
    fn times_are_read_as_on_a_clock() {
        assert_eq!([0.0, 18.4, 125.0, 3723.0].map(clock), ["0 s", "18 s", "2:05", "1:02:03"]);
    }

    #[test]
    fn memory_near_the_reserve_is_alarming() {
        let look = Look { colour: true, ..Look::default() };
        let style = |left| memory(Some(left), 1000, &look)[0].style;
        assert_eq!((style(1099), style(1100)), (look.bad(), Style::new()));
    }
}
