//! Everything that was seen of a run, and the summary that it amounts to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use throng_loadgen::{Interval, Part, Phase, Progress};
use throng_reactor::sys;
use throng_report::schema::{Backend, Machine, STORM_COUNTERS, Server as ServerPart, Summary};
use throng_report::timeseries::Row;
use throng_tune::{Seen, Sockets, Target, Tuner, detect};

use super::Measured;
use super::guard::Guard;
use super::memory;
use super::samples::{Edge, Hold};
use super::server::{Look, Server};
use crate::args::ReportFlags;
use crate::lab::Told;
use crate::proc::counters::{self, Counters};
use crate::proc::peaks::Peaks;
use crate::proc::{cpu, host, machine, threads};
use crate::utc;

/// A run as it was seen.
pub(super) struct Record {
    /// The server's figures.
    pub(super) server: Server,
    /// What the reader should know.
    pub(super) warnings: Vec<String>,
    /// What is left of the machine's memory.
    pub(super) guard: Guard,
    /// While all connections were held.
    pub(super) hold: Option<Hold>,
    /// At the window's begin.
    pub(super) measure: Option<Edge>,
    /// At the window's end.
    pub(super) measured: Option<Edge>,
    /// One row per second.
    pub(super) rows: Vec<Row>,
    /// What `run` did before.
    pub(super) told: Option<Told>,
    before: Hold,
    /// Sockets on this machine for each connection.
    sockets: u64,
    uptime_s: Option<f64>,
    counters: Counters,
    peaks: Peaks,
    sysctls: BTreeMap<String, String>,
    network: String,
    last: Last,
}

/// What the last row of the time series ended with.
#[derive(Default)]
struct Last {
    planned: u64,
    sent: u64,
    accepted: u64,
    delivered: u64,
    server_cpu: Option<Duration>,
    generator_cpu: Duration,
}

/// What is to be said of those who change settings while a run lasts.
fn disturbing(tuners: &[Tuner]) -> Vec<String> {
    tuners.iter().filter(|tuner| tuner.disturbs_runs()).map(ToString::to_string).collect()
}

impl Record {
    /// Looks at everything before the first connection.
    pub(super) fn begin(server: Server, guard: Guard, targets: &[SocketAddr], sockets: u64) -> Record {
        let loopback = targets.iter().all(|target| target.ip().is_loopback());
        let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
        Record {
            before: Hold::sample(&server, 0),
            sockets,
            uptime_s: machine::uptime_s(),
            counters: counters::read(),
            peaks: Peaks::default(),
            sysctls: host::sysctls(),
            network: if loopback { "host loopback".to_owned() } else { names.join(",") },
            last: Last {
                server_cpu: server.cpu_ticks(),
                generator_cpu: sys::usage::process_cpu(),
                ..Last::default()
            },
            server,
            guard,
            warnings: disturbing(&throng_tune::other_tuners()),
            hold: None,
            measure: None,
            measured: None,
            rows: Vec::new(),
            told: None,
        }
    }

    /// Memory that is no file before the first connection: the server's and the generator's.
    pub(super) fn anonymous_before(&self) -> [Option<u64>; 2] {
        let server = self.server.memory_at_start().or(self.before.server);
        [server, self.before.generator].map(|memory| memory.and_then(|memory| memory.anonymous_bytes))
    }

    /// Looks at what the kernel holds.
    pub(super) fn look(&mut self, now: Instant) {
        self.peaks.look(now);
    }

    /// Adds the second that just ended.
    pub(super) fn row(&mut self, since_begin: Duration, progress: &Progress, interval: &Interval) {
        let (server_cpu, generator_cpu) = (self.server.cpu_ticks(), sys::usage::process_cpu());
        let times = &interval.planned_to_delivered;
        self.rows.push(Row {
            time_s: since_begin.as_secs_f64(),
            phase: phase_name(progress.phase).to_owned(),
            connections: progress.connected,
            planned: progress.planned - self.last.planned,
            sent: progress.sent - self.last.sent,
            accepted: progress.accepted - self.last.accepted,
            delivered: progress.delivered - self.last.delivered,
            p50_us: times.percentile_us(0.5),
            p99_us: times.percentile_us(0.99),
            max_us: times.max_us(),
            send_lag_p99_us: interval.send_lag.percentile_us(0.99),
            server_cpu_s: server_cpu
                .zip(self.last.server_cpu)
                .map(|(now, then)| now.saturating_sub(then).as_secs_f64()),
            generator_cpu_s: Some(generator_cpu.saturating_sub(self.last.generator_cpu).as_secs_f64()),
        });
        self.last = Last {
            planned: progress.planned,
            sent: progress.sent,
            accepted: progress.accepted,
            delivered: progress.delivered,
            server_cpu,
            generator_cpu,
        };
    }

