//! One report of several generators that played together.
//!
//! What is counted is added, distributions are added sample by sample, and the sum is judged as one run. A generator that measured
//! something else spoils the whole, however few its samples are among the others'.

use std::collections::BTreeMap;
use std::fmt;

use crate::Histogram;
use crate::compare::differences;
use crate::schema::{Detected, Incidents, Latency, Memory, Reason, Summary, Verdict};
use crate::threshold::Threshold;
use crate::verdict::{self, judge};

/// How much of the shortest window all parts have to share.
const SHARED_MIN: f64 = 0.9;

/// What one generator left behind.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where, for those who read what is wrong with it.
    pub name: String,
    /// Its summary.
    pub summary: Summary,
    /// Its distributions, by the names of `latency.hlog`.
    pub histograms: Vec<(String, Histogram)>,
}

/// Why reports are not of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There are none.
    Nothing,
    /// They played other plans; the second name is the one that differs from the first.
    OtherPlan(String, String),
    /// Two of them played the same part, or both all of it.
    Twice(String, String),
    /// Of the parts these were not brought.
    Missing(Vec<String>),
    /// One has no distributions.
    NoHistograms(String),
    /// One has a storm, whose instants are each part's own.
    Storm(String),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MergeError::Nothing => {
                f.write_str("there is nothing to be merged: name the run folders of all parts")
            }
            MergeError::OtherPlan(one, other) => {
                write!(
                    f,
                    "{other} played another plan than {one}: all parts must have the same flags and seed"
                )
            }
            MergeError::Twice(one, other) => {
                write!(
                    f,
                    "{one} and {other} played the same part: their users were the same, so they do not add up"
                )
            }
            MergeError::Missing(parts) => write!(
                f,
                "of this plan the parts {} are missing: name their run folders, too",
                parts.join(", ")
            ),
            MergeError::Storm(name) => {
                write!(f, "{name} has a storm, and how long a storm took cannot be told from its parts")
            }
            MergeError::NoHistograms(name) => {
                write!(f, "{name} has no latency.hlog, and percentiles cannot be merged without the samples")
            }
        }
    }
}

impl std::error::Error for MergeError {}

/// The parts as one run, judged by these thresholds; and its distributions, by name.
///
/// # Errors
/// [`MergeError`]: they are not the parts of one run, or not all of them.
pub fn merge(
    parts: &[Part],
    thresholds: &[Threshold],
) -> Result<(Summary, Vec<(String, Histogram)>), MergeError> {
    let first = parts.first().ok_or(MergeError::Nothing)?;
    are_one_run(parts)?;
    let mut summary = first.summary.clone();
    summary.series = None;
    forget_shares(&mut summary);
    (summary.reasons, summary.warnings, summary.detected) = (Vec::new(), Vec::new(), Vec::new());
    summary.plan.part = None;
    summary.incidents = Incidents::default();
    if summary.server.is_none() {
        summary.server = parts.iter().find_map(|part| part.summary.server.clone());
    }
    for part in parts {
        summary.started_utc = summary.started_utc.min(part.summary.started_utc.clone());
        incidents(&mut summary.incidents, &part.summary.incidents);
        for warning in &part.summary.warnings {
            summary.warnings.push(format!("{}: {warning}", part.name));
        }
        for found in &part.summary.detected {
            summary
                .detected
                .push(Detected { text: format!("{}: {}", part.name, found.text), ..found.clone() });
        }
    }
    for part in &parts[1..] {
        tls(&mut summary, &part.summary);
        connections(&mut summary, &part.summary);
        messages(&mut summary, &part.summary);
        generator(&mut summary, &part.summary);
    }
    let histograms = distributions(parts);
    latencies(&mut summary, &histograms);
    costs(&mut summary);
    hosts(&mut summary, parts);
    judge(&mut summary, thresholds);
    spoiled(&mut summary, parts);
    Ok((summary, histograms))
}

fn are_one_run(parts: &[Part]) -> Result<(), MergeError> {
    let first = &parts[0];
    let mut seen = BTreeMap::<&str, &str>::new();
    for part in parts {
        let plan = &part.summary.plan;
        if plan.hash != first.summary.plan.hash {
            return Err(MergeError::OtherPlan(first.name.clone(), part.name.clone()));
        }
        let number = plan.part.as_deref().unwrap_or("1/1");
        if let Some(other) = seen.insert(number, &part.name) {
            return Err(MergeError::Twice(other.to_owned(), part.name.clone()));
        }
        if part.summary.storm.is_some() {
            return Err(MergeError::Storm(part.name.clone()));
        }
        if part.histograms.is_empty() {
            return Err(MergeError::NoHistograms(part.name.clone()));
        }
    }
    let of = seen.keys().next().and_then(|part| part.split_once('/')).map_or("1", |(_, of)| of);
    let all = (1..=of.parse::<u32>().unwrap_or(1)).map(|number| format!("{number}/{of}"));
    let missing: Vec<String> = all.filter(|part| !seen.contains_key(part.as_str())).collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::Missing(missing)) }
}

