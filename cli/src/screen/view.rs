//! What a screen shows: plain figures of one moment, put together by whoever measures.

use std::sync::Arc;

use throng_report::Verdict;

/// Seconds of which the charts know: as far back as the widest time scale looks.
const HISTORY_S: usize = 3600;

/// One moment of a process.
pub(crate) enum View {
    /// A generator, and the server that it reads.
    Load(Box<LoadView>),
    /// A server.
    Serve(Box<ServeView>),
}

/// Something that speaks against a PASS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    /// What the run would be if it ended so.
    pub(crate) verdict: Verdict,
    /// Why, in words and figures.
    pub(crate) text: String,
}

/// Percentiles of times in microseconds; what is not known, or rests on too few samples, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Percentiles {
    /// The median.
    pub(crate) p50: Option<f64>,
    /// 99 of 100 are at most this.
    pub(crate) p99: Option<f64>,
    /// 999 of 1,000 are at most this.
    pub(crate) p999: Option<f64>,
    /// The largest.
    pub(crate) max: Option<f64>,
}

/// The seconds so far, for charts: the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History(Vec<Second>);

/// One second of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Second {
    /// Connections at its end.
    pub(crate) connections: f64,
    /// Messages delivered in it.
    pub(crate) delivered: f64,
    /// The 99th percentile of their latency in microseconds; 0 where it is not known.
    pub(crate) p99_us: f64,
}

impl History {
    /// Adds a second; what is older than the charts look back is forgotten.
    pub(crate) fn push(&mut self, second: Second) {
        if self.0.len() == HISTORY_S {
            self.0.remove(0);
        }
        self.0.push(second);
    }

    /// The seconds, the newest last.
    pub(crate) fn seconds(&self) -> &[Second] {
        &self.0
    }
}

/// A generator at one moment. Rates are per second, over the last one; bytes and shares are as their names say.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadView {
    /// What the run is part of.
    pub(crate) heading: Option<String>,
    /// What is run: scenario, protocol, users, messages.
    pub(crate) title: String,
    /// The phase, as people call it.
    pub(crate) phase: String,
    /// Seconds of the phase that are over, and of all that it has; `None` for a phase whose length nobody knows.
    pub(crate) phase_s: Option<(f64, f64)>,
    /// Seconds since the first connect.
    pub(crate) elapsed_s: f64,
    /// Seconds until the last message is due, as far as the plan tells.
    pub(crate) left_s: Option<f64>,
    /// What speaks against a PASS so far.
    pub(crate) signs: Vec<Sign>,
    /// Users connected and logged in.
    pub(crate) connected: u64,
    /// Users of the plan.
    pub(crate) target: u64,
    /// Users let in per second.
    pub(crate) connect_rate: f64,
    /// Attempts to connect that failed.
    pub(crate) failed: u64,
    /// Connections that were lost.
    pub(crate) lost_connections: u64,
    /// Whether the plan has messages.
    pub(crate) has_messages: bool,
    /// Messages due per second.
    pub(crate) planned: u64,
    /// Messages written per second.
    pub(crate) sent: u64,
    /// Messages delivered per second.
    pub(crate) delivered: u64,
    /// Messages that are due and wait.
    pub(crate) waiting: u64,
    /// Planned to delivered, of the last second.
    pub(crate) last_second: Percentiles,
    /// The same, of the run so far.
    pub(crate) whole_run: Percentiles,
    /// Send lag, of the last second.
    pub(crate) lag_last_second: Percentiles,
    /// The same, of the run so far.
    pub(crate) lag_whole_run: Percentiles,
    /// Messages accepted and not there, repeated, out of order, changed, refused, without an outcome.
    pub(crate) trouble: Trouble,
    /// The server's CPU time per message in microseconds, over the last seconds.
    pub(crate) server_us_per_message: Option<f64>,
    /// That of both sides together.
    pub(crate) both_us_per_message: Option<f64>,
    /// Memory per connection: server, generator, and what the machine has less of, kernel included.
    pub(crate) bytes_per_connection: [Option<f64>; 3],
    /// The server's busiest core, 0 to 1.
    pub(crate) server_core: Option<f64>,
    /// The generator's.
    pub(crate) generator_core: Option<f64>,
    /// How the server's connections are spread: the fullest shard by the average.
    pub(crate) skew: Option<f64>,
    /// Memory that can still be had.
    pub(crate) available_bytes: Option<u64>,
    /// What is to be left of it.
    pub(crate) reserve_bytes: u64,
    /// What the reader should know, the newest last.
    pub(crate) notes: Vec<String>,
    /// The seconds so far.
    pub(crate) history: Arc<History>,
}

/// Messages that did not go as promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Accepted and not there.
    pub(crate) missing: u64,
    /// Came again.
    pub(crate) duplicated: u64,
    /// Came after a later one.
    pub(crate) reordered: u64,
    /// Came changed.
    pub(crate) corrupted: u64,
    /// Were declined.
    pub(crate) refused: u64,
    /// Have no known outcome.
    pub(crate) unknown: u64,
}

/// A server at one moment. Rates are per second, over the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServeView {
    /// Where it listens, and with which backend.
    pub(crate) title: String,
    /// Seconds since it listens.
    pub(crate) uptime_s: f64,
    /// Connections now.
    pub(crate) connections: u64,
    /// Of them logged in.
    pub(crate) logged_in: u64,
    /// Of them not yet.
    pub(crate) logging_in: u64,
    /// Connections accepted per second.
    pub(crate) connect_rate: f64,
    /// Messages received, delivered and accepted per second.
    pub(crate) messages: [f64; 3],
    /// Messages refused, and without a known outcome, in all.
    pub(crate) unanswered: [u64; 2],
    /// Each shard.
    pub(crate) shards: Vec<ShardView>,
    /// The fullest shard by the average.
    pub(crate) skew: Option<f64>,
    /// Times that accepting paused, that a shard took no more, that a mailbox was full, and connections closed for want of room.
    pub(crate) shortages: [u64; 4],
    /// CPU time per second, of all its threads.
    pub(crate) cpu: Option<f64>,
    /// The busiest core, 0 to 1.
    pub(crate) busiest_core: Option<f64>,
    /// Its memory, resident.
    pub(crate) resident_bytes: Option<u64>,
    /// What a connection has added to it.
    pub(crate) bytes_per_connection: Option<f64>,
    /// Memory that can still be had.
    pub(crate) available_bytes: Option<u64>,
    /// What is to be left of it.
    pub(crate) reserve_bytes: u64,
    /// What the reader should know, the newest last.
    pub(crate) notes: Vec<String>,
    /// The seconds so far.
    pub(crate) history: Arc<History>,
}

/// One shard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ShardView {
    /// Connections now.
    pub(crate) connections: u64,
    /// Messages delivered per second.
    pub(crate) delivered: f64,
    /// Share of a core that its thread takes.
    pub(crate) cpu: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_forgets_what_no_chart_shows() {
        let mut history = History::default();
        for nth in 0..HISTORY_S + 5 {
            history.push(Second { delivered: nth as f64, ..Second::default() });
        }
        assert_eq!(history.seconds().len(), HISTORY_S);
        assert_eq!(
            (history.seconds()[0].delivered, history.seconds()[HISTORY_S - 1].delivered),
            (5.0, 3604.0)
        );
    }
}
