//! What a server shows of itself: a screen on a terminal, and sentences on stderr.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use throng_server::{Server, ShardFigures};

use super::About;
use crate::admin::{Detail, ServerFigures};
use crate::args::ServeArgs;
use crate::proc::threads;
use crate::reserve::Reserve;
use crate::screen::view::{History, Second, ServeView, ShardView, View};
use crate::screen::{self, Screen};
use crate::signals::Stop;

/// From one look at the figures to the next: each reads a file per shard.
const EVERY: Duration = Duration::from_secs(1);

/// Connections from which on memory per connection says something.
const CONNECTIONS_MIN: u64 = 1_000;

/// Sentences that are kept.
const NOTES_MAX: usize = 20;

/// What a server shows.
pub(super) struct Face {
    screen: Option<Screen>,
    title: String,
    next: Instant,
    /// The last look, and when that was.
    last: Option<(Instant, ServerFigures)>,
    history: Arc<History>,
    notes: Vec<String>,
}

impl Face {
    /// A screen where there is a terminal, on the cores that are no shard's.
    pub(super) fn new(args: &ServeArgs, title: String, stops: &Sender<Stop>, spare: Vec<usize>) -> Face {
        let mut screen = None;
        if !args.no_tui && screen::is_possible() {
            match Screen::begin(stops, spare) {
                Ok(begun) => screen = Some(begun),
                Err(error) => eprintln!("throng: no screen: {error}"),
            }
        }
        Face { screen, title, next: Instant::now(), last: None, history: Arc::default(), notes: Vec::new() }
    }

    /// Whether it has taken the terminal.
    pub(super) fn has_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        let Some(screen) = &mut self.screen else { return eprintln!("{text}") };
        screen.say(text);
        if self.notes.len() == NOTES_MAX {
            self.notes.remove(0);
        }
        self.notes.push(text.to_owned());
    }

    /// Shows the moment, if there is a screen and it is time to.
    pub(super) fn look(&mut self, about: &About, server: &Server, reserve: &Reserve) {
        let now = Instant::now();
        if self.screen.is_none() || now < self.next {
            return;
        }
        self.next = now + EVERY;
        let told = about.figures(server, Detail::Brief);
        let then = self.last.replace((now, told.clone()));
        let mut view = view(&told, then.as_ref().map(|(at, then)| (now - *at, then)));
        if then.is_some() {
            Arc::make_mut(&mut self.history).push(Second {
                connections: view.connections as f64,
                delivered: view.messages[1],
                p99_us: 0.0,
            });
        }
        view.title.clone_from(&self.title);
        view.notes.clone_from(&self.notes);
        view.history = Arc::clone(&self.history);
        view.reserve_bytes = reserve.bytes();
        if let Some(screen) = &self.screen {
            screen.show(View::Serve(Box::new(view)));
        }
    }
}

/// What figures say, and what they say beside those of a moment before, which was so long ago.
fn view(now: &ServerFigures, before: Option<(Duration, &ServerFigures)>) -> ServeView {
    let total = now.server.total();
    let (lasted, then) = before.unwrap_or((Duration::ZERO, now));
    let seconds = lasted.as_secs_f64().max(1e-3);
    let then_total = then.server.total();
    let per_s = |of: fn(&ShardFigures) -> u64| of(&total).saturating_sub(of(&then_total)) as f64 / seconds;
    let pairs = || now.server.shards.iter().zip(&then.server.shards);
    let worked = pairs().map(|(now, then)| now.cpu_ns.saturating_sub(then.cpu_ns));
    let shard = |(now, then): (&ShardFigures, &ShardFigures)| ShardView {
        connections: now.connections,
        delivered: now.messages_delivered.saturating_sub(then.messages_delivered) as f64 / seconds,
        cpu: now.cpu_ns.saturating_sub(then.cpu_ns) as f64 / 1e9 / seconds,
    };
    ServeView {
        uptime_s: now.uptime_s,
        connections: total.connections,
        logged_in: total.logged_in,
        logging_in: total.logging_in,
        connect_rate: per_s(|figures| figures.connections_accepted),
        messages: [
            per_s(|figures| figures.messages_received),
            per_s(|figures| figures.messages_delivered),
            per_s(|figures| figures.messages_accepted),
        ],
        unanswered: [total.messages_refused, total.messages_unknown],
        shards: pairs().map(shard).collect(),
        skew: now.connections_skew,
        shortages: [
            total.accept_pauses,
            total.accept_left_group,
            total.mailbox_full,
            total.closed_no_room + total.closed_slow_reader,
        ],
        cpu: before.map(|_| (now.server.cpu_s - then.server.cpu_s).max(0.0) / seconds),
        busiest_core: before.and_then(|_| threads::busiest_core(now.cpus.len(), worked.enumerate(), lasted)),
        resident_bytes: now.memory.resident_bytes,
        bytes_per_connection: bytes_per_connection(now, total.connections),
        available_bytes: now.available_bytes,
        ..ServeView::default()
    }
}

/// What a connection has added to the memory that is no file.
fn bytes_per_connection(now: &ServerFigures, connections: u64) -> Option<f64> {
    let grown = now.memory.anonymous_bytes?.saturating_sub(now.memory_at_start.anonymous_bytes?);
    (connections >= CONNECTIONS_MIN).then(|| grown as f64 / connections as f64)
}

#[cfg(test)]
mod tests {
    use throng_report::schema::Footprint;
    use throng_server::Figures;

    use super::*;

    fn figures(delivered: u64, cpu_ns: u64, anonymous: u64) -> ServerFigures {
        let shard = ShardFigures {
            connections: 600,
            messages_delivered: delivered,
            cpu_ns,
            closed_no_room: 1,
            closed_slow_reader: 2,
            ..ShardFigures::default()
        };
        let memory = Footprint { anonymous_bytes: Some(anonymous), ..Footprint::default() };
        ServerFigures {
            cpus: vec![0],
            memory,
            memory_at_start: Footprint { anonymous_bytes: Some(80_000), ..Footprint::default() },
            server: Figures { cpu_s: cpu_ns as f64 * 2e-9, shards: vec![shard; 2] },
            ..ServerFigures::default()
        }
    }

    #[test]
    fn rates_are_taken_over_the_time_between_two_looks() {
        let (then, now) = (figures(100, 0, 0), figures(1_100, 400_000_000, 200_000));
        let view = view(&now, Some((Duration::from_secs(2), &then)));
        assert_eq!((view.connections, view.messages[1]), (1_200, 1_000.0));
        assert_eq!((view.cpu, view.busiest_core), (Some(0.4), Some(0.4)));
        assert_eq!(view.shards, [ShardView { connections: 600, delivered: 500.0, cpu: 0.2 }; 2]);
        assert_eq!((view.bytes_per_connection, view.shortages[3]), (Some(100.0), 6));
    }

    #[test]
    fn the_first_look_has_no_rates() {
        let view = view(&figures(100, 5, 0), None);
        assert_eq!((view.connections, view.messages[1], view.cpu), (1_200, 0.0, None));
    }
}
