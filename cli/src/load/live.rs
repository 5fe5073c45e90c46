//! A run at one moment, as others may read it while it lasts.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use throng_loadgen::{Interval, Progress};
use throng_reactor::sys::{affinity, inherit};

use super::scout::Seen;
use crate::admin;
use crate::args::LoadArgs;
use crate::exit::Failure;
use crate::metrics::{self, generator};

/// A run at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Now {
    /// What the users have done.
    pub(crate) progress: Progress,
    /// Users of the plan.
    pub(crate) target: u64,
    /// Times of the whole run so far.
    pub(crate) times: Arc<Interval>,
    /// CPU time of the generator's process.
    pub(crate) cpu: Duration,
    /// Memory that could be had at the last look.
    pub(crate) available_bytes: Option<u64>,
    /// What is to be left of it.
    pub(crate) reserve_bytes: u64,
    /// Both sides, at most a second old.
    pub(crate) seen: Arc<Seen>,
}

impl Now {
    /// Before the first connection of so many.
    pub(super) fn new(target: u64, reserve_bytes: u64) -> Now {
        Now {
            progress: Progress::START,
            target,
            times: Arc::default(),
            cpu: Duration::ZERO,
            available_bytes: None,
            reserve_bytes,
            seen: Arc::default(),
        }
    }
}

/// Where Prometheus finds the latest moment.
pub(super) struct Published(Arc<Mutex<Arc<Now>>>);

impl Published {
    /// Answers on the listener until the process ends.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn on(listener: TcpListener, now: Now) -> io::Result<Published> {
        let published = Arc::new(Mutex::new(Arc::new(now)));
        let read = Arc::clone(&published);
        metrics::listen(listener, move || {
            // The core is the generator's. Where a sandbox forbids it, a page costs what it costs.
            let _ = affinity::stand_back();
            let now = Arc::clone(&read.lock().unwrap_or_else(PoisonError::into_inner));
            generator::page(&now)
        })?;
        Ok(Published(published))
    }

    /// Shows this from now on, unless that would mean to wait.
    pub(super) fn put(&self, now: &Now) {
        if let Ok(mut published) = self.0.try_lock() {
            *published = Arc::new(now.clone());
        }
    }
}

/// The listener for Prometheus, if one is wanted: the parent's, or a new one.
pub(super) fn listener(args: &LoadArgs) -> Result<Option<TcpListener>, Failure> {
    let failed = |error: &dyn fmt::Display| Failure::usage(error.to_string());
    match (args.prometheus_fd, args.prometheus) {
        (Some(fd), _) => inherit::take_listener(fd)
            .map(Some)
            .map_err(|error| failed(&format!("--prometheus-fd {fd}: {error}"))),
        (None, Some(address)) => admin::bind(address, "Prometheus").map(Some).map_err(|error| failed(&error)),
        (None, None) => Ok(None),
    }
}
