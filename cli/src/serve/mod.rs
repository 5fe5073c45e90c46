//! `throng serve`: the server until somebody asks for its end.

mod face;
mod renewal;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use throng_reactor::{Selected, SocketOptions, backend, sys};
use throng_report::schema::Footprint;
use throng_server::{Config, Server};
use throng_tune::Available;

use crate::admin::{self, Detail, ServerFigures};
use crate::args::ServeArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::metrics::{self, Families};
use crate::prepare;
use crate::proc::memory;
use crate::reserve::Reserve;
use crate::signals::{self, Answer, Calls, Stop};
use crate::tls::Certificate;

use face::Face;
use renewal::Renewal;

/// How often the main thread looks whether a shard ended by itself.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) fn serve(args: &ServeArgs) -> Outcome {
    let (stops, asked) = channel::<Stop>();
    signals::watch(&stops, args.until_stdin_closes)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let backend = backend::select(args.backend.backend).map_err(|error| Failure::broke(error.to_string()))?;
    let allowed = prepare::allowed_cores()?;
    let cpus = match &args.server.serve_cpus {
        Some(cores) => {
            // The admin thread, too, stays off the generator's cores.
            sys::affinity::pin(&cores.0).map_err(|error| Failure::usage(error.to_string()))?;
            cores.0.clone()
        }
        None => allowed.clone(),
    };
    let spare = allowed.into_iter().filter(|core| !cpus.contains(core)).collect();
    let mut reserve = Reserve::new(args.memory_reserve);
    let files = prepare::files_per_table()?;
    let shards =
        prepare::shards(args.connections, args.server.shards, cpus.len(), files, prepare::holder(&backend))?;
    let certificate = Certificate::new(&args.tls, &args.certificate)?;
    let tls = certificate.as_ref().map(Certificate::read).transpose()?;
    let config = Config { tls, ..config(args, &backend, cpus, shards) };
    let about = Arc::new(About::new(&backend, &config));
    let server = Arc::new(
        Server::start(config)
            .map_err(|error| Failure::broke(format!("the server did not start: {error}")))?,
    );
    let told = Told::listen(args, &about, &server)?;
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    let addresses = addresses.join(",");
    let Selected { active, reason, .. } = &backend;
    let line = format!("listening {addresses} {told} backend {active} shards {shards} ({reason})");
    let mut stdout = std::io::stdout().lock();
    // Whoever closed our stdout does not want to know; the server is there all the same.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    drop(stdout);

    let title = format!("throng serve  {addresses}  {active}, {shards} shards");
    let mut face = Face::new(args, title, &stops, spare);
    let mut calls = Calls::default();
    let mut renewal = Renewal::new(certificate, face.has_screen())?;
    calls.take(watch(&server, &about, &asked, &mut reserve, &mut face, &mut renewal)?);
    face.say("draining: what is on its way may arrive; a second signal ends at once");
    server.drain();
    while !server.is_finished() {
        face.look(&about, &server, &reserve);
        if asked.recv_timeout(LOOK).is_ok_and(|stop| calls.take(stop) == Answer::EndAtOnce) {
            face.say("ended at once");
            return Ok(Exit::Interrupted);
        }
    }
    server.join().map_err(|error| Failure::broke(format!("the drain broke: {error}")))?;
    Ok(Exit::Pass)
}

