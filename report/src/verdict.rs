//! What a run amounts to: PASS, FAIL or INVALID, with reasons in words and figures.
//!
//! FAIL: the server did not do what was asked. INVALID: something other than the server was measured. Messages lost,
//! duplicated, reordered, corrupted or made up, and a server that died, are FAIL whatever else happened; apart from them
//! INVALID outranks FAIL.

mod ramp;
mod server;

use crate::schema::{Outcome, Reason, Summary, Verdict};
use crate::threshold::Threshold;

/// Share of a core from which on its owner may be what was measured.
pub const BUSY_CORE_SHARE: f64 = 0.85;
/// Share of a core from which on, in an open loop, what is late may be late in the generator.
pub const SATURATED_CORE_SHARE: f64 = 0.97;
/// Share of time that a hypervisor may take.
const STEAL_SHARE: f64 = 0.01;
/// Share of packets that a loopback may drop or repeat.
pub const LOOPBACK_LOSS_SHARE: f64 = 0.001;

/// What [`integrity`] finds.
const INTEGRITY: [&str; 6] = [
    "messages_lost",
    "messages_duplicated",
    "messages_reordered",
    "messages_corrupted",
    "messages_stray",
    "server_died",
];

/// Judges a run: sets `verdict`, `reasons`, `thresholds` and adds to `warnings`. To judge again changes nothing.
pub fn judge(summary: &mut Summary, thresholds: &[Threshold]) {
    summary.thresholds = thresholds.iter().map(|threshold| threshold.evaluate(summary)).collect();
    let mut reasons = Reasons::default();
    integrity(summary, &mut reasons);
    let broken_integrity = !reasons.0.is_empty();
    debug_assert!(reasons.0.iter().all(is_of_integrity), "{:?}", reasons.0);
    validity(summary, &mut reasons);
    conduct(summary, &mut reasons);
    for (threshold, result) in thresholds.iter().zip(&summary.thresholds) {
        threshold_reason(threshold, result, summary, &mut reasons);
    }
    let mut reasons = reasons.0;
    let any_invalid = reasons.iter().any(|reason| reason.verdict == Verdict::Invalid);
    summary.verdict = match (broken_integrity, any_invalid, reasons.is_empty()) {
        (_, _, true) => Verdict::Pass,
        (false, true, _) => Verdict::Invalid,
        _ => Verdict::Fail,
    };
    // The verdict's own reasons stand first; a stable sort keeps the order of weight within them.
    reasons.sort_by_key(|reason| reason.verdict != summary.verdict);
    summary.reasons = reasons;
    for warning in warnings(summary) {
        if !summary.warnings.contains(&warning) {
            summary.warnings.push(warning);
        }
    }
}

#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Reasons {
    fn fail(&mut self, code: &str, text: String) {
        self.0.push(Reason { verdict: Verdict::Fail, code: code.to_owned(), text });
    }

    fn invalid(&mut self, code: &str, text: String) {
        self.0.push(Reason { verdict: Verdict::Invalid, code: code.to_owned(), text });
    }
}

/// Whether a reason is one of those that no lateness of a generator excuses.
pub(crate) fn is_of_integrity(reason: &Reason) -> bool {
    reason.verdict == Verdict::Fail && (INTEGRITY.contains(&reason.code.as_str()))
}

/// Messages that were not delivered as promised.
fn integrity(summary: &Summary, reasons: &mut Reasons) {
    let messages = &summary.messages;
    let at_least = if messages.lost_is_lower_bound { "at least " } else { "" };
    if messages.lost > 0 {
        let text = format!("{at_least}{} accepted messages never arrived", messages.lost);
        reasons.fail("messages_lost", text);
    }
    if messages.duplicated > 0 {
        let text = format!("{at_least}{} messages were shown more than once", messages.duplicated);
        reasons.fail("messages_duplicated", text);
    }
    if messages.reordered > 0 {
        let text = format!("{} messages arrived after a later one of the same sender", messages.reordered);
        reasons.fail("messages_reordered", text);
    }
    if messages.corrupted > 0 {
        reasons.fail("messages_corrupted", format!("{} messages arrived changed", messages.corrupted));
    }
    if messages.strays > 0 {
        let text = format!("{} answers or deliveries belong to no message of their user's", messages.strays);
        reasons.fail("messages_stray", text);
    }
    // Whoever interrupts a run may well end its server, too.
    if let Some(how) = summary.incidents.server_died.as_ref().filter(|_| !summary.incidents.interrupted) {
        reasons.fail("server_died", format!("the server ended during the run: {how}"));
    }
}

