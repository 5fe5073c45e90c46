//! How a run is doing, on stderr: one line that rewrites itself on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use throng_loadgen::{Phase, Plan, Progress};
use throng_report::text::count;
use throng_report::timeseries::Row;

/// Seconds between two lines where nobody watches them pass.
const PLAIN_EVERY_S: u64 = 5;

/// Where progress goes.
pub(super) struct Display {
    terminal: bool,
    quiet: bool,
    measured_s: f64,
    shown: Option<Phase>,
    last_plain_s: u64,
}

impl Display {
    /// A display on stderr, or none.
    pub(super) fn new(quiet: bool, plan: &Plan) -> Display {
        Display {
            terminal: std::io::stderr().is_terminal(),
            quiet,
            measured_s: plan.duration.as_secs_f64(),
            shown: None,
            last_plain_s: 0,
        }
    }

    /// Shows the second that just ended.
    pub(super) fn show(&mut self, progress: &Progress, since_begin: Duration, row: Option<&Row>) {
        let second = since_begin.as_secs();
        let due = self.shown != Some(progress.phase) || second >= self.last_plain_s + PLAIN_EVERY_S;
        if self.quiet || !(self.terminal || due) {
            return;
        }
        self.shown = Some(progress.phase);
        self.last_plain_s = second;
        let line = line(progress, self.measured_s, since_begin, row);
        // Nobody reads a stderr that cannot be written to.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.end();
        let _ = writeln!(std::io::stderr(), "throng: {text}");
    }

    /// Makes room for what follows.
    pub(super) fn end(&mut self) {
        if self.terminal && !self.quiet && self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: &Progress, measured_s: f64, since_begin: Duration, row: Option<&Row>) -> String {
    let mut line = format!("{:>4} s  {:<10}", since_begin.as_secs(), progress.phase.to_string());
    if let (Phase::Measuring, Some(times)) = (progress.phase, progress.times) {
        let done = throng_reactor::sys::clock::now().since(times.measure).as_secs_f64().min(measured_s);
        line += &format!(" {done:.0}/{measured_s:.0} s");
    }
    line += &format!("  users {}", count(progress.connected as f64));
    if progress.failed + progress.lost > 0 {
        line += &format!(" (failed {}, lost {})", progress.failed, progress.lost);
    }
    let Some(row) = row else { return line };
    if progress.phase > Phase::Connecting {
        line += &format!("  sent {}/s  delivered {}/s", count(row.sent as f64), count(row.delivered as f64));
    }
    if progress.waiting > 0 {
        line += &format!("  waiting {}", count(progress.waiting as f64));
    }
    if let Some(p99_us) = row.p99_us {
        line += &format!("  p99 {:.1} ms", p99_us / 1e3);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_happening_and_what_went_wrong() {
        let progress = Progress {
            phase: Phase::Draining,
            times: None,
            established: 10,
            connected: 9,
            failed: 0,
            lost: 1,
            planned: 5,
            sent: 5,
            accepted: 5,
            delivered: 4,
            waiting: 3,
        };
        let row = Row { sent: 7, delivered: 4, p99_us: Some(1500.0), ..Row::default() };
        let line = line(&progress, 10.0, Duration::from_secs(3), Some(&row));
        for part in
            ["3 s", "draining", "users 9", "lost 1", "sent 7/s", "delivered 4/s", "waiting 3", "p99 1.5 ms"]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
