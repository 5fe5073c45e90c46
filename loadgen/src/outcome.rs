//! What a load found out, all workers together.

use std::collections::{BTreeMap, BTreeSet};

use throng_reactor::{Gauges, Nanos};
use throng_report::schema::{
    Backend, Connections, Generator, Heartbeats, Latencies, MessageWindow, Messages, PlanFacts, Storm, Tls,
};
use throng_report::{Histogram, Summary};

use crate::gate::{EarlyEnd, Times};
use crate::ledger::{Ledger, Missing};
use crate::limits::SHARE_WINDOW_MIN;
use crate::scenario::Kind;

/// The distributions of one worker, or of all.
#[derive(Clone, Debug, Default)]
pub struct Distributions {
    /// From the instant that the plan set to the delivery.
    pub planned_to_delivered: Histogram,
    /// From writing to delivery.
    pub written_to_delivered: Histogram,
    /// From the planned instant to the attempt. Empty in a closed loop, whose planned instant is the attempt.
    pub send_lag: Histogram,
    /// Of the first connections of all users.
    pub ramp: ConnectTimes,
    /// Of those made again in a storm.
    pub storm: ConnectTimes,
}

/// How long connecting took.
#[derive(Clone, Debug, Default)]
pub struct ConnectTimes {
    /// From the planned instant of an attempt to its beginning. Time in which as many connections as allowed were under way does
    /// not count: the server was slow to let them in.
    pub lag: Histogram,
    /// From the planned instant of a user's first attempt to its being connected.
    pub connect: Histogram,
    /// From the planned instant of a user's first attempt to the end of its handshake. Empty without TLS.
    pub handshake: Histogram,
    /// From the planned instant of a user's first attempt to its being logged in.
    pub login: Histogram,
}

impl ConnectTimes {
    fn merge(&mut self, other: &ConnectTimes) {
        self.lag.merge(&other.lag);
        self.connect.merge(&other.connect);
        self.handshake.merge(&other.handshake);
        self.login.merge(&other.login);
    }
}

impl Distributions {
    /// Adds what another worker measured.
    pub fn merge(&mut self, other: &Distributions) {
        self.planned_to_delivered.merge(&other.planned_to_delivered);
        self.written_to_delivered.merge(&other.written_to_delivered);
        self.send_lag.merge(&other.send_lag);
        self.ramp.merge(&other.ramp);
        self.storm.merge(&other.storm);
    }

    /// Values above what a histogram holds.
    pub fn clamped(&self) -> u64 {
        self.named().iter().map(|(_, histogram)| histogram.clamped()).sum()
    }

    /// Each under its name in the report, for `latency.hlog`; those of a storm only where there was one.
    pub fn named(&self) -> Vec<(&'static str, &Histogram)> {
        let mut named = vec![
            ("planned_to_delivered", &self.planned_to_delivered),
            ("written_to_delivered", &self.written_to_delivered),
            ("send_lag", &self.send_lag),
            ("connect_lag", &self.ramp.lag),
            ("connect", &self.ramp.connect),
            ("login", &self.ramp.login),
        ];
        if self.ramp.handshake.count() > 0 {
            named.push(("handshake", &self.ramp.handshake));
        }
        if self.storm.lag.count() > 0 {
            named.push(("reconnect_lag", &self.storm.lag));
            named.push(("reconnect", &self.storm.connect));
            named.push(("login_again", &self.storm.login));
        }
        if self.storm.handshake.count() > 0 {
            named.push(("handshake_again", &self.storm.handshake));
        }
        named
    }
}

/// What became of handshakes, of one worker or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// With a certificate.
    pub full: u64,
    /// Resumed.
    pub resumed: u64,
    /// Users by what they agreed on with the server: version and suite.
    pub agreed: BTreeMap<(&'static str, &'static str), u64>,
    /// Users whose connection rustls keeps whole, when everybody is asked to leave.
    pub whole: u64,
}

impl TlsCounts {
    fn merge(&mut self, other: TlsCounts) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.whole += other.whole;
        for (agreed, count) in other.agreed {
            *self.agreed.entry(agreed).or_default() += count;
        }
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
    /// Of the failed: epoll could not watch another one.
    pub watches_exhausted: u64,
    /// Of the failed: the kernel gave no memory, for the socket or for another ring.
    pub memory_exhausted: u64,
    /// Begun late, because as many as allowed were under way.
    pub held_back: u64,
    /// The first planned instant.
    pub first_planned: Option<Nanos>,
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

    /// Whether everybody who tried was turned away or lost, `away` of them in a storm.
    fn are_all_gone(&self, away: u64) -> bool {
        self.failed() + self.lost() > 0 && self.closed_by_plan == 0 && self.lost() + away == self.established
    }

