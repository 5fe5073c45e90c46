//! Whoever watches a run while it lasts: a screen or lines on the terminal, and Prometheus.
//!
//! The thread that samples tells it what it has at hand anyway, and never waits for it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use throng_loadgen::{Interval, Plan, Progress};
use throng_reactor::sys;

use super::live::{Now, Published};
use super::progress::Display;
use super::record::Record;
use super::scout::Scout;
use super::viewer::Viewer;
use crate::args::LoadArgs;
use crate::exit::Failure;
use crate::screen::view::View;
use crate::screen::{self, Screen};
use crate::signals::Stop;

/// From one moment that is shown to the next.
const EVERY: Duration = Duration::from_millis(250);

/// Which cores there are for what.
pub(super) struct Cores<'a> {
    /// Those of the generator's threads.
    pub(super) generator: &'a [usize],
    /// Those of neither side.
    pub(super) spare: Vec<usize>,
}

/// On the terminal.
enum Face {
    Lines(Display),
    Screen(Screen),
}

/// Whoever watches.
pub(super) struct Audience {
    face: Face,
    published: Option<Published>,
    /// Looks for the others; nobody looks for lines.
    scout: Option<Scout>,
    viewer: Viewer,
    now: Now,
    next: Instant,
}

impl Audience {
    /// Takes the terminal, and answers Prometheus on the listener.
    ///
    /// # Errors
    /// A thread cannot be started. A terminal that cannot be had is none: then there are lines.
    pub(super) fn begin(
        args: &LoadArgs,
        plan: &Plan,
        record: &Record,
        cores: Cores<'_>,
        listener: Option<TcpListener>,
        stops: &Sender<Stop>,
    ) -> Result<Audience, Failure> {
        let broke = |what: &str, error: std::io::Error| Failure::broke(format!("{what}: {error}"));
        let (available_bytes, reserve_bytes) = record.guard.left();
        let now = Now { available_bytes, ..Now::new(plan.users(), reserve_bytes) };
        let mut face = Face::Lines(Display::new(args.report.quiet, plan));
        if screen::is_wanted(&args.report) {
            match Screen::begin(stops, cores.spare) {
                Ok(screen) => face = Face::Screen(screen),
                Err(error) => eprintln!("throng: no screen, lines instead: {error}"),
            }
        }
        let published = listener
            .map(|listener| Published::on(listener, now.clone()))
            .transpose()
            .map_err(|error| broke("cannot answer Prometheus", error))?;
        let is_watched = published.is_some() || matches!(face, Face::Screen(_));
        let scout = is_watched
            .then(|| Scout::start(record.server.brief(), cores.generator.len()))
            .transpose()
            .map_err(|error| broke("cannot look at the server meanwhile", error))?;
        let viewer = Viewer::new(plan, record, &args.report);
        Ok(Audience { face, published, scout, viewer, now, next: Instant::now() })
    }

    /// Shows the moment, if it is time to.
    pub(super) fn look(&mut self, progress: &Progress, since_begin: Duration, record: &Record) {
        let Some(scout) = self.scout.as_ref().filter(|_| Instant::now() >= self.next) else { return };
        self.next = Instant::now() + EVERY;
        scout.update(&mut self.now.seen);
        (self.now.available_bytes, self.now.reserve_bytes) = record.guard.left();
        self.now.progress = *progress;
        self.now.cpu = sys::usage::process_cpu();
        if let Some(published) = &self.published {
            published.put(&self.now);
        }
        if let Face::Screen(screen) = &self.face {
            screen.show(View::Load(Box::new(self.viewer.view(&self.now, since_begin))));
        }
    }

    /// Takes the second that just ended: the record's last row, and what was measured in it.
    pub(super) fn second(
        &mut self,
        progress: &Progress,
        since_begin: Duration,
        record: &Record,
        interval: &Interval,
    ) {
        if let Face::Lines(display) = &mut self.face {
            display.show(progress, since_begin, record.rows.last());
        }
        if self.scout.is_some() {
            Arc::make_mut(&mut self.now.times).merge(interval);
            self.viewer.second(progress, since_begin, record, interval, &self.now.seen);
        }
    }

    /// Says something that stays. `against` a PASS speaks what ends a run early, in a few words.
    pub(super) fn say(&mut self, text: &str, against: &str) {
        self.viewer.say(text, against);
        match &mut self.face {
            Face::Lines(display) => display.say(text),
            Face::Screen(screen) => screen.say(text),
        }
    }

    /// Gives the terminal back.
    pub(super) fn end(&mut self) {
        match &mut self.face {
            Face::Lines(display) => display.end(),
            Face::Screen(screen) => screen.end(),
        }
    }
}