fn incidents(all: &mut Incidents, one: &Incidents) {
    all.interrupted |= one.interrupted;
    for (all, one) in [
        (&mut all.memory_guard, &one.memory_guard),
        (&mut all.server_died, &one.server_died),
        (&mut all.server_gone, &one.server_gone),
        (&mut all.accounting_error, &one.accounting_error),
    ] {
        if all.is_none() {
            all.clone_from(one);
        }
    }
    all.sysctls_changed.extend(one.sysctls_changed.iter().cloned());
}

fn add_counts(all: &mut BTreeMap<String, u64>, one: &BTreeMap<String, u64>) {
    for (name, count) in one {
        *all.entry(name.clone()).or_default() += count;
    }
}

/// The sum of what is known.
fn plus(all: Option<f64>, one: Option<f64>) -> Option<f64> {
    match (all, one) {
        (Some(all), Some(one)) => Some(all + one),
        (all, one) => all.or(one),
    }
}

/// The larger of what is known.
fn larger(all: Option<f64>, one: Option<f64>) -> Option<f64> {
    match (all, one) {
        (Some(all), Some(one)) => Some(all.max(one)),
        (all, one) => all.or(one),
    }
}

/// Parts of one plan that were encrypted alike; what the server's memory and CPU were shared out over is not known of all.
fn tls(summary: &mut Summary, part: &Summary) {
    let Some(one) = &part.tls else { return };
    let all = summary.tls.get_or_insert_default();
    all.sessions += one.sessions;
    all.resumed += one.resumed;
    all.whole += one.whole;
    all.resumption |= one.resumption;
    for (all, one) in [(&mut all.version, &one.version), (&mut all.suite, &one.suite)] {
        for name in one.split(',').filter(|name| !name.is_empty()) {
            if !all.split(',').any(|known| known == name) {
                *all = if all.is_empty() { name.to_owned() } else { format!("{all},{name}") };
            }
        }
    }
    (all.bytes_per_session, all.handshakes_per_cpu_s) = (None, None);
}

fn connections(summary: &mut Summary, part: &Summary) {
    let (all, one) = (&mut summary.connections, &part.connections);
    all.target += one.target;
    all.established += one.established;
    all.failed += one.failed;
    all.lost += one.lost;
    all.closed_by_plan += one.closed_by_plan;
    all.peak += one.peak;
    all.held_back += one.held_back;
    all.refused_by_server += one.refused_by_server;
    // Each in its own time, which was the same.
    all.connect_rate_per_s = plus(all.connect_rate_per_s, one.connect_rate_per_s);
    all.planned_connect_rate_per_s = plus(all.planned_connect_rate_per_s, one.planned_connect_rate_per_s);
    add_counts(&mut all.failed_by_cause, &one.failed_by_cause);
    add_counts(&mut all.lost_by_cause, &one.lost_by_cause);
    summary.heartbeats.due += part.heartbeats.due;
    summary.heartbeats.answered += part.heartbeats.answered;
}

fn messages(summary: &mut Summary, part: &Summary) {
    let (all, one) = (&mut summary.messages, &part.messages);
    all.planned += one.planned;
    all.attempted += one.attempted;
    all.sent += one.sent;
    all.accepted += one.accepted;
    all.refused += one.refused;
    all.unknown += one.unknown;
    all.unknown_connection_died += one.unknown_connection_died;
    all.delivered += one.delivered;
    all.lost += one.lost;
    all.lost_is_lower_bound |= one.lost_is_lower_bound;
    all.duplicated += one.duplicated;
    all.repeated += one.repeated;
    all.reordered += one.reordered;
    all.corrupted += one.corrupted;
    all.unsent += one.unsent;
    all.strays += one.strays;
    if all.order_checked != one.order_checked {
        all.order_checked = format!("{}; {}", all.order_checked, one.order_checked);
    }
    all.rate_per_s = plus(all.rate_per_s, one.rate_per_s);
    all.accepted_rate_per_s = plus(all.accepted_rate_per_s, one.accepted_rate_per_s);
    let (all, one) = (&mut all.window, &one.window);
    all.duration_s = all.duration_s.max(one.duration_s);
    all.planned += one.planned;
    all.attempted += one.attempted;
    all.sent += one.sent;
    all.accepted += one.accepted;
    all.delivered += one.delivered;
}

fn generator(summary: &mut Summary, part: &Summary) {
    let users =
        [summary.connections.established - part.connections.established, part.connections.established];
    let (all, one) = (&mut summary.generator, &part.generator);
    // By users, who are what it is an average over.
    all.user_bytes_per_user = match (all.user_bytes_per_user, one.user_bytes_per_user) {
        (Some(a), Some(b)) if users[0] + users[1] > 0 => {
            Some((a * users[0] as f64 + b * users[1] as f64) / (users[0] + users[1]) as f64)
        }
        _ => None,
    };
    all.threads += one.threads;
    all.cpu_s = plus(all.cpu_s, one.cpu_s);
    all.busiest_core = larger(all.busiest_core, one.busiest_core);
    all.busiest_thread = larger(all.busiest_thread, one.busiest_thread);
    all.run_queue_delay_s = plus(all.run_queue_delay_s, one.run_queue_delay_s);
    all.clamped += one.clamped;
    all.ports_exhausted += one.ports_exhausted;
    all.descriptors_exhausted += one.descriptors_exhausted;
    all.watches_exhausted += one.watches_exhausted;
    all.memory_exhausted += one.memory_exhausted;
    add_counts(&mut all.tcp, &one.tcp);
    summary.machine.steal_share = larger(summary.machine.steal_share, part.machine.steal_share);
    for (name, by) in &part.kernel.counters {
        *summary.kernel.counters.entry(name.clone()).or_default() += by;
    }
}