    fn merge(&mut self, other: ConnectionCounts) {
        self.established += other.established;
        self.closed_by_plan += other.closed_by_plan;
        self.refused_by_server += other.refused_by_server;
        self.ports_exhausted += other.ports_exhausted;
        self.descriptors_exhausted += other.descriptors_exhausted;
        self.watches_exhausted += other.watches_exhausted;
        self.memory_exhausted += other.memory_exhausted;
        self.held_back += other.held_back;
        for (cause, count) in other.failed_by_cause {
            *self.failed_by_cause.entry(cause).or_default() += count;
        }
        for (cause, count) in other.lost_by_cause {
            *self.lost_by_cause.entry(cause).or_default() += count;
        }
        let earlier = [self.first_planned, other.first_planned].into_iter().flatten().min();
        self.first_planned = earlier;
        self.last_established = self.last_established.max(other.last_established);
    }
}

/// What became of a storm, at one worker or at all.
#[derive(Clone, Debug, Default)]
pub struct StormCounts {
    /// When connections were closed; `None` in a storm of logins, and when it did not come to it.
    pub began: Option<Nanos>,
    /// Users whose connection was closed.
    pub struck: u64,
    /// Of those: connected and logged in again.
    pub back: u64,
    /// The last one that was.
    pub last_back: Option<Nanos>,
    /// Connections begun.
    pub attempts: u64,
    /// Of those: after an earlier one of the same user had failed.
    pub repeats: u64,
    /// Attempts that failed, repeated or not, by cause.
    pub failed_by_cause: BTreeMap<String, u64>,
}

impl StormCounts {
    /// Users whose connection was closed and who are not in.
    pub fn away(&self) -> u64 {
        self.struck - self.back
    }

    fn merge(&mut self, other: StormCounts) {
        self.began = self.began.or(other.began);
        self.struck += other.struck;
        self.back += other.back;
        self.last_back = self.last_back.max(other.last_back);
        self.attempts += other.attempts;
        self.repeats += other.repeats;
        for (cause, count) in other.failed_by_cause {
            *self.failed_by_cause.entry(cause).or_default() += count;
        }
    }
}

/// What one worker brings home.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its connections.
    pub connections: ConnectionCounts,
    /// Its storm.
    pub storm: StormCounts,
    /// The most users that it had connected at once.
    pub peak: u64,
    /// Its handshakes; `None` without TLS.
    pub tls: Option<TlsCounts>,
    /// Its messages.
    pub ledger: Ledger,
    /// Its times.
    pub times: Distributions,
    /// Its heartbeats.
    pub heartbeats: Heartbeats,
    /// Its reactor.
    pub gauges: Gauges,
    /// What its reactor counts besides, by name.
    pub counters: BTreeMap<&'static str, u64>,
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
    /// What became of the storm; `None` for a kind without one.
    pub storm: Option<Storm>,
    /// What became of the handshakes; `None` without TLS.
    pub tls: Option<TlsCounts>,
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
    /// The run ended before its roll call, and when, in words; so there were no messages.
    pub roll_call_skipped: Option<String>,
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
    /// How connections were made, as the report calls it.
    pub engine: &'static str,
    /// How it talks to the kernel about sockets, where it has any.
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
            all.storm.merge(record.storm);
            if let Some(tls) = record.tls {
                all.tls.get_or_insert_default().merge(tls);
            }
            all.peak += record.peak;
            all.ledger.merge(record.ledger);
            all.times.merge(&record.times);
            all.heartbeats.due += record.heartbeats.due;
            all.heartbeats.answered += record.heartbeats.answered;
            add_gauges(&mut all.gauges, &record.gauges);
            for (name, count) in record.counters {
                *all.counters.entry(name).or_default() += count;
            }
            uses.push(record.thread);
        }
        let window =
            run.times.map_or(0.0, |times| times.window_ends.since(times.window_begins).as_secs_f64());
        let accounting_error = all.ledger.check().err();
        Outcome {
            plan: plan.facts(),
            connections: connections(plan, &all),
            storm: plan.storm.as_ref().map(|settings| storm(plan, settings, &all)),
            tls: all.tls.take(),
            messages: messages(&all.ledger, window),
            heartbeats: all.heartbeats,
            generator: generator(&all, threads, &run, &uses),
            missing: if run.trace_ids { all.ledger.missing } else { Vec::new() },
            roll_call_skipped: roll_call_skipped(plan, run.times.as_ref(), run.early_end.as_ref()),
            early_end: run.early_end,
            everybody_lost: all.connections.are_all_gone(all.storm.away()),
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
            connect_lag: self.times.ramp.lag.summary(),
            connect: self.times.ramp.connect.summary(),
            handshake: self.times.ramp.handshake.summary(),
            login: self.times.ramp.login.summary(),
        }
    }

    /// Writes everything that the load knows into a summary.
    pub fn fill(&self, summary: &mut Summary) {
        summary.plan = self.plan.clone();
        summary.connections = self.connections.clone();
        summary.storm = self.storm.clone();
        summary.tls = self.tls.as_ref().map(tls);
        summary.messages = self.messages.clone();
        summary.latency_us = self.latencies();
        summary.heartbeats = self.heartbeats;
        summary.generator = self.generator.clone();
        match &self.early_end {
            Some(EarlyEnd::Interrupted) => summary.incidents.interrupted = true,
            Some(EarlyEnd::MemoryGuard(why)) => summary.incidents.memory_guard = Some(why.clone()),
            Some(EarlyEnd::ServerGone(how)) => summary.incidents.server_gone = Some(how.clone()),
            Some(EarlyEnd::EverybodyLost) | None => {}
        }
        summary.warnings.extend(self.roll_call_skipped.clone());
        summary.incidents.accounting_error.clone_from(&self.accounting_error);
    }
}