/// Looks after a server until somebody asks for its end.
fn watch(
    server: &Server,
    about: &About,
    asked: &Receiver<Stop>,
    reserve: &mut Reserve,
    face: &mut Face,
    renewal: &mut Renewal<'_>,
) -> Result<Stop, Failure> {
    loop {
        if let Some(said) = renewal.look(server) {
            face.say(&said);
        }
        if let Some(short) = reserve.runs_short(Instant::now()) {
            face.say(&format!("memory is short, and the server goes on accepting: {short}"));
        }
        face.look(about, server, reserve);
        match asked.recv_timeout(LOOK) {
            Ok(stop) => return Ok(stop),
            Err(RecvTimeoutError::Timeout) if server.has_ended_shards() => {
                return Err(Failure::broke("a shard ended by itself; its message stands above"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::broke("nobody watches for signals any more"));
            }
        }
    }
}

/// Where the server tells its figures.
struct Told {
    admin: Option<SocketAddr>,
    prometheus: Option<SocketAddr>,
}

impl Told {
    /// Answers on the addresses that were asked for.
    fn listen(args: &ServeArgs, about: &Arc<About>, server: &Arc<Server>) -> Result<Told, Failure> {
        let broke = |error: io::Error| Failure::broke(error.to_string());
        let bind = |address: Option<SocketAddr>, what: &str| {
            let listener = address.map(|address| admin::bind(address, what)).transpose();
            let listener = listener.map_err(broke)?;
            let local = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(broke)?;
            Ok::<_, Failure>((listener, local))
        };
        let (listener, admin) = bind(args.admin, "admin")?;
        if let Some(listener) = listener {
            let (about, server) = (Arc::clone(about), Arc::clone(server));
            admin::listen(listener, move |detail| about.figures(&server, detail)).map_err(broke)?;
        }
        let (listener, prometheus) = bind(args.prometheus, "Prometheus")?;
        if let Some(listener) = listener {
            let (about, server) = (Arc::clone(about), Arc::clone(server));
            metrics::listen(listener, move || {
                let told = about.figures(&server, Detail::Brief);
                let mut page = Families::default();
                metrics::build_info(&mut page, &[("server", &told.throng_version)]);
                metrics::server::add(&mut page, &told);
                page
            })
            .map_err(broke)?;
        }
        Ok(Told { admin, prometheus })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.admin {
            Some(address) => write!(f, "admin {address}")?,
            None => f.write_str("admin off")?,
        }
        self.prometheus.map_or(Ok(()), |address| write!(f, " prometheus {address}"))
    }
}

fn config(args: &ServeArgs, backend: &Selected, cpus: Vec<usize>, shards: usize) -> Config {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let default = Config::default();
    let (listen, listen_tls) = match args.tls.tls {
        true => (args.listen_plain.clone(), args.listen.clone()),
        false => (args.listen.clone(), Vec::new()),
    };
    Config {
        listen,
        listen_tls,
        backend: backend.active,
        shards,
        cpus,
        sockets: args.server.sockets(default.sockets),
        login_timeout: args.login_timeout.unwrap_or(default.login_timeout),
        idle_timeout: args.idle_timeout.unwrap_or(default.idle_timeout),
        delay_per_turn: args.server.delay_per_turn.unwrap_or_default(),
        work_per_message: args.server.work_per_message.unwrap_or_default(),
        // Unknown to clients, and different at every start.
        seed: (now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(48),
        // Seconds since 1970 grow from one start to the next, until 2106, unless two starts fall into one second.
        epoch: now.as_secs() as u32,
        ..default
    }
}

/// What its sockets are set to besides what they always are, by the names of the options.
fn socket_options(options: &SocketOptions) -> BTreeMap<String, String> {
    let bytes = |bytes: Option<u32>| bytes.map(|bytes| bytes.to_string());
    let backlog = (options.backlog != SocketOptions::default().backlog).then(|| options.backlog.to_string());
    let all = [
        ("listen backlog", backlog),
        ("SO_RCVBUF", bytes(options.recv_buffer_bytes)),
        ("SO_SNDBUF", bytes(options.send_buffer_bytes)),
        ("TCP_NOTSENT_LOWAT", bytes(options.notsent_lowat_bytes)),
        ("TCP_USER_TIMEOUT", options.user_timeout.map(|time| format!("{} ms", time.as_millis()))),
        ("SO_BUSY_POLL", options.busy_poll.map(|time| format!("{} us", time.as_micros()))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What the admin socket tells besides the server's own figures.
struct About {
    backend: Selected,
    cpus: Vec<u32>,
    sockets: SocketOptions,
    begun: Instant,
    memory_at_start: Footprint,
    available: Available,
}

impl About {
    /// Looks at the memory before the server takes any.
    fn new(backend: &Selected, config: &Config) -> About {
        About {
            backend: backend.clone(),
            cpus: config.cpus.iter().map(|&core| core as u32).collect(),
            sockets: config.sockets,
            begun: Instant::now(),
            memory_at_start: memory::footprint("self").unwrap_or_default(),
            available: Available::of_this_process(),
        }
    }

    fn figures(&self, server: &Server, detail: Detail) -> ServerFigures {
        let figures = server.figures();
        let memory = match detail {
            Detail::Whole => memory::footprint("self"),
            Detail::Brief => memory::brief("self"),
        };
        ServerFigures {
            throng_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.begun.elapsed().as_secs_f64(),
            memory: memory.unwrap_or_default(),
            memory_at_start: self.memory_at_start,
            available_bytes: self.available.bytes(),
            backend_requested: self.backend.requested.to_string(),
            backend_active: self.backend.active.to_string(),
            backend_reason: self.backend.reason.clone(),
            defer_accept_s: Some(self.sockets.defer_accept.as_secs_f64()),
            socket_options: socket_options(&self.sockets),
            cpus: self.cpus.clone(),
            connections_skew: figures.connections_skew(),
            server: figures,
        }
    }
}
