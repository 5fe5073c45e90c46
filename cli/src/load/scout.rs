//! Looks at both sides once a second, for whoever watches a run. On a thread of its own, because a server that is slow to
//! answer must not hold up the samples that the report is made of; and one that stands back, because the cores are the
//! generator's.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use throng_reactor::sys::affinity;
use throng_report::schema::Footprint;

use super::server::Brief;
use crate::admin::ServerFigures;
use crate::proc::{memory, threads};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What the generator's threads are called.
const WORKERS: &str = "load";

/// What was seen at the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whether somebody wants the server's figures.
    pub(crate) asked: bool,
    /// They, with its memory in brief; `None` when they could not be read. Of a server that is not a Throng its CPU time and
    /// memory alone.
    pub(crate) server: Option<ServerFigures>,
    /// Why they could not.
    pub(crate) unread: Option<String>,
    /// The busiest of the server's cores since the look before, 0 to 1.
    pub(crate) server_core: Option<f64>,
    /// The generator's memory, in brief.
    pub(crate) generator_memory: Option<Footprint>,
    /// The busiest of the generator's cores since the look before, 0 to 1.
    pub(crate) generator_core: Option<f64>,
}

/// The last look.
pub(super) struct Scout(Arc<Mutex<Arc<Seen>>>);

impl Scout {
    /// Begins to look; `cores` are those that the generator's threads are bound to. It ends when this value is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(server: Brief, cores: usize) -> io::Result<Scout> {
        let scout = Scout(Arc::default());
        let seen = Arc::downgrade(&scout.0);
        thread::Builder::new().name("scout".to_owned()).spawn(move || {
            // Where a sandbox forbids it, it costs what it costs.
            let _ = affinity::stand_back();
            look(&seen, &server, cores);
        })?;
        Ok(scout)
    }

    /// Brings the caller's copy up to date, unless that would mean to wait.
    pub(super) fn update(&self, last: &mut Arc<Seen>) {
        if let Ok(seen) = self.0.try_lock() {
            last.clone_from(&seen);
        }
    }
}

fn look(seen: &Weak<Mutex<Arc<Seen>>>, server: &Brief, cores: usize) {
    let mut last = (Instant::now(), threads::cpu_ns(WORKERS), None::<ServerFigures>);
    while let Some(seen) = seen.upgrade() {
        let (at, workers) = (Instant::now(), threads::cpu_ns(WORKERS));
        let told = server.look();
        let (unread, told) = match told {
            Some(Ok(told)) => (None, Some(told)),
            Some(Err(why)) => (Some(why), None),
            None => (None, None),
        };
        let since = |&number: &usize| last.1.get(&number).copied().unwrap_or(0);
        let worked = workers.iter().map(|(number, now)| (*number, now.saturating_sub(since(number))));
        let new = Seen {
            asked: server.is_asked(),
            server_core: last.2.as_ref().zip(told.as_ref()).and_then(|(then, now)| server_core(then, now)),
            server: told.clone(),
            unread,
            generator_memory: memory::brief("self"),
            generator_core: threads::busiest_core(cores, worked, at - last.0),
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        drop(seen);
        last = (at, workers, told);
        thread::sleep(EVERY);
    }
}

/// The busiest of a server's cores between two looks, by its own clock.
fn server_core(then: &ServerFigures, now: &ServerFigures) -> Option<f64> {
    let wall = Duration::try_from_secs_f64(now.uptime_s - then.uptime_s).ok()?;
    let shards = then.server.shards.iter().zip(&now.server.shards).enumerate();
    let worked = shards.map(|(shard, (then, now))| (shard, now.cpu_ns.saturating_sub(then.cpu_ns)));
    threads::busiest_core(now.cpus.len(), worked, wall)
}

#[cfg(test)]
mod tests {
    use throng_server::{Figures, ShardFigures};

    use super::*;

    #[test]
    fn a_server_is_as_busy_as_its_busiest_core_by_its_own_clock() {
        let at = |uptime_s, cpu_ns: [u64; 3]| ServerFigures {
            uptime_s,
            cpus: vec![4, 5],
            server: Figures {
                cpu_s: 0.0,
                shards: cpu_ns.map(|cpu_ns| ShardFigures { cpu_ns, ..ShardFigures::default() }).to_vec(),
            },
            ..ServerFigures::default()
        };
        let (then, now) = (at(1.0, [0; 3]), at(3.0, [500_000_000, 900_000_000, 500_000_000]));
        assert_eq!(server_core(&then, &now), Some(0.5));
        assert_eq!(server_core(&now, &then), None, "another server");
    }

    #[test]
    fn a_scout_that_nobody_listens_to_ends() {
        let scout = Scout::start(Brief::nothing(), 1).unwrap();
        let mut seen = Arc::default();
        let looked = (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            scout.update(&mut seen);
            seen.generator_memory.is_some()
        });
        assert!(looked && !seen.asked);
        let weak = Arc::downgrade(&scout.0);
        drop(scout);
        assert!((0..2000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            weak.upgrade().is_none()
        }));
    }
}