fn tls(counts: &TlsCounts) -> Tls {
    let names = |name: fn(&(&'static str, &'static str)) -> &'static str| {
        let all: BTreeSet<&str> = counts.agreed.keys().map(name).collect();
        all.into_iter().collect::<Vec<_>>().join(",")
    };
    Tls {
        sessions: counts.full + counts.resumed,
        resumed: counts.resumed,
        version: names(|agreed| agreed.0),
        suite: names(|agreed| agreed.1),
        whole: counts.whole,
        ..Tls::default()
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
    let took = match (counts.first_planned, counts.last_established) {
        (Some(first), Some(last)) if last > first => Some(last.since(first).as_secs_f64()),
        _ => None,
    };
    Connections {
        target: plan.users(),
        established: counts.established,
        failed: counts.failed(),
        lost: counts.lost(),
        closed_by_plan: counts.closed_by_plan,
        peak: all.peak,
        connect_rate_per_s: took.map(|seconds| counts.established as f64 / seconds),
        planned_connect_rate_per_s: (!plan.ramp.lasts().is_zero())
            .then(|| plan.users() as f64 / plan.ramp.lasts().as_secs_f64()),
        held_back: counts.held_back,
        refused_by_server: counts.refused_by_server,
        failed_by_cause: counts.failed_by_cause.clone(),
        lost_by_cause: counts.lost_by_cause.clone(),
    }
}

fn storm(plan: &crate::Plan, settings: &crate::Storm, all: &Record) -> Storm {
    let (counts, storm) = (&all.connections, &all.storm);
    let is_login = plan.kind == Kind::LoginStorm;
    let (kind, users, back, times) = if is_login {
        ("login", plan.users(), counts.established, &all.times.ramp)
    } else {
        ("reconnect", storm.struck, storm.back, &all.times.storm)
    };
    let (began, last) = if is_login {
        (counts.first_planned, counts.last_established)
    } else {
        (storm.began, storm.last_back)
    };
    Storm {
        kind: kind.to_owned(),
        reconnect: settings.reconnect.to_string(),
        backoff_base_s: settings.base.as_secs_f64(),
        backoff_cap_s: settings.cap.as_secs_f64(),
        attempts_max: u64::from(settings.attempts_max),
        users,
        back,
        never_back: users - back,
        attempts: storm.attempts,
        repeats: storm.repeats,
        failed_attempts_by_cause: storm.failed_by_cause.clone(),
        last_back_after_s: began.zip(last).map(|(began, last)| last.since(began).as_secs_f64()),
        connect_lag_us: times.lag.summary(),
        connect_us: times.connect.summary(),
        handshake_us: times.handshake.summary(),
        login_us: times.login.summary(),
    }
}

/// Why there were no messages in a run that was to have a roll call; `None` when it had one, or needs none.
fn roll_call_skipped(
    plan: &crate::Plan,
    times: Option<&Times>,
    early_end: Option<&EarlyEnd>,
) -> Option<String> {
    early_end?;
    if !plan.kind.has_roll_call() || plan.roll_call().is_zero() {
        return None;
    }
    let when = match times {
        None => "while users connected",
        Some(times) if times.origin < times.ends => return None,
        Some(times) if plan.kind == Kind::ReconnectStorm && times.measured < times.ends => "in the storm",
        Some(_) => "while users were held",
    };
    Some(format!("the run ended {when}, before its roll call: no message was due, and none is missing"))
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

fn generator(all: &Record, threads: u64, run: &Run, uses: &[ThreadUse]) -> Generator {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let measured = uses.iter().any(|thread| thread.wall_ns > 0);
    let long_enough = |thread: &&ThreadUse| u128::from(thread.wall_ns) >= SHARE_WINDOW_MIN.as_nanos();
    let mut cores: BTreeMap<usize, f64> = BTreeMap::new();
    for thread in uses.iter().filter(long_enough) {
        if let Some(cpu) = thread.cpu {
            *cores.entry(cpu).or_default() += thread.cpu_ns as f64 / thread.wall_ns as f64;
        }
    }
    let threads_busy = uses
        .iter()
        .filter(long_enough)
        .map(|thread| (thread.cpu_ns + thread.run_queue_ns) as f64 / thread.wall_ns as f64);
    Generator {
        engine: run.engine.to_owned(),
        backend: run.backend.clone(),
        tcp: all.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        threads,
        cpu_s: measured.then(|| seconds(uses.iter().map(|thread| thread.cpu_ns).sum())),
        busiest_core: cores.values().copied().reduce(f64::max),
        busiest_thread: threads_busy.reduce(f64::max).map(|share| share.min(1.0)),
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
        watches_exhausted: all.connections.watches_exhausted,
        memory_exhausted: all.connections.memory_exhausted,
    }
}
