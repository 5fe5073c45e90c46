//! From a run's figures to what the screen shows of them: rates, times left, costs, and what speaks against a PASS so far.

use std::sync::Arc;
use std::time::Duration;

use throng_loadgen::{Interval, Phase, Plan, Progress};
use throng_reactor::{Nanos, sys};
use throng_report::schema::{Server as ServerPart, Summary, Validity};
use throng_report::text::{count, time};
use throng_report::timeseries::Row;
use throng_report::{IntervalHistogram, Verdict};

use super::live::Now;
use super::record::Record;
use super::scout::Seen;
use crate::admin::ServerFigures;
use crate::args::ReportFlags;
use crate::screen::view::{History, LoadView, Percentiles, Second, Sign, Trouble};

/// Seconds over which a cost per message is taken: CPU time comes in ticks of 10 ms.
const COST_ROWS: usize = 10;

/// Connections from which on memory per connection says something.
const CONNECTIONS_MIN: u64 = 1_000;

/// Sentences that are kept.
const NOTES_MAX: usize = 20;

/// What is known of a run besides the moment.
pub(super) struct Viewer {
    plan: Plan,
    heading: Option<String>,
    title: String,
    /// Memory before the first connection: the server's and the generator's that is no file, and what could be had.
    before: [Option<u64>; 3],
    validity: Validity,
    first: Option<ServerFigures>,
    history: Arc<History>,
    last: Option<Row>,
    /// The last rows, as far as costs are taken of them.
    recent: Vec<Row>,
    connect_rate: f64,
    established: u64,
    at: Duration,
    second: Percentiles,
    lag_second: Percentiles,
    died: Option<String>,
    /// What was said, and what the server's counters say.
    notes: Vec<String>,
    warnings: Vec<String>,
    /// What ended the run early.
    against: Option<String>,
}

impl Viewer {
    /// Before the first connection.
    pub(super) fn new(plan: &Plan, record: &Record, flags: &ReportFlags) -> Viewer {
        let traffic = match plan.closed_loop_window {
            Some(window) => format!(", {window} in flight per pair"),
            None if plan.rate_per_s > 0.0 => format!(", {} messages/s", count(plan.rate_per_s)),
            None => String::new(),
        };
        let users = count(plan.users() as f64);
        let [server, generator] = record.anonymous_before();
        Viewer {
            title: format!("throng  {} over {}: {users} users{traffic}", plan.scenario, plan.protocol),
            plan: plan.clone(),
            before: [server, generator, record.guard.seen().available_bytes_before],
            heading: flags.heading.clone(),
            validity: flags.validity(),
            first: record.server.first().cloned(),
            history: Arc::default(),
            last: None,
            recent: Vec::new(),
            connect_rate: 0.0,
            established: 0,
            at: Duration::ZERO,
            second: Percentiles::default(),
            lag_second: Percentiles::default(),
            died: None,
            notes: record.warnings.clone(),
            warnings: Vec::new(),
            against: None,
        }
    }

    /// Takes the second that just ended.
    pub(super) fn second(
        &mut self,
        progress: &Progress,
        since_begin: Duration,
        record: &Record,
        interval: &Interval,
        seen: &Seen,
    ) {
        let lasted = since_begin.saturating_sub(self.at).as_secs_f64();
        self.connect_rate = progress.established.saturating_sub(self.established) as f64 / lasted.max(1e-3);
        (self.established, self.at) = (progress.established, since_begin);
        self.second = percentiles(&interval.planned_to_delivered);
        self.lag_second = percentiles(&interval.send_lag);
        self.died = record.server.died();
        self.last = record.rows.last().cloned();
        let begin = record.rows.len().saturating_sub(COST_ROWS);
        self.recent = record.rows[begin..].to_vec();
        Arc::make_mut(&mut self.history).push(Second {
            connections: progress.connected as f64,
            delivered: self.last.as_ref().map_or(0.0, |row| row.delivered as f64),
            p99_us: self.second.p99.unwrap_or(0.0),
        });
        self.warnings =
            self.first.as_ref().zip(seen.server.as_ref()).map(server_warnings).unwrap_or_default();
        self.warnings.extend(seen.unread.clone());
    }