fn distributions(parts: &[Part]) -> Vec<(String, Histogram)> {
    let mut all: Vec<(String, Histogram)> = Vec::new();
    for (name, histogram) in parts.iter().flat_map(|part| &part.histograms) {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => sum.merge(histogram),
            None => all.push((name.clone(), histogram.clone())),
        }
    }
    all
}

fn latencies(summary: &mut Summary, histograms: &[(String, Histogram)]) {
    let of = |name: &str| -> Latency {
        let found = histograms.iter().find(|(known, _)| known == name);
        found.map(|(_, histogram)| histogram.summary()).unwrap_or_default()
    };
    let latencies = &mut summary.latency_us;
    latencies.planned_to_delivered = of("planned_to_delivered");
    latencies.written_to_delivered = of("written_to_delivered");
    latencies.send_lag = of("send_lag");
    latencies.connect_lag = of("connect_lag");
    latencies.connect = of("connect");
    latencies.handshake = of("handshake");
    latencies.login = of("login");
}

/// What is known of one generator's machine, and not of all: where its memory is, and what its connections cost there.
fn forget_shares(summary: &mut Summary) {
    summary.memory = Memory::default();
    summary.machine.cpu_us_per_message = None;
    let kernel = &mut summary.kernel;
    (kernel.bytes_per_connection, kernel.extra_bytes_per_connection) = (None, None);
    kernel.slab_bytes.clear();
}

/// What a message cost the server, whose CPU is in the report of one part, and its messages in all.
fn costs(summary: &mut Summary) {
    let delivered = summary.messages.window.delivered as f64;
    let has_messages = delivered > 0.0 && !summary.plan.roll_call;
    if let Some(server) = &mut summary.server {
        server.user_bytes_per_connection = None;
        let cpu_s = server.cpu_s.filter(|cpu_s| *cpu_s > 0.0 && has_messages);
        server.messages_per_cpu_s = cpu_s.map(|cpu_s| delivered / cpu_s);
    }
}

/// Generators on machines that differ are told; it is no fault.
fn hosts(summary: &mut Summary, parts: &[Part]) {
    let all: Vec<&Summary> = parts.iter().map(|part| &part.summary).collect();
    for difference in differences(&all[..1], &all[1..]) {
        summary.warnings.push(format!("the generators differ in {}", difference.what));
    }
}

/// Who measured something else is outvoted in a sum of samples, and must not be.
fn spoiled(summary: &mut Summary, parts: &[Part]) {
    for part in parts.iter().filter(|part| part.summary.verdict == Verdict::Invalid) {
        let why = part.summary.reasons.iter().find(|reason| reason.verdict == Verdict::Invalid);
        let Some(why) = why.filter(|why| !why.code.starts_with("threshold")) else { continue };
        if summary.reasons.iter().any(|reason| reason.code == why.code && reason.verdict == Verdict::Invalid)
        {
            continue;
        }
        invalidate(summary, &format!("part_{}", why.code), format!("{}: {}", part.name, why.text));
    }
    if let Some(text) = apart(parts) {
        invalidate(summary, "parts_apart", text);
    }
}

/// The sum is not what was asked for, unless messages were lost all the same.
fn invalidate(summary: &mut Summary, code: &str, text: String) {
    summary.reasons.push(Reason { verdict: Verdict::Invalid, code: code.to_owned(), text });
    if !summary.reasons.iter().any(verdict::is_of_integrity) {
        summary.verdict = Verdict::Invalid;
    }
    let verdict = summary.verdict;
    summary.reasons.sort_by_key(|reason| reason.verdict != verdict);
}

/// Says so when the parts measured at different times: then their rates were never there together.
fn apart(parts: &[Part]) -> Option<String> {
    let windows = parts.iter().map(|part| &part.summary.messages.window);
    let known: Vec<(f64, f64)> = windows
        .filter_map(|window| window.begins_unix_s.map(|begins| (begins, begins + window.duration_s)))
        .collect();
    let shortest = known.iter().map(|(begin, end)| end - begin).reduce(f64::min)?;
    let last_begin = known.iter().map(|(begin, _)| *begin).fold(f64::NEG_INFINITY, f64::max);
    let first_end = known.iter().map(|(_, end)| *end).fold(f64::INFINITY, f64::min);
    let shared = (first_end - last_begin).max(0.0);
    (shared < SHARED_MIN * shortest).then(|| {
        format!(
            "the parts measured at different times: of {shortest:.1} s they share {shared:.1} s; begin all with one --start-at, and let them \
             connect equally fast"
        )
    })
}

#[cfg(test)]
mod tests;