    /// What the run amounts to, judged.
    pub(super) fn summary(&self, measured: &Measured<'_>, flags: &ReportFlags) -> Summary {
        let mut summary = Summary {
            throng_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_utc: utc::rfc3339(measured.started),
            label: flags.label.iter().cloned().collect(),
            warnings: self.warnings.clone(),
            validity: flags.validity(),
            host: host::read(self.network.clone()),
            ..Summary::default()
        };
        if let Some(told) = &self.told {
            told.fill(&mut summary.host);
        }
        measured.outcome.fill(&mut summary);
        let begins = measured.window().and_then(|(begins, _)| begins.duration_since(UNIX_EPOCH).ok());
        summary.messages.window.begins_unix_s = begins.map(|since| since.as_secs_f64());
        if summary.generator.cpus.is_empty() {
            summary.generator.cpus = measured.cpus.iter().map(|&core| core as u32).collect();
        }
        summary.incidents.server_died = self.server.died();
        summary.incidents.sysctls_changed = host::changes(&self.sysctls, &summary.host.sysctls);
        let hold = self.hold.as_ref();
        summary.warnings.extend(memory::warning(&self.before, hold, self.sockets));
        if self.server.died().is_none() {
            let has_baseline = self.server.memory_at_start().is_some();
            summary.warnings.extend(server_unread(&self.before, hold, has_baseline));
        }
        summary.memory = memory::report(&self.before, hold, &self.server, self.sockets, self.guard.seen());
        summary.generator.user_bytes_per_user = memory::user_bytes(summary.memory.generator.as_ref());
        let grown = counters::growth(&self.counters, &counters::read());
        summary.kernel = memory::kernel_part(&self.before, hold, &summary.memory.kernel, grown);
        summary.kernel.peaks = self.peaks.highest();
        summary.server = self.server_part(measured, &mut summary.warnings).map(|server| ServerPart {
            user_bytes_per_connection: memory::user_bytes(summary.memory.server.as_ref()),
            ..server
        });
        if let Some(tls) = &mut summary.tls {
            tls.resumption = measured.resumption;
            tls.bytes_per_session = hold
                .and_then(|hold| hold.tls)
                .filter(|&(sessions, _)| sessions > 0)
                .map(|(sessions, bytes)| bytes as f64 / sessions as f64);
            let cpu = hold.and_then(|hold| hold.server_cpu).zip(self.before.server_cpu);
            let cpu_s = cpu.map(|(held, before)| held.saturating_sub(before).as_secs_f64());
            let connected = hold.map_or(0, |hold| hold.connected);
            tls.handshakes_per_cpu_s =
                cpu_s.filter(|&cpu_s| cpu_s > 0.0).map(|cpu_s| connected as f64 / cpu_s);
        }
        if summary.storm.is_some() {
            // Of these a storm's reader wants to know that they stood still, too.
            for name in STORM_COUNTERS {
                summary.kernel.counters.entry(name.to_owned()).or_insert(0);
            }
        }
        summary.machine = self.machine(measured, &summary);
        if measured.plan.part != Part::WHOLE {
            forget_shares(&mut summary);
        }
        throng_report::judge(&mut summary, &flags.threshold);
        summary
    }