    /// Keeps a sentence, and what it says against a PASS.
    pub(super) fn say(&mut self, text: &str, against: &str) {
        if self.notes.len() == NOTES_MAX {
            self.notes.remove(0);
        }
        self.notes.push(text.to_owned());
        self.against = Some(against.to_owned());
    }

    /// The moment.
    pub(super) fn view(&self, now: &Now, since_begin: Duration) -> LoadView {
        let (progress, seen) = (&now.progress, &now.seen);
        let clock = sys::clock::now();
        let row = self.last.as_ref();
        let [server_us, both_us] = cost_per_message(&self.recent);
        let whole_run = percentiles(&now.times.planned_to_delivered);
        let lag_whole_run = percentiles(&now.times.send_lag);
        LoadView {
            heading: self.heading.clone(),
            title: self.title.clone(),
            phase: progress.phase.to_string(),
            phase_s: self.phase_s(progress, clock, since_begin),
            elapsed_s: since_begin.as_secs_f64(),
            left_s: self.left(progress, clock, since_begin).map(|left| left.as_secs_f64()),
            signs: self.signs(progress, &whole_run, &lag_whole_run),
            connected: progress.connected,
            target: now.target,
            connect_rate: self.connect_rate,
            failed: progress.failed,
            lost_connections: progress.lost,
            has_messages: self.plan.rate_per_s > 0.0 || self.plan.closed_loop_window.is_some(),
            planned: row.map_or(0, |row| row.planned),
            sent: row.map_or(0, |row| row.sent),
            delivered: row.map_or(0, |row| row.delivered),
            waiting: progress.waiting,
            last_second: self.second,
            whole_run,
            lag_last_second: self.lag_second,
            lag_whole_run,
            trouble: Trouble {
                missing: progress.missing,
                duplicated: progress.duplicated,
                reordered: progress.reordered,
                corrupted: progress.corrupted,
                refused: progress.refused,
                unknown: progress.unknown,
            },
            server_us_per_message: server_us,
            both_us_per_message: both_us,
            bytes_per_connection: self.bytes_per_connection(now),
            server_core: seen.server_core,
            generator_core: seen.generator_core,
            skew: seen
                .server
                .as_ref()
                .filter(|told| told.server.shards.len() > 1)
                .and_then(|told| told.connections_skew),
            available_bytes: now.available_bytes,
            reserve_bytes: now.reserve_bytes,
            notes: self.notes.iter().chain(&self.warnings).cloned().collect(),
            history: Arc::clone(&self.history),
        }
    }

    /// Seconds of the phase that are over, and all of it.
    fn phase_s(&self, progress: &Progress, now: Nanos, since_begin: Duration) -> Option<(f64, f64)> {
        let part = |begin: Nanos, end: Nanos| {
            let whole = end.since(begin).as_secs_f64();
            Some((now.since(begin).as_secs_f64().min(whole), whole))
        };
        match (progress.phase, progress.times) {
            (Phase::Connecting, _) => {
                let whole = self.plan.ramp.lasts();
                Some((since_begin.min(whole).as_secs_f64(), whole.as_secs_f64()))
            }
            (Phase::Warmup, Some(times)) => part(times.begins, times.measure),
            (Phase::Measuring, Some(times)) => part(times.measure, times.measured),
            (Phase::RollCall, Some(times)) => part(times.origin, times.ends),
            _ => None,
        }
    }

    /// How long until the last message is due; `None` when all are, or nobody knows how long a storm takes.
    fn left(&self, progress: &Progress, now: Nanos, since_begin: Duration) -> Option<Duration> {
        let plan = &self.plan;
        match (progress.phase, progress.times) {
            (Phase::Connecting, _) => {
                let ramp = plan.ramp.lasts().saturating_sub(since_begin);
                Some(ramp + plan.warmup + plan.duration + plan.roll_call())
            }
            (Phase::Warmup | Phase::Measuring, Some(times)) => {
                Some(times.measured.since(now) + plan.roll_call())
            }
            (Phase::RollCall, Some(times)) => Some(times.ends.since(now)),
            _ => None,
        }
    }

