//! What a search for the most that a machine carries found: `capacity.json`, and its text.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::{Server, Summary, Verdict};
use crate::text::{count, time, wrap};
use crate::verdict::BUSY_CORE_SHARE;

/// The schema of [`Capacity`] as JSON.
pub const SCHEMA: &str = "throng.capacity/1";

/// What was searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Find {
    /// Users that are connected at once.
    Connections,
    /// Messages per second of all users together.
    #[default]
    Rate,
}

impl Find {
    /// A load of this kind as people read it.
    pub fn show(self, load: u64) -> String {
        match self {
            Find::Connections => format!("{} connections", count(load as f64)),
            Find::Rate => format!("{} messages/s", count(load as f64)),
        }
    }
}

/// What gave out first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// A core of the server's had no time left.
    ServerCpu,
    /// Memory.
    Memory,
    /// A limit of the kernel's: descriptors, ports, watches, a queue.
    KernelLimit,
    /// The generator: the server carries at least as much.
    Generator,
    /// Something did not hold although nothing was exhausted: the threshold itself.
    #[default]
    Threshold,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exhausted::ServerCpu => "server CPU",
            Exhausted::Memory => "memory",
            Exhausted::KernelLimit => "a kernel limit",
            Exhausted::Generator => "the generator",
            Exhausted::Threshold => "nothing: what was asked did not hold with cores to spare",
        })
    }
}

/// One run of the search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// What was tried.
    pub load: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// Why not, the first reason: its code and its text.
    pub reason: Option<(String, String)>,
    /// What gave out; `None` where everything held.
    pub exhausted: Option<Exhausted>,
    /// The 99th percentile from planned to delivered, in microseconds.
    pub p99_us: Option<f64>,
    /// The server's busiest core, 0 to 1.
    pub server_busiest_core: Option<f64>,
    /// The generator's.
    pub generator_busiest_core: Option<f64>,
    /// The run's folder; `None` for one that was not even begun.
    pub run: Option<String>,
}

impl Trial {
    /// A run's.
    pub fn of(load: u64, summary: &Summary, run: String) -> Trial {
        Trial {
            load,
            verdict: summary.verdict,
            reason: summary.reasons.first().map(|reason| (reason.code.clone(), reason.text.clone())),
            exhausted: exhausted(summary),
            p99_us: summary.latency_us.planned_to_delivered.p99,
            server_busiest_core: summary.server.as_ref().and_then(|server| server.busiest_core),
            generator_busiest_core: summary.generator.busiest_core,
            run: Some(run),
        }
    }

    /// Whether everything held.
    pub fn held(&self) -> bool {
        self.verdict == Verdict::Pass
    }
}

/// What gave out in a run; `None` for a pass.
fn exhausted(summary: &Summary) -> Option<Exhausted> {
    let code = summary.reasons.first()?.code.as_str();
    let is_full = |core: Option<f64>| core.is_some_and(|busy| busy > BUSY_CORE_SHARE);
    let server_is_full = is_full(summary.server.as_ref().and_then(|server| server.busiest_core));
    let had_no_room = |server: &Server| {
        // Whole machine, or one table: no descriptors, watches or socket memory for one more.
        ["accept_pauses", "accept_left_group"].iter().any(|name| server.counters.get(*name) > Some(&0))
    };
    Some(match code {
        // Something else was measured, and nothing gave out.
        "sysctl_changed" | "clamped" | "accounting" | "interrupted" | "nothing_planned" => return None,
        "memory_guard" | "generator_memory" => Exhausted::Memory,
        "generator_descriptors" | "generator_watches" | "generator_ports" => Exhausted::KernelLimit,
        "generator_saturated" | "send_lag" | "attempts_short" => Exhausted::Generator,
        "threshold_no_data" => Exhausted::Threshold,
        _ if code.starts_with("threshold_") && summary.verdict == Verdict::Invalid => Exhausted::Generator,
        _ if summary.server.as_ref().is_some_and(had_no_room) => Exhausted::KernelLimit,
        _ if server_is_full => Exhausted::ServerCpu,
        _ if is_full(summary.generator.busiest_core) => Exhausted::Generator,
        _ => Exhausted::Threshold,
    })
}