/// Whether the server was what was measured.
fn validity(summary: &Summary, reasons: &mut Reasons) {
    let (incidents, generator, validity) = (&summary.incidents, &summary.generator, &summary.validity);
    if incidents.interrupted {
        reasons.invalid("interrupted", "the run was interrupted before its plan was done".to_owned());
    }
    if let Some(why) = &incidents.memory_guard {
        reasons.invalid("memory_guard", format!("the memory guard ended the run: {why}"));
    }
    if generator.descriptors_exhausted > 0 {
        let text = format!(
            "the generator had no descriptor for {} connections: raise its limit on open files (ulimit -n), or fs.file-max where it was ENFILE",
            generator.descriptors_exhausted
        );
        reasons.invalid("generator_descriptors", text);
    }
    if generator.watches_exhausted > 0 {
        let text = format!(
            "the generator could not watch {} connections: raise fs.epoll.max_user_watches, or use --backend io-uring",
            generator.watches_exhausted
        );
        reasons.invalid("generator_watches", text);
    }
    if generator.memory_exhausted > 0 {
        let text = format!(
            "the kernel gave the generator no memory for {} connections: free some, or raise RLIMIT_MEMLOCK (ulimit -l) where a \
             ring was refused",
            generator.memory_exhausted
        );
        reasons.invalid("generator_memory", text);
    }
    if generator.ports_exhausted > 0 {
        let text = format!(
            "the generator had no source port for {} connections: widen net.ipv4.ip_local_port_range or give more --source-ip",
            generator.ports_exhausted
        );
        reasons.invalid("generator_ports", text);
    }
    for change in &incidents.sysctls_changed {
        reasons.invalid("sysctl_changed", format!("a sysctl changed during the run: {change}"));
    }
    if let Some(error) = &incidents.accounting_error {
        reasons.invalid("accounting", format!("the generator's own account is wrong: {error}"));
    }
    if generator.clamped > 0 {
        let text = format!("{} latencies were longer than a histogram holds (1 hour)", generator.clamped);
        reasons.invalid("clamped", text);
    }
    if summary.plan.is_closed_loop() || !summary.plan.has_messages() {
        return;
    }
    let window = &summary.messages.window;
    let short = window.planned.saturating_sub(window.attempted);
    if short as f64 > validity.attempts_short_share_max * window.planned as f64 {
        let text = format!(
            "the generator attempted {} of the {} messages that the plan has in the window ({:.1} % fewer): \
             lower the rate, or give it more cores",
            window.attempted,
            window.planned,
            100.0 * short as f64 / window.planned as f64,
        );
        reasons.invalid("attempts_short", text);
    }
    let nobody_left = summary.connections.lost + summary.connections.failed > 0;
    if window.planned == 0 && !incidents.was_cut_short() && !nobody_left {
        let text = "the plan has no message in the window: raise the rate or the duration".to_owned();
        reasons.invalid("nothing_planned", text);
    }
    let busy = generator.busiest_core.unwrap_or(0.0).max(generator.busiest_thread.unwrap_or(0.0));
    if busy >= SATURATED_CORE_SHARE {
        let text = format!(
            "the generator's busiest core had no time left ({:.1} % busy): give it more cores, or lower the rate",
            busy * 100.0
        );
        reasons.invalid("generator_saturated", text);
    }
    let allowed = validity.send_lag_allowed_us(summary.latency_us.planned_to_delivered.p99);
    let lag = summary.latency_us.send_lag.highest_percentile();
    if let Some((name, lag)) = lag.filter(|(_, lag)| *lag > allowed) {
        let text = format!(
            "the generator was late: send lag {name} {:.2} ms, allowed are {:.2} ms",
            lag / 1e3,
            allowed / 1e3
        );
        reasons.invalid("send_lag", text);
    }
}