    /// What speaks against a PASS so far, the heaviest first. The report judges by more than this.
    fn signs(&self, progress: &Progress, times: &Percentiles, lag: &Percentiles) -> Vec<Sign> {
        let mut signs = Vec::new();
        let mut sign = |verdict, text| signs.push(Sign { verdict, text });
        if let Some(how) = &self.died {
            sign(Verdict::Fail, format!("the server died: {how}"));
        }
        for (value, what) in [
            (progress.missing, "messages missing"),
            (progress.duplicated, "came twice"),
            (progress.reordered, "out of order"),
            (progress.corrupted, "changed"),
            (progress.refused, "refused"),
            (progress.unknown, "unanswered"),
            (progress.failed, "connections failed"),
            (progress.lost, "connections lost"),
        ] {
            if value > 0 {
                sign(Verdict::Fail, format!("{} {what}", count(value as f64)));
            }
        }
        let allowed = self.validity.send_lag_allowed_us(times.p99);
        if let Some(lag) = lag.p99.or(lag.p50).filter(|lag| *lag > allowed) {
            sign(Verdict::Invalid, format!("send lag {}, allowed are {}", time(lag), time(allowed)));
        }
        if let Some(against) = &self.against {
            sign(Verdict::Invalid, against.clone());
        }
        signs
    }

    /// Memory per connection by what has grown: the server's, the generator's, and what the machine has less of.
    fn bytes_per_connection(&self, now: &Now) -> [Option<f64>; 3] {
        let connected = now.progress.connected;
        if connected < CONNECTIONS_MIN {
            return [None; 3];
        }
        let each = |bytes: u64| bytes as f64 / connected as f64;
        let [server, generator, available] = self.before;
        let told = now.seen.server.as_ref().and_then(|told| told.memory.anonymous_bytes);
        let own = now.seen.generator_memory.and_then(|memory| memory.anonymous_bytes);
        let grown = |before: Option<u64>, now: Option<u64>| Some(each(now?.saturating_sub(before?)));
        [grown(server, told), grown(generator, own), grown(now.available_bytes, available)]
    }
}

fn percentiles(times: &IntervalHistogram) -> Percentiles {
    Percentiles {
        p50: times.percentile_us(0.5),
        p99: times.percentile_us(0.99),
        p999: times.percentile_us(0.999),
        max: times.max_us(),
    }
}

/// CPU time per message delivered in microseconds: the server's, and that of both sides.
fn cost_per_message(rows: &[Row]) -> [Option<f64>; 2] {
    let delivered: u64 = rows.iter().map(|row| row.delivered).sum();
    let per_message =
        |cpu_s: Option<f64>| cpu_s.filter(|_| delivered > 0).map(|cpu_s| cpu_s * 1e6 / delivered as f64);
    let server: Option<f64> = rows.iter().map(|row| row.server_cpu_s).sum();
    let generator: Option<f64> = rows.iter().map(|row| row.generator_cpu_s).sum();
    [per_message(server), per_message(server.zip(generator).map(|(server, generator)| server + generator))]
}

/// What the server's counters say that the report would warn of.
fn server_warnings((first, now): (&ServerFigures, &ServerFigures)) -> Vec<String> {
    let counters = now.server.counters_since(&first.server);
    let server = ServerPart { counters, ..ServerPart::default() };
    let mut summary = Summary { server: Some(server), ..Summary::default() };
    throng_report::judge(&mut summary, &[]);
    summary.warnings
}

#[cfg(test)]
mod tests {
    use throng_server::{Figures, ShardFigures};

    use super::*;
    use crate::args::{FiguresFlags, PlanFlags};
    use crate::load::guard::Guard;
    use crate::load::server::Server;
    use crate::load::target::Mine;

    fn viewer() -> Viewer {
        let plan = crate::prepare::plan("pairs", &PlanFlags::default()).unwrap();
        let mine = Mine::new(&throng_loadgen::Engine::Kernel("epoll".parse().unwrap()));
        let server = Server::find(&FiguresFlags::default(), &[], &mine).unwrap();
        let record = Record::begin(server, Guard::new(Some(0), 100), &[], 1);
        Viewer::new(&plan, &record, &ReportFlags::default())
    }

