//! Charts: how seconds become columns, and columns a sparkline with its title.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, Sparkline};

use super::draw::{Look, SCALES_S};
use super::view::Second;

/// How the seconds of one column become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Their average.
    Mean,
    /// Their worst.
    Max,
}

/// One chart.
pub(super) struct Chart<'a> {
    /// What stands above it.
    pub(super) title: String,
    /// The seconds.
    pub(super) seconds: &'a [Second],
    /// What of a second is shown.
    pub(super) value: fn(&Second) -> f64,
    /// How seconds share a column.
    pub(super) fold: Fold,
    /// What reaches the top at least.
    pub(super) top: f64,
    /// The ink.
    pub(super) style: Style,
}

impl Chart<'_> {
    /// Draws it: the newest second at the right.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect, look: &Look) {
        let block = Block::bordered().title(format!(" {} ", self.title));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let values: Vec<f64> = self.seconds.iter().map(self.value).collect();
        let columns = columns(&values, SCALES_S[look.scale], usize::from(inner.width), self.fold);
        let top = columns.iter().copied().fold(self.top, f64::max).max(1.0);
        let bars: Vec<u64> = columns.into_iter().map(|value| value.round() as u64).collect();
        let sparkline = Sparkline::default().data(&bars).max(top.round() as u64).style(self.style);
        frame.render_widget(sparkline, inner);
    }
}

/// The last `span` values in so many columns, the newest at the right; what has not been yet is 0.
fn columns(values: &[f64], span: usize, width: usize, fold: Fold) -> Vec<f64> {
    let recent = &values[values.len().saturating_sub(span)..];
    let missing = span - recent.len();
    let column = |nth: usize| {
        let begin = nth * span / width;
        let end = ((nth + 1) * span / width).max(begin + 1);
        let part = &recent[begin.saturating_sub(missing)..end.saturating_sub(missing)];
        match fold {
            _ if part.is_empty() => 0.0,
            Fold::Mean => part.iter().sum::<f64>() / part.len() as f64,
            Fold::Max => part.iter().copied().fold(0.0, f64::max),
        }
    };
    (0..width).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_second_is_at_the_right_and_what_was_not_yet_is_empty() {
        assert_eq!(columns(&[1.0, 2.0], 4, 4, Fold::Mean), [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(columns(&[9.0, 1.0, 2.0], 2, 2, Fold::Mean), [1.0, 2.0]);
        assert_eq!(columns(&[], 60, 3, Fold::Max), [0.0; 3]);
        assert!(columns(&[1.0], 60, 0, Fold::Max).is_empty());
    }

    #[test]
    fn seconds_share_columns_and_columns_share_seconds() {
        let values = [1.0, 3.0, 5.0, 7.0];
        assert_eq!(columns(&values, 4, 2, Fold::Mean), [2.0, 6.0]);
        assert_eq!(columns(&values, 4, 2, Fold::Max), [3.0, 7.0]);
        assert_eq!(columns(&values, 4, 8, Fold::Max), [1.0, 1.0, 3.0, 3.0, 5.0, 5.0, 7.0, 7.0]);
    }
}
