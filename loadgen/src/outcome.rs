//! What a load found out, all workers together.

use std::collections::BTreeMap;

use throng_reactor::{Gauges, Nanos};
use throng_report::schema::{
    Backend, Connections, Generator, Heartbeats, Latencies, MessageWindow, Messages, PlanFacts,
};
use throng_report::{Histogram, Summary};

use crate::gate::EarlyEnd;
use crate::ledger::{Ledger, Missing};

/// The distributions of one worker, or of all.
#[derive(Clone, Debug, Default)]
pub struct Distributions {
    /// From the instant that the plan set to the delivery.
    pub planned_to_delivered: Histogram,
    /// From writing to delivery.
    pub written_to_delivered: Histogram,
    /// From the planned instant to the attempt. Empty in a closed loop, whose planned instant is the attempt.
    pub send_lag: Histogram,
    /// From a connection's planned instant to its being connected.
    pub connect: Histogram,
    /// From a connection's planned instant to its being logged in.
    pub login: Histogram,
}

impl Distributions {
    /// Adds what another worker measured.
    pub fn merge(&mut self, other: &Distributions) {
        self.planned_to_delivered.merge(&other.planned_to_delivered);
        self.written_to_delivered.merge(&other.written_to_delivered);
        self.send_lag.merge(&other.send_lag);
        self.connect.merge(&other.connect);
        self.login.merge(&other.login);
    }

    /// Values above what a histogram holds.
    pub fn clamped(&self) -> u64 {
        self.named().iter().map(|(_, histogram)| histogram.clamped()).sum()
    }

    /// Each under its name in the report, for `latency.hlog`.
    pub fn named(&self) -> [(&'static str, &Histogram); 5] {
        [
            ("planned_to_delivered", &self.planned_to_delivered),
            ("written_to_delivered", &self.written_to_delivered),
            ("send_lag", &self.send_lag),
            ("connect", &self.connect),
            ("login", &self.login),
        ]
    }
}

/// What became of connections, of one worker or of all.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts {
    /// Connected and logged in.
    pub established: u64,
    /// Attempts that did not get that far, by cause.
    pub failed_by_cause: BTreeMap<String, u64>,
    /// Established ones that ended unasked, by cause.
    pub lost_by_cause: BTreeMap<String, u64>,
    /// Established ones that the plan closed.
    pub closed_by_plan: u64,
    /// Of the failed: those that the server turned away by an answer.
    pub refused_by_server: u64,
    /// Of the failed: no source port was free.
    pub ports_exhausted: u64,
    /// Of the failed: no descriptor was free.
    pub descriptors_exhausted: u64,
    /// The first attempt.
    pub first_attempt: Option<Nanos>,
    /// The last that was established.
    pub last_established: Option<Nanos>,
}

impl ConnectionCounts {
    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failed_by_cause.values().sum()
    }

    /// Established ones that ended unasked.
    pub fn lost(&self) -> u64 {
        self.lost_by_cause.values().sum()
    }

    /// Whether everybody who tried was turned away or lost.
    fn are_all_gone(&self) -> bool {
        self.failed() + self.lost() > 0 && self.closed_by_plan == 0 && self.lost() == self.established
    }

    fn merge(&mut self, other: ConnectionCounts) {
        self.established += other.established;
        self.closed_by_plan += other.closed_by_plan;
        self.refused_by_server += other.refused_by_server;
        self.ports_exhausted += other.ports_exhausted;
        self.descriptors_exhausted += other.descriptors_exhausted;
        for (cause, count) in other.failed_by_cause {
            *self.failed_by_cause.entry(cause).or_default() += count;
        }
        for (cause, count) in other.lost_by_cause {
            *self.lost_by_cause.entry(cause).or_default() += count;
        }
        let earlier = [self.first_attempt, other.first_attempt].into_iter().flatten().min();
        self.first_attempt = earlier;
        self.last_established = self.last_established.max(other.last_established);
    }
}

