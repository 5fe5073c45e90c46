//! How large a run is on this machine: threads, tables, addresses, and what all of it takes.

use std::net::SocketAddr;

use throng_loadgen::{Engine, Plan, Sources};
use throng_reactor::{Selected, backend};
use throng_tune::{Machine, Sockets, Target};

use crate::args::{LocalFlags, ServerFlags};
use crate::exit::Failure;
use crate::prepare::{self, Split};

/// Everything that is settled before anything starts.
pub(crate) struct Sized {
    pub(crate) plan: Plan,
    pub(crate) backend: Selected,
    pub(crate) split: Split,
    pub(crate) shards: usize,
    pub(crate) threads: usize,
    pub(crate) engine: Engine,
    pub(crate) sources: Sources,
    pub(crate) target: Target,
    /// What the machine allows, in the lab where there is one.
    pub(crate) machine: Machine,
}

impl Sized {
    /// Settles it for a server and its users here; `outside` is the machine as it is seen outside of the lab, where
    /// this process is `in_lab`.
    ///
    /// # Errors
    /// Flags that do not go together, or a plan that no number of threads holds.
    pub(crate) fn new(
        plan: Plan,
        local: &LocalFlags,
        outside: &Machine,
        in_lab: bool,
    ) -> Result<Sized, Failure> {
        let machine = Machine { in_lab, ..prepare::machine()?.with_settings_of(outside) };
        let backend =
            backend::select(local.backend.backend).map_err(|error| Failure::broke(error.to_string()))?;
        let allowed = prepare::allowed_cores()?;
        let split =
            Split::new(&allowed, local.server.serve_cpus.as_ref(), local.generator.load_cpus.as_ref());
        let files = prepare::files_per_table()?;
        let holder = prepare::holder(&backend);
        let shards =
            prepare::shards(plan.connections, local.server.shards, split.serve.0.len(), files, holder)?;
        let users = prepare::generator_holder(&local.generator, &backend);
        let threads = prepare::threads(&plan, local.generator.threads, split.load.0.len(), files, users)?;
        let engine = prepare::engine(&local.generator, local.backend.backend, &plan, threads)?;
        // Which port the server will have does not matter to the addresses.
        let server: SocketAddr = ([127, 0, 0, 1], 1).into();
        let sources = prepare::sources(&[server], &plan, &engine, local.generator.source_ip)?;
        let target = Target {
            sockets: sockets(&local.server),
            tls: local.tls.tls,
            ..prepare::target(&plan, Some((shards, holder)), (threads, users), &sources)
        };
        Ok(Sized { plan, backend, split, shards, threads, engine, sources, target, machine })
    }
}

const _: () = assert!(
    throng_tune::limits::TLS_BYTES_PER_END as usize >= size_of::<throng_wire::tls::Tls>() + 8,
    "a plan counts what a connection with TLS takes"
);

/// What the server asks of its sockets.
fn sockets(flags: &ServerFlags) -> Sockets {
    let options = flags.sockets(throng_server::Config::default().sockets);
    Sockets {
        backlog: u64::from(options.backlog),
        defer_accept_s: options.defer_accept.as_secs(),
        rcvbuf: options.recv_buffer_bytes.map(u64::from),
        sndbuf: options.send_buffer_bytes.map(u64::from),
        user_timeout_ms: options.user_timeout.map(|time| time.as_millis() as u64),
    }
}
