//! Looks at one moment: everything that is compared between two of them.

use std::collections::BTreeMap;

use throng_reactor::{Nanos, sys};

use super::server::{Look, Server};
use crate::proc::counters::{self, Counters};
use crate::proc::cpu::{self, CoreTicks};
use crate::proc::process::{self, Memory};

/// Before the first connection, or while all are held: what connections occupy.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    /// Users connected at that moment.
    pub(super) connected: u64,
    /// The generator's memory.
    pub(super) generator: Option<Memory>,
    /// The server's memory.
    pub(super) server: Option<Memory>,
    /// The kernel's slab caches.
    pub(super) slabs: Option<Counters>,
}

impl Hold {
    /// Looks now.
    pub(super) fn sample(server: &Server, connected: u64) -> Hold {
        Hold {
            connected,
            generator: process::memory("self"),
            server: server.memory(),
            slabs: counters::slabs(),
        }
    }
}

/// The beginning or the end of the window: what time is spent on.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    /// When.
    pub(super) at: Nanos,
    /// The server's CPU time, and what else it tells.
    pub(super) server: Option<Look>,
    /// Every core.
    pub(super) cores: BTreeMap<usize, CoreTicks>,
}

impl Edge {
    /// Looks now.
    pub(super) fn sample(server: &Server) -> Edge {
        Edge { at: sys::clock::now(), server: server.cpu(), cores: cpu::cores() }
    }
}