    /// Names the settings that held the run back.
    pub(super) fn detect(&self, summary: &mut Summary, wanted: &Target) {
        let machine = match throng_tune::Machine::read() {
            Ok(machine) => {
                let in_lab = summary.host.lab.as_ref().is_some_and(|lab| lab.made);
                throng_tune::Machine { in_lab, ..machine.with_settings(&summary.host.sysctls) }
            }
            Err(error) => return summary.warnings.push(format!("settings were not looked at: {error}")),
        };
        // Those of a server elsewhere are set by another machine.
        let server = summary.server.as_ref().filter(|_| wanted.server.is_some());
        let options = server.map(|server| &server.socket_options);
        let option = |name: &str| options?.get(name)?.split(' ').next()?.parse::<u64>().ok();
        let sockets = Sockets {
            backlog: option("listen backlog").unwrap_or(Sockets::default().backlog),
            defer_accept_s: Sockets::default().defer_accept_s,
            rcvbuf: option("SO_RCVBUF"),
            sndbuf: option("SO_SNDBUF"),
            user_timeout_ms: option("TCP_USER_TIMEOUT"),
        };
        let target = Target { sockets, ..*wanted };
        summary.detected = detect(&Seen { summary, target: &target, machine: &machine });
    }

    /// Both edges of the window, if the run got that far.
    fn edges(&self) -> Option<(&Edge, &Edge)> {
        self.measure.as_ref().zip(self.measured.as_ref())
    }

    fn server_part(&self, measured: &Measured<'_>, warnings: &mut Vec<String>) -> Option<ServerPart> {
        if !self.server.is_known() {
            return None;
        }
        let cpu_s = self.edges().and_then(|(begin, end)| {
            let (begin, end) = (begin.server.as_ref()?, end.server.as_ref()?);
            Some(end.cpu.saturating_sub(begin.cpu).as_secs_f64())
        });
        if cpu_s.is_none() && self.measured.is_some() && self.server.died().is_none() {
            warnings.push("the server's figures could not be read at the window's edges".to_owned());
        }
        // Idle users write after the hold that CPU time is taken of.
        let delivered = measured.outcome.messages.window.delivered;
        let per_cpu_s =
            cpu_s.filter(|&cpu_s| cpu_s > 0.0 && !measured.plan.kind.has_roll_call() && delivered > 0);
        let first = self.server.first();
        let last = self.server.cpu().and_then(|look| look.figures);
        Some(ServerPart {
            cpu_s,
            messages_per_cpu_s: per_cpu_s.map(|cpu_s| delivered as f64 / cpu_s),
            shards: first.map(|figures| figures.server.shards.len() as u64),
            connections_skew: self.hold.as_ref().and_then(|hold| hold.connections_skew),
            backend: first.map(|figures| Backend {
                requested: figures.backend_requested.clone(),
                active: figures.backend_active.clone(),
                reason: figures.backend_reason.clone(),
            }),
            busiest_core: self.edges().and_then(|(begin, end)| {
                busiest_core(begin.server.as_ref()?, end.server.as_ref()?, end.at.since(begin.at))
            }),
            defer_accept_s: first.and_then(|figures| figures.defer_accept_s),
            socket_options: first.map(|figures| figures.socket_options.clone()).unwrap_or_default(),
            cpus: first.map(|figures| figures.cpus.clone()).unwrap_or_default(),
            counters: first
                .zip(last)
                .map(|(first, last)| last.server.counters_since(&first.server))
                .unwrap_or_default(),
            ..ServerPart::default()
        })
    }

    fn machine(&self, measured: &Measured<'_>, summary: &Summary) -> Machine {
        let server = summary.server.as_ref();
        let server_cpus = server.filter(|_| self.server.is_here()).map(|server| &server.cpus);
        let delivered = measured.outcome.messages.window.delivered;
        let both = server.filter(|_| self.server.is_here()).and_then(|server| server.cpu_s);
        let both = both
            .zip(summary.generator.cpu_s)
            .filter(|_| !measured.plan.kind.has_roll_call() && delivered > 0);
        Machine {
            cpu_us_per_message: both.map(|(server, generator)| (server + generator) * 1e6 / delivered as f64),
            cores: cpu::cores().len() as u64,
            uptime_s: self.uptime_s,
            steal_share: self.edges().and_then(|(begin, end)| cpu::steal_share(&begin.cores, &end.cores)),
            cores_shared: server_cpus
                .filter(|cpus| !cpus.is_empty())
                .map(|cpus| cpus.iter().any(|core| summary.generator.cpus.contains(core))),
        }
    }
}

