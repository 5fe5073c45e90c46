//! Looks at one moment: everything that is compared between two of them.

use std::collections::BTreeMap;
use std::time::Duration;

use throng_reactor::{Nanos, sys};
use throng_report::schema::Footprint;

use super::server::{Look, Server};
use crate::proc::cpu::{self, CoreTicks};
use crate::proc::slab::Slabs;
use crate::proc::{machine, memory};

/// Before the first connection, or while all are held: what connections occupy.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    /// Users connected at that moment.
    pub(super) connected: u64,
    /// The generator's memory.
    pub(super) generator: Option<Footprint>,
    /// The server's memory.
    pub(super) server: Option<Footprint>,
    /// Why that could not be read.
    pub(super) server_unread: Option<String>,
    /// How its connections are spread over its shards: the fullest by the average.
    pub(super) connections_skew: Option<f64>,
    /// Its sessions with TLS, and the bytes of their tables.
    pub(super) tls: Option<(u64, u64)>,
    /// Its CPU time.
    pub(super) server_cpu: Option<Duration>,
    /// The kernel's slab caches.
    pub(super) slabs: Option<Slabs>,
    /// The kernel's memory outside them, by the schema's names.
    pub(super) kernel: BTreeMap<String, i64>,
}

impl Hold {
    /// Looks now.
    pub(super) fn sample(server: &Server, connected: u64) -> Hold {
        let generator = memory::footprint("self");
        let (occupied, server_unread) = match server.occupied() {
            Ok(occupied) => (occupied, None),
            Err(why) => (None, Some(why)),
        };
        // The two that are compared with each other in one go.
        let slabs = Slabs::read();
        let kernel = machine::kernel(slabs.as_ref().map(Slabs::bytes));
        Hold {
            connected,
            generator,
            server: occupied.map(|occupied| occupied.memory),
            server_unread,
            connections_skew: occupied.and_then(|occupied| occupied.connections_skew),
            tls: occupied.and_then(|occupied| occupied.tls),
            server_cpu: occupied.and_then(|occupied| occupied.cpu),
            slabs,
            kernel,
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