/// Whether the server did what was asked of it.
fn conduct(summary: &Summary, reasons: &mut Reasons) {
    let (connections, messages) = (&summary.connections, &summary.messages);
    if let Some(how) = &summary.incidents.server_gone {
        reasons.fail("server_gone", format!("the run was ended early: {how}"));
    }
    if connections.failed > 0 {
        let causes = causes(&connections.failed_by_cause);
        let text = format!("{} of {} connections failed{causes}", connections.failed, connections.target);
        reasons.fail("connections_failed", text);
    } else if connections.established < connections.target && !summary.incidents.was_cut_short() {
        let text =
            format!("{} of {} connections were established", connections.established, connections.target);
        reasons.fail("connections_missing", text);
    }
    if connections.target == 0 && connections.established == 0 && !summary.incidents.was_cut_short() {
        reasons.invalid("nothing_established", "not one connection was asked for".to_owned());
    }
    if connections.lost > 0 {
        let causes = causes(&connections.lost_by_cause);
        reasons.fail("connections_lost", format!("{} connections were lost{causes}", connections.lost));
    }
    let unanswered = messages.unknown.saturating_sub(messages.unknown_connection_died);
    if unanswered > 0 && !summary.incidents.was_cut_short() {
        let text =
            format!("{unanswered} messages had no answer when the drain ended, on connections that lived");
        reasons.fail("messages_unanswered", text);
    }
    if messages.unsent > 0 && !summary.incidents.was_cut_short() {
        let text = format!(
            "{} messages were due and could not be written before the end: the server took the others too slowly",
            messages.unsent
        );
        reasons.fail("messages_unsent", text);
    }
    if messages.refused > 0 {
        reasons.fail("messages_refused", format!("the server refused {} messages", messages.refused));
    }
    // A message of the window may arrive after it; then it has a latency all the same.
    let measured = messages.window.delivered + summary.latency_us.planned_to_delivered.count;
    let asked = summary.plan.is_closed_loop() || messages.window.planned > 0;
    if summary.plan.has_messages() && asked && measured == 0 && !summary.incidents.was_cut_short() {
        reasons.fail("nothing_delivered", "not one message of the window was delivered".to_owned());
    }
    let heartbeats = &summary.heartbeats;
    // Who ends a run early leaves answers under way.
    if heartbeats.answered < heartbeats.due && !summary.incidents.was_cut_short() {
        let missing = heartbeats.due - heartbeats.answered;
        let text = format!("{missing} of {} heartbeats were not answered", heartbeats.due);
        reasons.fail("heartbeats_unanswered", text);
    }
}

fn threshold_reason(
    threshold: &Threshold,
    result: &crate::schema::ThresholdResult,
    summary: &Summary,
    reasons: &mut Reasons,
) {
    let milliseconds = |us: f64| format!("{:.3} ms", us / 1e3);
    let figure = |measured: f64| match threshold.is_latency() {
        true => milliseconds(measured),
        false => format!("{measured}"),
    };
    match (result.outcome, result.measured) {
        (Outcome::Broken, _) if threshold.is_hidden(summary) => {
            let text =
                format!("threshold {} is broken: too many never arrived for it to be known", result.text);
            reasons.fail("threshold", text);
        }
        (Outcome::Broken, Some(measured)) => match threshold.own_lateness(summary, measured) {
            Some((name, lag)) => {
                let text = format!(
                    "threshold {} is broken (measured {}), but the generator was late there itself: {} {}",
                    result.text,
                    figure(measured),
                    name.replace('_', " "),
                    milliseconds(lag),
                );
                reasons.invalid(&format!("threshold_{name}"), text);
            }
            None => {
                let text = format!("threshold {} is broken: measured {}", result.text, figure(measured));
                reasons.fail("threshold", text);
            }
        },
        (Outcome::NoData, _) => {
            let text = format!(
                "threshold {} has no figure to judge: not measured, or too few samples for that percentile",
                result.text
            );
            reasons.invalid("threshold_no_data", text);
        }
        _ => {}
    }
}

fn causes(by_cause: &std::collections::BTreeMap<String, u64>) -> String {
    if by_cause.is_empty() {
        return String::new();
    }
    let list: Vec<String> = by_cause.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    format!(" ({})", list.join(", "))
}

