//! A server's threads: one per shard, each with its own core, table of descriptors, listener and reactor.
//!
//! The order at start matters. The main thread makes all wakers, since a descriptor made later is unknown in the
//! private tables of others. Each shard then takes its private table, which closes all that is not its own, and only then
//! makes its reactor and its listener.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use throng_reactor::limits::recv_buffers;
use throng_reactor::{Backend, Reactor, Waker, epoll::Epoll, sys, uring::Uring};

use throng_wire::tls::Setup;

use crate::config::Config;
use crate::figures::Figures;
use crate::limits::SHARDS_MAX;
use crate::mailbox::Mailboxes;
use crate::shard::{Progress, Shard, Shared};

/// A running server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

impl Server {
    /// Starts the shards; when this returns, all of them listen.
    ///
    /// # Errors
    /// What stands in the way: an address in use, a core that does not exist, no descriptors; with the shard's number.
    pub fn start(config: Config) -> io::Result<Server> {
        if config.shards == 0 || config.shards > SHARDS_MAX {
            let text = format!("{} shards: a server has between 1 and {SHARDS_MAX}", config.shards);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let wakers = (0..config.shards).map(|_| Waker::new()).collect::<io::Result<Vec<_>>>()?;
        // Holds the ports from here until every shard has its listener, so that port 0 is one port for all.
        if !config.listen_tls.is_empty() && config.tls.is_none() {
            let text = "a listener for TLS, and no certificate to meet its clients with";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let reserved = config
            .listen
            .iter()
            .chain(&config.listen_tls)
            .map(|&address| sys::socket::reserve(address))
            .collect::<io::Result<Vec<_>>>()?;
        let addresses: Vec<SocketAddr> = reserved.iter().map(|(_, address)| *address).collect();
        let shared = Shared::new(config, Mailboxes::new(wakers.iter().cloned()));
        let (ready, started) = channel();
        let server = Server { shared, addresses, threads: Mutex::default() };
        for me in 0..wakers.len() {
            let task = Task {
                me: me as u16,
                shared: Arc::clone(&server.shared),
                wakers: wakers.clone(),
                addresses: server.addresses.clone(),
                ready: ready.clone(),
            };
            match std::thread::Builder::new().name(format!("shard-{me}")).spawn(move || task.run()) {
                Ok(thread) => server.threads().push(thread),
                Err(error) => {
                    server.shared.fail();
                    let _ = server.join(); // the shards that did start have nothing to say
                    return Err(error);
                }
            }
        }
        drop(ready);
        let listening = started.iter().count();
        if listening < wakers.len() {
            server.shared.fail();
            let error = server.join().err();
            return Err(error.unwrap_or_else(|| io::Error::other("a shard ended before it listened")));
        }
        Ok(server)
    }

    /// The addresses that clients connect to, with the port that the kernel gave; those for TLS at the end.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How it is doing.
    pub fn figures(&self) -> Figures {
        Figures { cpu_s: sys::usage::process_cpu().as_secs_f64(), shards: self.shared.figures() }
    }

    /// Begins a graceful end: no new connections, what is on its way may arrive, then everybody is told goodbye.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// See [`Shared::renew`].
    pub fn renew(&self, setup: Setup) {
        self.shared.renew(setup);
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<io::Result<()>>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every shard has ended.
    pub fn is_finished(&self) -> bool {
        self.threads().iter().all(JoinHandle::is_finished)
    }

    /// Whether some shard has ended: without a drain that is a failure.
    pub fn has_ended_shards(&self) -> bool {
        self.threads().iter().any(JoinHandle::is_finished)
    }

    /// Waits for the end of the drain; a second call has nothing to wait for.
    ///
    /// # Errors
    /// What ended a shard, with its number.
    pub fn join(&self) -> io::Result<Figures> {
        let threads = std::mem::take(&mut *self.threads());
        for (me, thread) in threads.into_iter().enumerate() {
            let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            result.map_err(|error| io::Error::new(error.kind(), format!("shard {me}: {error}")))?;
        }
        Ok(self.figures())
    }
}

/// What a shard's thread starts with.
struct Task {
    me: u16,
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    addresses: Vec<SocketAddr>,
    ready: Sender<()>,
}

impl Task {
    fn run(self) -> io::Result<()> {
        let alarm = Alarm(Some(Arc::clone(&self.shared)));
        self.start()?;
        alarm.disarm();
        Ok(())
    }

    fn start(self) -> io::Result<()> {
        let config = &self.shared.config;
        sys::affinity::take_seat(&config.cpus, usize::from(self.me), config.shards)?;
        let kept: Vec<_> = self.wakers.iter().filter_map(Waker::descriptor).collect();
        sys::files::private_table(&kept)?;
        let waker = self.wakers[usize::from(self.me)].clone();
        let reactor = throng_reactor::Config {
            number: self.me,
            connections_max: config.connections_max,
            sockets: config.sockets,
            recv_buffers: recv_buffers(config.shards),
            ..Default::default()
        };
        match config.backend {
            Backend::Epoll => self.serve(Epoll::new(&reactor, waker)?),
            Backend::IoUring => self.serve(Uring::new(&reactor, waker)?),
        }
    }

    fn serve<R: Reactor>(self, mut reactor: R) -> io::Result<()> {
        for &address in &self.addresses {
            reactor.listen(address)?;
        }
        self.shared.published[usize::from(self.me)].adopt_thread();
        let mut shard = Shard::new(self.me, reactor, Arc::clone(&self.shared));
        // Nobody listens for this any more only when the start was given up.
        let _ = self.ready.send(());
        drop(self.ready);
        while shard.turn()? == Progress::Running {}
        Ok(())
    }
}

/// Ends the other shards when this one ends before its time, by an error or a panic.
struct Alarm(Option<Arc<Shared>>);

impl Alarm {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.fail();
        }
    }
}