    fn texts(signs: &[Sign]) -> Vec<&str> {
        signs.iter().map(|sign| sign.text.as_str()).collect()
    }

    #[test]
    fn what_speaks_against_a_pass_is_told_with_figures() {
        let mut viewer = viewer();
        let times = Percentiles { p99: Some(5_000.0), ..Percentiles::default() };
        let lag = |us| Percentiles { p99: Some(us), ..Percentiles::default() };
        assert!(viewer.signs(&Progress::START, &times, &lag(1_000.0)).is_empty());
        let progress = Progress { missing: 3, lost: 12_000, ..Progress::START };
        viewer.say("interrupted: wait", "interrupted");
        let signs = viewer.signs(&progress, &times, &lag(2_000.0));
        assert_eq!(
            texts(&signs),
            [
                "3 messages missing",
                "12.0 k connections lost",
                "send lag 2.00 ms, allowed are 1.00 ms",
                "interrupted"
            ]
        );
        assert_eq!((signs[0].verdict, signs[3].verdict), (Verdict::Fail, Verdict::Invalid));
        let slow = Percentiles { p99: Some(50_000.0), ..Percentiles::default() };
        assert!(viewer.signs(&Progress::START, &slow, &lag(4_000.0)).len() == 1, "a tenth is always allowed");
    }

    #[test]
    fn the_time_left_is_that_of_the_plan() {
        let viewer = viewer();
        let plan = &viewer.plan;
        let ramp = plan.ramp.lasts();
        let progress = Progress::START;
        let left = viewer.left(&progress, Nanos(0), ramp / 2).unwrap();
        assert_eq!(left, ramp - ramp / 2 + plan.warmup + plan.duration);
        assert_eq!(viewer.left(&progress, Nanos(0), ramp * 9).unwrap(), plan.warmup + plan.duration);
        let draining = Progress { phase: Phase::Draining, ..Progress::START };
        assert_eq!(viewer.left(&draining, Nanos(0), ramp), None);
        let (over, whole) = viewer.phase_s(&progress, Nanos(0), ramp * 9).unwrap();
        assert_eq!((over, whole), (ramp.as_secs_f64(), ramp.as_secs_f64()));
    }

    #[test]
    fn a_message_costs_what_the_last_seconds_cost() {
        let row = |delivered, server_cpu_s| Row {
            delivered,
            server_cpu_s,
            generator_cpu_s: Some(0.3),
            ..Row::default()
        };
        assert_eq!(cost_per_message(&[row(0, Some(0.1))]), [None, None]);
        assert_eq!(cost_per_message(&[row(500, None)]), [None, None]);
        let [server, both] = cost_per_message(&[row(50_000, Some(0.1)), row(50_000, Some(0.3))]);
        assert!((server.unwrap() - 4.0).abs() < 1e-9 && (both.unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn memory_per_connection_takes_connections_enough() {
        let mut viewer = viewer();
        viewer.before = [Some(1_000), Some(2_000), Some(9_000_000)];
        let mut now = Now { available_bytes: Some(1_000_000), ..Now::new(2_000, 0) };
        now.progress.connected = 999;
        assert_eq!(viewer.bytes_per_connection(&now), [None; 3]);
        now.progress.connected = 1_000;
        assert_eq!(viewer.bytes_per_connection(&now), [None, None, Some(8_000.0)]);
    }

    #[test]
    fn a_server_without_room_is_warned_of_as_in_the_report() {
        let told = |accept_pauses| ServerFigures {
            server: Figures {
                cpu_s: 0.0,
                shards: vec![ShardFigures { accept_pauses, ..Default::default() }],
            },
            ..ServerFigures::default()
        };
        assert!(server_warnings((&told(2), &told(2))).is_empty());
        let warnings = server_warnings((&told(2), &told(5)));
        assert!(warnings.len() == 1 && warnings[0].contains("paused accepting 3 times"), "{warnings:?}");
    }
}