/// What a reader should know, and what does not change the verdict.
fn warnings(summary: &Summary) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(busy) = summary.generator.busiest_core.filter(|busy| *busy > BUSY_CORE_SHARE) {
        let limit = if summary.plan.is_closed_loop() {
            "in a closed loop its figure per server CPU-second is the one to use"
        } else {
            "it may be what was measured"
        };
        warnings.push(format!("the generator's busiest core was {:.0} % busy: {limit}", busy * 100.0));
    }
    warnings.extend(ramp::warnings(summary));
    warnings.extend(server::warnings(summary));
    if let Some(steal) = summary.machine.steal_share.filter(|steal| *steal > STEAL_SHARE) {
        warnings.push(format!("the hypervisor took {:.1} % of the CPU time", steal * 100.0));
    }
    if summary.machine.cores_shared == Some(true) {
        warnings.push("server and generator shared cores: their figures disturb each other".to_owned());
    }
    let counter = |name: &str| summary.kernel.counters.get(name).copied().unwrap_or(0).max(0) as f64;
    let (segments, retransmits) = (counter("TcpOutSegs"), counter("TcpRetransSegs"));
    if segments > 0.0 && retransmits > LOOPBACK_LOSS_SHARE * segments {
        let share = 100.0 * retransmits / segments;
        warnings.push(format!("{retransmits} segments ({share:.2} %) were sent again: tails may show that"));
    }
    let dropped = counter("softnet_dropped");
    if dropped > LOOPBACK_LOSS_SHARE * counter("softnet_processed").max(1.0) {
        warnings.push(format!("the kernel dropped {dropped} packets between both ends: tails may show that"));
    }
    let users = |name: &str| summary.generator.tcp.get(name).copied().unwrap_or(0) as f64;
    let (sent, again) = (users("segments_sent"), users("retransmitted"));
    if again > LOOPBACK_LOSS_SHARE * sent.max(1.0) {
        let share = 100.0 * again / sent.max(1.0);
        warnings.push(format!("users sent {again} segments ({share:.2} %) again: tails may show that"));
    }
    let dropped = users("queue_dropped");
    if dropped > 0.0 {
        warnings.push(format!(
            "the queue of a TUN device dropped {dropped} packets: the generator did not keep up; give it more cores or --threads, or lower the rate"
        ));
    }
    let unsent = users("unsent");
    if unsent > 0.0 {
        warnings.push(format!(
            "the kernel had no memory for {unsent} packets of users: see net.ipv4.tcp_mem, and free some"
        ));
    }
    if summary.host.build.profile == "debug" {
        warnings.push("a debug build: its figures mean nothing, use --release".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Connections, Latency, MessageWindow};

    pub(super) fn passing() -> Summary {
        let mut summary = Summary::default();
        summary.plan.connections = 10;
        summary.plan.rate_per_s = Some(1000.0);
        summary.connections.target = 10;
        summary.connections.established = 10;
        summary.messages.delivered = 1000;
        summary.messages.window.delivered = 1000;
        summary.messages.window.planned = 1000;
        summary.messages.window.attempted = 1000;
        summary.latency_us.planned_to_delivered.p99 = Some(500.0);
        summary.latency_us.send_lag.p99 = Some(100.0);
        summary
    }

    fn judged(change: impl FnOnce(&mut Summary)) -> (Verdict, Vec<String>) {
        let mut summary = passing();
        change(&mut summary);
        judge(&mut summary, &[]);
        (summary.verdict, summary.reasons.into_iter().map(|reason| reason.code).collect())
    }

    #[test]
    fn a_run_without_a_flaw_passes() {
        assert_eq!(judged(|_| {}), (Verdict::Pass, vec![]));
    }

    type Change = fn(&mut Summary);

    #[test]
    fn every_flaw_has_its_verdict_and_its_reason() {
        let cases: [(Change, Verdict, &str); 31] = [
            (|s| s.messages.lost = 1, Verdict::Fail, "messages_lost"),
            (|s| s.messages.duplicated = 1, Verdict::Fail, "messages_duplicated"),
            (|s| s.messages.reordered = 1, Verdict::Fail, "messages_reordered"),
            (|s| s.messages.corrupted = 1, Verdict::Fail, "messages_corrupted"),
            (|s| s.messages.strays = 1, Verdict::Fail, "messages_stray"),
            (|s| s.generator.busiest_core = Some(0.98), Verdict::Invalid, "generator_saturated"),
            (|s| s.generator.busiest_thread = Some(0.98), Verdict::Invalid, "generator_saturated"),
            (|s| s.messages.unsent = 1, Verdict::Fail, "messages_unsent"),
            (|s| s.incidents.accounting_error = Some("1 is 2".into()), Verdict::Invalid, "accounting"),
            (|s| s.incidents.interrupted = true, Verdict::Invalid, "interrupted"),
            (
                |s| {
                    s.incidents.memory_guard = Some("1.0 GB left".into());
                    s.connections.established = 9;
                },
                Verdict::Invalid,
                "memory_guard",
            ),
            (|s| s.generator.descriptors_exhausted = 1, Verdict::Invalid, "generator_descriptors"),
            (|s| s.generator.ports_exhausted = 1, Verdict::Invalid, "generator_ports"),
            (|s| s.generator.watches_exhausted = 1, Verdict::Invalid, "generator_watches"),
            (|s| s.generator.memory_exhausted = 1, Verdict::Invalid, "generator_memory"),
            (|s| s.incidents.sysctls_changed = vec!["a: 1 -> 2".into()], Verdict::Invalid, "sysctl_changed"),
            (|s| s.generator.clamped = 1, Verdict::Invalid, "clamped"),
            (|s| s.messages.window.attempted = 989, Verdict::Invalid, "attempts_short"),
            (|s| s.latency_us.send_lag.p99 = Some(1001.0), Verdict::Invalid, "send_lag"),
            (|s| s.incidents.server_died = Some("killed".into()), Verdict::Fail, "server_died"),
            (|s| s.incidents.server_gone = Some("3.0 s".into()), Verdict::Fail, "server_gone"),
            (|s| s.connections.failed = 1, Verdict::Fail, "connections_failed"),
            (|s| s.connections.established = 9, Verdict::Fail, "connections_missing"),
            (|s| s.connections.lost = 1, Verdict::Fail, "connections_lost"),
            (|s| s.messages.unknown = 1, Verdict::Fail, "messages_unanswered"),
            (|s| s.messages.refused = 1, Verdict::Fail, "messages_refused"),
            (|s| s.messages.window.delivered = 0, Verdict::Fail, "nothing_delivered"),
            (|s| s.messages.window = MessageWindow::default(), Verdict::Invalid, "nothing_planned"),
            (|s| s.connections = Connections::default(), Verdict::Invalid, "nothing_established"),
            (|s| s.heartbeats.due = 1, Verdict::Fail, "heartbeats_unanswered"),
            (|s| s.connections.established = 0, Verdict::Fail, "connections_missing"),
        ];
        for (change, verdict, code) in cases {
            assert_eq!(judged(change), (verdict, vec![code.to_owned()]));
        }
    }

    #[test]
    fn what_was_under_way_when_a_run_was_cut_short_is_no_failure() {
        let cuts: [(Change, &str); 2] = [
            (|s| s.incidents.interrupted = true, "interrupted"),
            (|s| s.incidents.memory_guard = Some("1.0 GB left".into()), "memory_guard"),
        ];
        for (cut, code) in cuts {
            let under_way = |s: &mut Summary| {
                cut(s);
                s.heartbeats.due = 2;
                s.heartbeats.answered = 1;
                s.messages.unknown = 1;
                s.messages.unsent = 1;
                s.connections.established = 9;
            };
            assert_eq!(judged(under_way), (Verdict::Invalid, vec![code.to_owned()]));
        }
    }

    #[test]
    fn a_late_generator_is_no_matter_where_latency_is_ten_times_longer() {
        let slow: Change = |s| {
            s.latency_us.planned_to_delivered.p99 = Some(50_000.0);
            s.latency_us.send_lag.p99 = Some(4_900.0);
        };
        assert_eq!(judged(slow), (Verdict::Pass, vec![]));
    }

    #[test]
    fn with_few_samples_the_highest_percentile_that_there_is_tells_the_lateness() {
        let late: Change = |s| {
            s.latency_us.send_lag.p99 = None;
            s.latency_us.send_lag.p95 = Some(1001.0);
            s.latency_us.send_lag.p50 = Some(1.0);
        };
        let (verdict, codes) = judged(late);
        assert_eq!((verdict, codes), (Verdict::Invalid, vec!["send_lag".into()]));
    }

    #[test]
    fn what_arrives_after_the_window_was_measured_too() {
        let late: Change = |s| {
            s.messages.window.delivered = 0;
            s.latency_us.planned_to_delivered.count = 1;
        };
        assert_eq!(judged(late), (Verdict::Pass, vec![]));
    }

    #[test]
    fn a_run_of_which_nothing_is_known_is_no_pass() {
        let mut summary = Summary::default();
        judge(&mut summary, &[]);
        assert_eq!(summary.verdict, Verdict::Invalid);
    }

    #[test]
    fn every_warning_is_told_once_however_often_a_run_is_judged() {
        let mut summary = passing();
        summary.generator.busiest_core = Some(0.86);
        summary.machine.steal_share = Some(0.02);
        summary.machine.cores_shared = Some(true);
        summary.host.build.profile = "debug".into();
        for (name, by) in
            [("TcpOutSegs", 1000), ("TcpRetransSegs", 2), ("softnet_processed", 1000), ("softnet_dropped", 2)]
        {
            summary.kernel.counters.insert(name.into(), by);
        }
        judge(&mut summary, &[]);
        assert_eq!((summary.verdict, summary.warnings.len()), (Verdict::Pass, 6), "{:?}", summary.warnings);
        let once = summary.clone();
        judge(&mut summary, &[]);
        assert_eq!(summary, once);
    }

    #[test]
    fn a_closed_loop_is_not_judged_by_its_schedule() {
        let closed: Change = |s| {
            s.plan.closed_loop_window = Some(8);
            s.messages.window.attempted = 0;
            s.latency_us.send_lag.p99 = Some(1e6);
        };
        assert_eq!(judged(closed), (Verdict::Pass, vec![]));
    }

    #[test]
    fn invalid_outranks_failures_but_not_broken_promises() {
        let slow_and_late: Change = |s| {
            s.connections.lost = 1;
            s.latency_us.send_lag.p99 = Some(5000.0);
        };
        let (verdict, codes) = judged(slow_and_late);
        assert_eq!((verdict, codes), (Verdict::Invalid, vec!["send_lag".into(), "connections_lost".into()]));
        let lost_and_late: Change = |s| {
            s.messages.lost = 1;
            s.latency_us.send_lag.p99 = Some(5000.0);
        };
        assert_eq!(judged(lost_and_late).0, Verdict::Fail);
    }

    #[test]
    fn unknown_messages_of_dead_connections_are_told_by_the_connections() {
        let died: Change = |s| {
            s.messages.unknown = 5;
            s.messages.unknown_connection_died = 5;
            s.connections.lost = 1;
        };
        assert_eq!(judged(died), (Verdict::Fail, vec!["connections_lost".into()]));
    }

    #[test]
    fn a_percentile_that_hides_among_what_never_arrived_is_a_broken_threshold() {
        let mut summary = passing();
        summary.latency_us.planned_to_delivered =
            Latency { count: 980, p50: Some(100.0), ..Latency::default() };
        judge(&mut summary, &["p99<50ms".parse().unwrap()]);
        assert_eq!(
            summary.verdict,
            Verdict::Fail,
            "20 of 1000 never arrived: the p99 is not known to be small"
        );
        let mut summary = passing();
        summary.latency_us.planned_to_delivered =
            Latency { count: 980, p50: Some(100.0), ..Latency::default() };
        judge(&mut summary, &["p50<50ms".parse().unwrap()]);
        assert_eq!(summary.verdict, Verdict::Pass, "the median is");
    }

    #[test]
    fn a_threshold_that_the_generator_broke_is_invalid() {
        let mut summary = passing();
        summary.latency_us.planned_to_delivered =
            Latency { count: 100_000, p99: Some(500.0), p999: Some(9000.0), ..Latency::default() };
        summary.latency_us.send_lag.p999 = Some(8000.0);
        judge(&mut summary, &["p999<5ms".parse().unwrap()]);
        assert_eq!(summary.verdict, Verdict::Invalid);
        assert_eq!(summary.reasons[0].code, "threshold_send_lag");
    }

    #[test]
    fn a_server_that_took_nobody_fails_although_nothing_was_planned_then() {
        let refused: Change = |s| {
            s.connections.established = 0;
            s.connections.failed = 10;
            s.messages = crate::schema::Messages::default();
        };
        assert_eq!(judged(refused).0, Verdict::Fail);
    }

    #[test]
    fn a_broken_threshold_fails_and_one_without_data_is_invalid() {
        let mut summary = passing();
        judge(&mut summary, &["p99<400us".parse().unwrap()]);
        assert_eq!(summary.verdict, Verdict::Fail);
        let mut summary = passing();
        judge(&mut summary, &["p9999<1s".parse().unwrap()]);
        assert_eq!(summary.verdict, Verdict::Invalid);
    }
}