/// What one worker brings home.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its connections.
    pub connections: ConnectionCounts,
    /// The most users that it had connected at once.
    pub peak: u64,
    /// Its messages.
    pub ledger: Ledger,
    /// Its times.
    pub times: Distributions,
    /// Its heartbeats.
    pub heartbeats: Heartbeats,
    /// Its reactor.
    pub gauges: Gauges,
    /// Its thread.
    pub thread: ThreadUse,
}

/// What a worker's thread used in the measured part.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadUse {
    /// The core that it was bound to.
    pub cpu: Option<usize>,
    /// CPU time in nanoseconds, user and system.
    pub cpu_ns: u64,
    /// Time in nanoseconds that it was ready and waited for a core.
    pub run_queue_ns: u64,
    /// How long the measured part was, in nanoseconds, as the thread saw it.
    pub wall_ns: u64,
}

/// What a load found out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was to be done.
    pub plan: PlanFacts,
    /// What became of the connections.
    pub connections: Connections,
    /// What became of the messages.
    pub messages: Messages,
    /// The distributions, whole: `latency_us` of the report and `latency.hlog` come from these.
    pub times: Distributions,
    /// Heartbeats over the whole run.
    pub heartbeats: Heartbeats,
    /// The generator itself. `user_bytes_per_user` is left to whoever reads /proc.
    pub generator: Generator,
    /// The first accepted messages that did not arrive, by name; with `trace_ids` only.
    pub missing: Vec<Missing>,
    /// Why the run ended before its plan did.
    pub early_end: Option<EarlyEnd>,
    /// Nobody was connected any more at the end.
    pub everybody_lost: bool,
    /// What does not add up in the generator's own account, in words: a mistake of its own. `None` is right.
    pub accounting_error: Option<String>,
    /// The reactors' gauges, summed.
    pub gauges: Gauges,
    /// When the measured part began and ended (CLOCK_MONOTONIC); `None` when it never did.
    pub measured: Option<(Nanos, Nanos)>,
}

/// What is known of the run beside the workers' records.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// How it talks to the kernel.
    pub backend: Option<Backend>,
    /// The plan's instants, if the traffic began.
    pub times: Option<crate::gate::Times>,
    /// Why it ended before its plan did.
    pub early_end: Option<EarlyEnd>,
    /// Whether ids of missing messages are wanted.
    pub trace_ids: bool,
}

impl Outcome {
    /// Puts the workers' records together.
    pub fn new(plan: &crate::Plan, run: Run, records: Vec<Record>) -> Outcome {
        let threads = records.len() as u64;
        let mut all = Record::default();
        let mut uses = Vec::new();
        for record in records {
            all.connections.merge(record.connections);
            all.peak += record.peak;
            all.ledger.merge(record.ledger);
            all.times.merge(&record.times);
            all.heartbeats.due += record.heartbeats.due;
            all.heartbeats.answered += record.heartbeats.answered;
            add_gauges(&mut all.gauges, &record.gauges);
            uses.push(record.thread);
        }
        let window =
            run.times.map_or(0.0, |times| times.window_ends.since(times.window_begins).as_secs_f64());
        let accounting_error = all.ledger.check().err();
        Outcome {
            plan: plan.facts(),
            connections: connections(plan, &all),
            messages: messages(&all.ledger, window),
            heartbeats: all.heartbeats,
            generator: generator(&all, threads, run.backend, &uses),
            missing: if run.trace_ids { all.ledger.missing } else { Vec::new() },
            early_end: run.early_end,
            everybody_lost: all.connections.are_all_gone(),
            accounting_error,
            gauges: all.gauges,
            measured: run.times.map(|times| (times.measure, times.measured)),
            times: all.times,
        }
    }

    /// The distributions as the report holds them.
    pub fn latencies(&self) -> Latencies {
        Latencies {
            planned_to_delivered: self.times.planned_to_delivered.summary(),
            written_to_delivered: self.times.written_to_delivered.summary(),
            send_lag: self.times.send_lag.summary(),
            connect: self.times.connect.summary(),
            login: self.times.login.summary(),
        }
    }