/// Everything that a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was searched for.
    pub find: Find,
    /// The scenario.
    pub scenario: String,
    /// What had to hold, besides that nothing is lost.
    pub thresholds: Vec<String>,
    /// The most that holds: half of the runs there do. `None` when nothing held.
    pub load: Option<u64>,
    /// The lower end of its 95 % interval.
    pub low: Option<u64>,
    /// The upper end.
    pub high: Option<u64>,
    /// It is a lower bound: the generator gave out first, or the most that was to be tried held.
    pub is_lower_bound: bool,
    /// Whether the search was stopped before it was done, by the clock or by somebody.
    pub is_cut_short: bool,
    /// What gave out; `None` when nothing did, up to the most that was to be tried.
    pub exhausted: Option<Exhausted>,
    /// How long it took.
    pub took_s: f64,
    /// Every run, in the order of time.
    pub trials: Vec<Trial>,
}

impl Capacity {
    /// What gave out in most of the trials that did not hold and were nearest to the answer.
    pub fn name_exhausted(&mut self) {
        let middle = self.load.unwrap_or(0);
        let mut broken: Vec<&Trial> = self.trials.iter().filter(|trial| trial.exhausted.is_some()).collect();
        broken.sort_by_key(|trial| trial.load.abs_diff(middle));
        broken.truncate(5);
        let votes = |what: Exhausted| broken.iter().filter(|trial| trial.exhausted == Some(what)).count();
        // Of equals, the nearest.
        let causes = broken.iter().rev().filter_map(|trial| trial.exhausted);
        self.exhausted = causes.max_by_key(|cause| votes(*cause));
        self.is_lower_bound |= self.exhausted == Some(Exhausted::Generator);
    }

    /// The search as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        let show = |load: u64| self.find.show(load);
        match (self.load, self.low, self.high) {
            (Some(load), Some(low), Some(high)) => {
                let bound = if self.is_lower_bound { "at least " } else { "" };
                line(format!(
                    "capacity: {bound}{} (95 %: {} to {})",
                    show(load),
                    count(low as f64),
                    count(high as f64)
                ));
            }
            _ if self.trials.is_empty() => line("capacity: not known, no run came to its end".to_owned()),
            _ => line("capacity: nothing held, not even the least that was tried".to_owned()),
        }
        let held =
            if self.thresholds.is_empty() { "nothing lost".to_owned() } else { self.thresholds.join(", ") };
        line(format!(
            "  {} with {held}; {} runs in {}",
            self.scenario,
            self.trials.len(),
            time(self.took_s * 1e6)
        ));
        for remark in self.remarks() {
            wrap("  ", &remark).into_iter().for_each(&mut line);
        }
        line(String::new());
        line(format!("{:>22}  {:<8}{:>10}{:>9}{:>9}  {}", "load", "", "p99", "server", "users", "why not"));
        for trial in &self.trials {
            line(row(self.find, trial));
        }
        text
    }

    /// What a reader should know besides the answer.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match self.exhausted {
            Some(what) => remarks.push(format!("exhausted: {what}")),
            None if self.load.is_some() && !self.is_cut_short => {
                remarks.push(
                    "nothing was exhausted: the most that was to be tried held; raise --max".to_owned(),
                );
            }
            None => {}
        }
        if self.exhausted == Some(Exhausted::Generator) {
            remarks.push(
                "the server may carry more: give the generator more cores (--load-cpus), users in user space (--engine tun), or a \
                 machine of its own"
                    .to_owned(),
            );
        }
        if self.is_cut_short {
            remarks.push(
                "the search was cut short: its interval is as wide as what was known by then".to_owned(),
            );
        }
        remarks
    }
}