/// The server works for all parts of a plan, and one of them does not know what the others have of it: whatever would be shared out
/// over this part's messages and connections alone is not told. `throng report merge` knows all.
fn forget_shares(summary: &mut Summary) {
    summary.memory.server = None;
    summary.machine.cpu_us_per_message = None;
    if let Some(server) = &mut summary.server {
        server.user_bytes_per_connection = None;
        server.messages_per_cpu_s = None;
    }
    if let Some(tls) = &mut summary.tls {
        (tls.bytes_per_session, tls.handshakes_per_cpu_s) = (None, None);
    }
}

/// Why the server's memory is not told although its figures were asked for. A server that tells its baseline itself needs no look
/// before the first connection.
fn server_unread(before: &Hold, held: Option<&Hold>, has_baseline: bool) -> Option<String> {
    let before = before.server_unread.as_ref().filter(|_| !has_baseline);
    let before = before.map(|why| ("before the first connection", why));
    let held = held.and_then(|held| held.server_unread.as_ref());
    let held = held.map(|why| ("while all connections were held", why));
    before.or(held).map(|(when, why)| format!("the server's memory could not be read {when}: {why}"))
}

/// As the time series calls it.
fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connect",
        Phase::Warmup => "warmup",
        Phase::Measuring => "measure",
        Phase::Storming => "storm",
        Phase::RollCall => "rollcall",
        Phase::Draining => "drain",
        Phase::Leaving | Phase::Done => "leave",
    }
}

/// The busiest of the server's cores, 0 to 1, all shards on it together.
fn busiest_core(begin: &Look, end: &Look, wall: Duration) -> Option<f64> {
    let (begin, end) = (begin.figures.as_ref()?, end.figures.as_ref()?);
    let shards = begin.server.shards.iter().zip(&end.server.shards).enumerate();
    let worked = shards.map(|(shard, (then, now))| (shard, now.cpu_ns.saturating_sub(then.cpu_ns)));
    threads::busiest_core(end.cpus.len(), worked, wall)
}

#[cfg(test)]
mod tests {
    use throng_server::{Figures, ShardFigures};

    use super::*;
    use crate::admin::ServerFigures;

    #[test]
    fn the_report_knows_the_counters_of_the_server_by_the_names_that_it_gives_them() {
        let moved = ShardFigures::default().list().into_iter().map(|(name, _)| (name.to_owned(), 1));
        let server = ServerPart { counters: moved.collect(), ..ServerPart::default() };
        let mut summary = Summary { server: Some(server), ..Summary::default() };
        throng_report::judge(&mut summary, &[]);
        assert_eq!(summary.warnings.len(), 5, "{:?}", summary.warnings);
        let text = throng_report::text::render(&summary, false);
        let named = text.lines().filter(|line| line.contains(" +1   ")).count();
        assert_eq!(named, 20, "{text}");
    }

    #[test]
    fn a_servers_memory_that_could_not_be_read_is_told_with_the_reason() {
        let read = Hold::default();
        let unread = Hold { server_unread: Some("nobody there".to_owned()), ..Hold::default() };
        let told = |before, held, has_baseline| server_unread(before, held, has_baseline).unwrap_or_default();
        assert_eq!(told(&read, Some(&read), false), "");
        assert_eq!(told(&unread, Some(&read), true), "");
        let before = told(&unread, Some(&unread), false);
        assert!(before.ends_with("before the first connection: nobody there"), "{before}");
        let held = told(&unread, Some(&unread), true);
        assert!(held.ends_with("while all connections were held: nobody there"), "{held}");
    }

    #[test]
    fn shards_on_one_core_count_together() {
        let look = |cpu_ns: [u64; 3]| Look {
            cpu: Duration::ZERO,
            figures: Some(ServerFigures {
                cpus: vec![4, 5],
                server: Figures {
                    cpu_s: 0.0,
                    shards: cpu_ns.map(|cpu_ns| ShardFigures { cpu_ns, ..ShardFigures::default() }).to_vec(),
                },
                ..ServerFigures::default()
            }),
        };
        let busy = busiest_core(&look([0, 0, 0]), &look([300, 500, 300]), Duration::from_nanos(1000));
        assert_eq!(busy, Some(0.6), "shards 0 and 2 are on core 4");
    }
}