    /// Writes everything that the load knows into a summary.
    pub fn fill(&self, summary: &mut Summary) {
        summary.plan = self.plan.clone();
        summary.connections = self.connections.clone();
        summary.messages = self.messages.clone();
        summary.latency_us = self.latencies();
        summary.heartbeats = self.heartbeats;
        summary.generator = self.generator.clone();
        match &self.early_end {
            Some(EarlyEnd::Interrupted) => summary.incidents.interrupted = true,
            Some(EarlyEnd::MemoryGuard(why)) => summary.incidents.memory_guard = Some(why.clone()),
            Some(EarlyEnd::EverybodyLost) | None => {}
        }
        summary.incidents.accounting_error.clone_from(&self.accounting_error);
    }
}

fn add_gauges(all: &mut Gauges, one: &Gauges) {
    all.connections += one.connections;
    all.turns += one.turns;
    all.syscalls += one.syscalls;
    all.recv_starved += one.recv_starved;
    all.accept_pauses += one.accept_pauses;
    all.short_sends += one.short_sends;
    all.overflows += one.overflows;
}

fn connections(plan: &crate::Plan, all: &Record) -> Connections {
    let counts = &all.connections;
    let took = match (counts.first_attempt, counts.last_established) {
        (Some(first), Some(last)) if last > first => Some(last.since(first).as_secs_f64()),
        _ => None,
    };
    Connections {
        target: plan.connections,
        established: counts.established,
        failed: counts.failed(),
        lost: counts.lost(),
        closed_by_plan: counts.closed_by_plan,
        peak: all.peak,
        connect_rate_per_s: took.map(|seconds| counts.established as f64 / seconds),
        refused_by_server: counts.refused_by_server,
        failed_by_cause: counts.failed_by_cause.clone(),
        lost_by_cause: counts.lost_by_cause.clone(),
    }
}

fn messages(ledger: &Ledger, window_s: f64) -> Messages {
    let per_s = |count: u64| (window_s > 0.0).then(|| count as f64 / window_s);
    let window = &ledger.window;
    Messages {
        planned: ledger.planned,
        attempted: ledger.attempted,
        sent: ledger.sent.count,
        accepted: ledger.accepted.count,
        refused: ledger.refused.count,
        unknown: ledger.unknown.count,
        unknown_connection_died: ledger.unknown_connection_died,
        delivered: ledger.delivered.count,
        lost: ledger.lost,
        lost_is_lower_bound: false,
        duplicated: ledger.duplicated,
        repeated: 0,
        reordered: ledger.reordered,
        order_checked: "every user".to_owned(),
        corrupted: ledger.corrupted,
        unsent: ledger.unsent,
        strays: ledger.strays,
        rate_per_s: per_s(window.delivered),
        accepted_rate_per_s: per_s(window.accepted),
        window: MessageWindow { duration_s: window_s, ..window.clone() },
    }
}

fn generator(all: &Record, threads: u64, backend: Option<Backend>, uses: &[ThreadUse]) -> Generator {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let measured = uses.iter().any(|thread| thread.wall_ns > 0);
    let mut cores: BTreeMap<usize, f64> = BTreeMap::new();
    for thread in uses.iter().filter(|thread| thread.wall_ns > 0) {
        if let Some(cpu) = thread.cpu {
            *cores.entry(cpu).or_default() += thread.cpu_ns as f64 / thread.wall_ns as f64;
        }
    }
    Generator {
        engine: "kernel".to_owned(),
        backend,
        threads,
        cpu_s: measured.then(|| seconds(uses.iter().map(|thread| thread.cpu_ns).sum())),
        busiest_core: cores.values().copied().reduce(f64::max),
        run_queue_delay_s: measured.then(|| seconds(uses.iter().map(|thread| thread.run_queue_ns).sum())),
        user_bytes_per_user: None,
        cpus: uses
            .iter()
            .filter_map(|thread| thread.cpu)
            .map(|cpu| cpu as u32)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
        clamped: all.times.clamped(),
        ports_exhausted: all.connections.ports_exhausted,
        descriptors_exhausted: all.connections.descriptors_exhausted,
    }
}