fn row(find: Find, trial: &Trial) -> String {
    let core =
        |busy: Option<f64>| busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", 100.0 * busy));
    let why = trial.reason.as_ref().map_or("", |(code, _)| code.as_str());
    format!(
        "{:>22}  {:<8}{:>10}{:>9}{:>9}  {why}",
        find.show(trial.load),
        trial.verdict.word(),
        trial.p99_us.map_or_else(|| "-".to_owned(), time),
        core(trial.server_busiest_core),
        core(trial.generator_busiest_core),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Reason;

    fn run(verdict: Verdict, code: &str, server: f64, generator: f64) -> Summary {
        let mut run = Summary { verdict, ..Summary::default() };
        run.server = Some(Server { busiest_core: Some(server), ..Server::default() });
        run.generator.busiest_core = Some(generator);
        if verdict != Verdict::Pass {
            run.reasons.push(Reason { verdict, code: code.into(), text: "why".into() });
        }
        run
    }

    #[test]
    fn what_gave_out_is_read_from_the_reason_and_the_cores() {
        let cases = [
            (run(Verdict::Pass, "", 1.0, 1.0), None),
            (run(Verdict::Fail, "threshold", 0.98, 0.5), Some(Exhausted::ServerCpu)),
            (run(Verdict::Fail, "messages_unsent", 0.97, 0.95), Some(Exhausted::ServerCpu)),
            (run(Verdict::Invalid, "send_lag", 0.5, 0.97), Some(Exhausted::Generator)),
            (run(Verdict::Invalid, "threshold_send_lag", 0.5, 0.6), Some(Exhausted::Generator)),
            (run(Verdict::Invalid, "threshold_no_data", 0.1, 0.1), Some(Exhausted::Threshold)),
            (run(Verdict::Invalid, "memory_guard", 0.1, 0.1), Some(Exhausted::Memory)),
            (run(Verdict::Invalid, "generator_ports", 0.1, 0.1), Some(Exhausted::KernelLimit)),
            (run(Verdict::Fail, "threshold", 0.3, 0.95), Some(Exhausted::Generator)),
            (run(Verdict::Fail, "threshold", 0.3, 0.3), Some(Exhausted::Threshold)),
        ];
        let mut no_descriptor = run(Verdict::Fail, "connections_failed", 0.98, 0.3);
        no_descriptor.server.as_mut().unwrap().counters.insert("accept_left_group".to_owned(), 2);
        let cases = cases.into_iter().chain([(no_descriptor, Some(Exhausted::KernelLimit))]);
        for (summary, expected) in cases {
            assert_eq!(Trial::of(1, &summary, String::new()).exhausted, expected, "{:?}", summary.reasons);
        }
    }

    fn search(near: (Verdict, &str, f64, f64)) -> Capacity {
        let trial = |load: u64, summary: Summary| Trial::of(load, &summary, format!("{load}"));
        let mut capacity = Capacity {
            schema: SCHEMA.to_owned(),
            scenario: "pairs".into(),
            load: Some(20_000),
            low: Some(19_000),
            high: Some(21_000),
            thresholds: vec!["p99<20ms".into()],
            ..Capacity::default()
        };
        capacity.trials = vec![
            trial(10_000, run(Verdict::Pass, "", 0.5, 0.5)),
            trial(80_000, run(Verdict::Invalid, "attempts_short", 0.9, 1.0)),
            trial(21_000, run(near.0, near.1, near.2, near.3)),
            trial(22_000, run(near.0, near.1, near.2, near.3)),
        ];
        capacity.name_exhausted();
        capacity
    }

    #[test]
    fn the_trials_nearest_to_the_limit_name_what_it_is() {
        let by_server = search((Verdict::Fail, "threshold", 0.99, 0.5));
        assert_eq!((by_server.exhausted, by_server.is_lower_bound), (Some(Exhausted::ServerCpu), false));
        let by_generator = search((Verdict::Invalid, "send_lag", 0.5, 0.99));
        assert_eq!((by_generator.exhausted, by_generator.is_lower_bound), (Some(Exhausted::Generator), true));
        let text = by_generator.render();
        assert!(text.starts_with("capacity: at least 20.0 k messages/s (95 %: 19.0 k to 21.0 k)"), "{text}");
        assert!(text.contains("exhausted: the generator") && text.contains("send_lag"), "{text}");
        let read: Capacity = serde_json::from_str(&serde_json::to_string(&by_server).unwrap()).unwrap();
        assert_eq!(read, by_server);
    }

    #[test]
    fn a_search_in_which_nothing_held_says_so() {
        let trials = vec![Trial { load: 10, verdict: Verdict::Fail, ..Trial::default() }];
        let text = Capacity { trials, ..Capacity::default() }.render();
        assert!(text.starts_with("capacity: nothing held"), "{text}");
    }

    #[test]
    fn a_search_that_was_cut_short_says_no_more_than_it_knows() {
        let text = Capacity { is_cut_short: true, ..Capacity::default() }.render();
        assert!(text.starts_with("capacity: not known") && text.contains("cut short"), "{text}");
        let [load, low, high] = [Some(1000); 3];
        let trials = vec![Trial { load: 1000, verdict: Verdict::Pass, ..Trial::default() }];
        let grew = Capacity {
            is_cut_short: true,
            is_lower_bound: true,
            load,
            low,
            high,
            trials,
            ..Capacity::default()
        };
        let text = grew.render();
        assert!(text.starts_with("capacity: at least 1000 messages/s") && !text.contains("--max"), "{text}");
    }
}
