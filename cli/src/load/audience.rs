//! Whoever watches a run while it lasts: lines on stderr, and Prometheus.
//!
//! The thread that samples tells it what it has at hand anyway, and never waits for it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_loadgen::{Interval, Plan, Progress};
use throng_reactor::sys;
use throng_report::timeseries::Row;

use super::live::{Now, Published};
use super::progress::Display;
use super::record::Record;
use super::scout::Scout;
use crate::args::LoadArgs;
use crate::exit::Failure;

/// From one moment that is shown to the next.
const EVERY: Duration = Duration::from_millis(250);

/// Whoever watches.
pub(super) struct Audience {
    display: Display,
    published: Option<Published>,
    /// Looks for the others; nobody looks for lines.
    scout: Option<Scout>,
    now: Now,
    next: Instant,
}

impl Audience {
    /// Answers Prometheus on the listener; `cores` are those of the generator's threads.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn begin(
        args: &LoadArgs,
        plan: &Plan,
        record: &Record,
        cores: usize,
        listener: Option<TcpListener>,
    ) -> Result<Audience, Failure> {
        let broke = |what: &str, error: std::io::Error| Failure::broke(format!("{what}: {error}"));
        let (available_bytes, reserve_bytes) = record.guard.left();
        let now = Now { available_bytes, ..Now::new(plan.connections, reserve_bytes) };
        let published = listener
            .map(|listener| Published::on(listener, now.clone()))
            .transpose()
            .map_err(|error| broke("cannot answer Prometheus", error))?;
        let scout = published
            .as_ref()
            .map(|_| Scout::start(record.server.brief(), cores))
            .transpose()
            .map_err(|error| broke("cannot look at the server meanwhile", error))?;
        let display = Display::new(args.report.quiet, plan);
        Ok(Audience { display, published, scout, now, next: Instant::now() })
    }

    /// Shows the moment, if it is time to.
    pub(super) fn look(&mut self, progress: &Progress, record: &Record) {
        let Some(scout) = self.scout.as_ref().filter(|_| Instant::now() >= self.next) else { return };
        self.next = Instant::now() + EVERY;
        scout.update(&mut self.now.seen);
        (self.now.available_bytes, self.now.reserve_bytes) = record.guard.left();
        self.now.progress = *progress;
        self.now.cpu = sys::usage::process_cpu();
        if let Some(published) = &self.published {
            published.put(&self.now);
        }
    }

    /// Takes the second that just ended, its row, and what was measured in it.
    pub(super) fn second(
        &mut self,
        progress: &Progress,
        since_begin: Duration,
        row: Option<&Row>,
        interval: &Interval,
    ) {
        self.display.show(progress, since_begin, row);
        if self.scout.is_some() {
            Arc::make_mut(&mut self.now.times).merge(interval);
        }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.display.say(text);
    }

    /// Makes room for what follows.
    pub(super) fn end(&mut self) {
        self.display.end();
    }
}
