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
    users: u64,
    shown: Option<Phase>,
    last_plain_s: u64,
    last_established: u64,
    last_second: Duration,
}

impl Display {
    /// A display on stderr, or none.
    pub(super) fn new(quiet: bool, plan: &Plan) -> Display {
        Display {
            terminal: std::io::stderr().is_terminal(),
            quiet,
            measured_s: plan.duration.as_secs_f64(),
            users: plan.users(),
            shown: None,
            last_plain_s: 0,
            last_established: 0,
            last_second: Duration::ZERO,
        }
    }

    /// Shows the second that just ended.
    pub(super) fn show(&mut self, progress: &Progress, since_begin: Duration, row: Option<&Row>) {
        let connect_rate = self.connect_rate(progress.established, since_begin);
        let second = since_begin.as_secs();
        let due = self.shown != Some(progress.phase) || second >= self.last_plain_s + PLAIN_EVERY_S;
        if self.quiet || !(self.terminal || due) {
            return;
        }
        self.shown = Some(progress.phase);
        self.last_plain_s = second;
        let line = self.line(progress, since_begin, connect_rate, row);
        // Nobody reads a stderr that cannot be written to.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Users let in per second since the last call: to be called every second, whether or not that one is shown.
    fn connect_rate(&mut self, established: u64, since_begin: Duration) -> f64 {
        let more = established.saturating_sub(self.last_established) as f64;
        let lasted = since_begin.saturating_sub(self.last_second).as_secs_f64();
        (self.last_established, self.last_second) = (established, since_begin);
        more / lasted
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

    fn line(
        &self,
        progress: &Progress,
        since_begin: Duration,
        connect_rate: f64,
        row: Option<&Row>,
    ) -> String {
        let phase = progress.phase;
        let mut line = format!("{:>4} s  {:<10}", since_begin.as_secs(), phase.to_string());
        if let (Phase::Measuring, Some(times)) = (phase, progress.times) {
            let measured_s = self.measured_s;
            let done = throng_reactor::sys::clock::now().since(times.measure).as_secs_f64().min(measured_s);
            line += &format!(" {done:.0}/{measured_s:.0} s");
        }
        let of_users = |done: u64| format!("{} of {}", count(done as f64), count(self.users as f64));
        line += &match phase {
            Phase::Connecting => {
                let per_s = count(connect_rate.round());
                format!("  users {}, {per_s}/s", of_users(progress.connected))
            }
            // Everybody sends one, and nobody has sent any before.
            Phase::RollCall => format!("  {} messages", of_users(progress.delivered)),
            _ => format!("  users {}", count(progress.connected as f64)),
        };
        if progress.failed + progress.lost > 0 {
            line += &format!(" (failed {}, lost {})", progress.failed, progress.lost);
        }
        let Some(row) = row else { return line };
        if phase > Phase::Connecting {
            let (sent, delivered) = (count(row.sent as f64), count(row.delivered as f64));
            line += &format!("  sent {sent}/s  delivered {delivered}/s");
        }
        if progress.waiting > 0 {
            line += &format!("  waiting {}", count(progress.waiting as f64));
        }
        if let Some(p99_us) = row.p99_us {
            line += &format!("  p99 {:.1} ms", p99_us / 1e3);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(users: u64) -> Display {
        Display {
            terminal: false,
            quiet: true,
            measured_s: 10.0,
            users,
            shown: None,
            last_plain_s: 0,
            last_established: 0,
            last_second: Duration::ZERO,
        }
    }

    fn at(phase: Phase) -> Progress {
        Progress {
            phase,
            established: 10,
            connected: 9,
            lost: 1,
            planned: 5,
            sent: 5,
            accepted: 5,
            delivered: 4,
            waiting: 3,
            ..Progress::START
        }
    }

    #[test]
    fn a_line_says_what_is_happening_and_what_went_wrong() {
        let row = Row { sent: 7, delivered: 4, p99_us: Some(1500.0), ..Row::default() };
        let line = display(10).line(&at(Phase::Draining), Duration::from_secs(3), 0.0, Some(&row));
        for part in
            ["3 s", "draining", "users 9", "lost 1", "sent 7/s", "delivered 4/s", "waiting 3", "p99 1.5 ms"]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn what_takes_long_says_how_far_it_is() {
        let display = display(2_500_000);
        let connecting = Progress { connected: 1_234_000, lost: 0, waiting: 0, ..at(Phase::Connecting) };
        let line = display.line(&connecting, Duration::from_secs(50), 24_823.4, Some(&Row::default()));
        assert_eq!(line, "  50 s  connecting  users 1.23 M of 2.50 M, 24.8 k/s");
        let few = display.line(&connecting, Duration::from_secs(50), 98.7, None);
        assert!(few.ends_with(", 99/s"), "{few}");
        let called = Progress { delivered: 1_200_000, ..at(Phase::RollCall) };
        let line = display.line(&called, Duration::from_secs(90), 0.0, None);
        assert_eq!(line, "  90 s  roll call   1.20 M of 2.50 M messages (failed 0, lost 1)");
    }

    #[test]
    fn the_rate_is_that_of_the_last_second_although_that_before_was_not_shown() {
        let mut display = display(100);
        display.show(&Progress { established: 10, ..at(Phase::Connecting) }, Duration::from_secs(1), None);
        assert_eq!(display.connect_rate(30, Duration::from_millis(1500)), 40.0);
    }
}
