//! The terminal summary: verdict first, then what it rests on. Readable at 80 columns.

use crate::schema::{Latency, STORM_COUNTERS, Summary, Verdict};

pub(crate) mod counters;
mod memory;

const RULE: usize = 78;

/// The summary as text; with `colour` the verdict is coloured by ANSI escapes.
pub fn render(summary: &Summary, colour: bool) -> String {
    let mut page = Page { text: String::new() };
    page.verdict(summary, colour);
    page.connections(summary);
    page.storm(summary);
    page.messages(summary);
    page.latency(summary);
    page.cost(summary);
    page.memory(summary);
    page.counters(summary);
    for found in &summary.detected {
        page.wrapped("held back: ", &format!("{}: {}; {}", found.knob, found.text, found.remedy));
    }
    for warning in &summary.warnings {
        page.wrapped("warning: ", warning);
    }
    page.text
}

/// A count as people read it: `950`, `12.3 k`, `2.50 M`.
pub fn count(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} G", v / 1e9),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

/// A time given in microseconds as people read it: `85.0 us`, `1.04 ms`, `2.01 s`.
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "us"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A size in bytes: `118 B`, `4.07 kB`, `1.20 GB`.
pub fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} GB", v / 1e9),
        v if v >= 1e6 => format!("{:.2} MB", v / 1e6),
        v if v >= 1e3 => format!("{:.2} kB", v / 1e3),
        v => format!("{v:.0} B"),
    }
}

/// Bytes that have a budget, where tenths tell one change from the next: `118.4 B`, `4.07 kB`.
fn budgeted(value: f64) -> String {
    if value < 1e3 { format!("{value:.1} B") } else { bytes(value) }
}

fn known(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A sentence after a label, broken between words into lines that are indented under its beginning.
pub fn wrap(label: &str, sentence: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = label.to_owned();
    for word in sentence.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > RULE && line.trim().len() > label.trim().len() {
            lines.push(line);
            line = " ".repeat(label.chars().count());
        }
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn head(&mut self, title: &str) {
        self.line("");
        self.line(title);
    }

    /// A sentence after a label, broken between words and indented under itself.
    fn wrapped(&mut self, label: &str, sentence: &str) {
        for line in wrap(label, sentence) {
            self.line(&line);
        }
    }

    /// Figures after a label, three blanks apart, broken between them and indented under the first.
    fn figures(&mut self, label: &str, figures: &[String]) {
        let mut line = label.to_owned();
        for (at, figure) in figures.iter().enumerate() {
            if at > 0 && line.chars().count() + 3 + figure.chars().count() > RULE {
                self.line(&line);
                line = " ".repeat(label.chars().count());
            } else if at > 0 {
                line.push_str("   ");
            }
            line.push_str(figure);
        }
        self.line(&line);
    }

    fn verdict(&mut self, summary: &Summary, colour: bool) {
        let word = summary.verdict.word();
        let word = match (colour, summary.verdict) {
            (false, _) => word.to_owned(),
            (true, Verdict::Pass) => format!("\x1b[1;32m{word}\x1b[0m"),
            (true, Verdict::Fail) => format!("\x1b[1;31m{word}\x1b[0m"),
            (true, Verdict::Invalid) => format!("\x1b[1;33m{word}\x1b[0m"),
        };
        let plan = &summary.plan;
        let load = match (plan.closed_loop_window, plan.rate_per_s) {
            (Some(window), _) => format!(", closed loop, {window} in flight per pair"),
            (None, Some(rate)) if rate > 0.0 => format!(", {} messages/s", count(rate)),
            _ => String::new(),
        };
        self.line(&format!(
            "{word}  {} over {}: {} connections{load}, {} s",
            plan.scenario,
            plan.protocol,
            count(plan.connections as f64),
            plan.duration_s,
        ));
        for reason in &summary.reasons {
            self.wrapped("  - ", &reason.text);
        }
        for threshold in &summary.thresholds {
            if threshold.outcome == crate::schema::Outcome::Holds {
                self.line(&format!("  + threshold {} holds", threshold.text));
            }
        }
    }

    fn connections(&mut self, summary: &Summary) {
        let c = &summary.connections;
        self.head("Connections");
        self.figures(
            "  ",
            &[
                format!("established {} of {}", c.established, c.target),
                format!("failed {}", c.failed),
                format!("lost {}", c.lost),
                match c.planned_connect_rate_per_s {
                    Some(planned) => {
                        let achieved = known(c.connect_rate_per_s, count);
                        format!("connect rate {achieved}/s of {}/s planned", count(planned))
                    }
                    None => format!("connect rate {}/s", known(c.connect_rate_per_s, count)),
                },
            ],
        );
        if summary.heartbeats.due > 0 {
            let h = &summary.heartbeats;
            self.line(&format!("  heartbeats due {}   answered {}", h.due, h.answered));
        }
    }

    fn storm(&mut self, summary: &Summary) {
        let Some(storm) = &summary.storm else { return };
        self.head(&format!("Storm of {}s, {}", storm.kind, storm.reconnect));
        self.figures(
            "  ",
            &[
                format!("users {}", storm.users),
                format!("back {}", storm.back),
                format!("never back {}", storm.never_back),
                format!("attempts {}", storm.attempts),
                format!("of them repeats {}", storm.repeats),
                format!("last one in after {}", known(storm.last_back_after_s, |s| time(s * 1e6))),
            ],
        );
        let counters = &summary.kernel.counters;
        let shown = STORM_COUNTERS.map(|name| {
            let moved = counters.get(name).map_or_else(|| "-".to_owned(), ToString::to_string);
            format!("{} {moved}", name.trim_start_matches("TcpExt").trim_start_matches("Tcp"))
        });
        self.figures("  kernel   ", &shown);
    }

    fn messages(&mut self, summary: &Summary) {
        let m = &summary.messages;
        if !summary.plan.has_messages() {
            return;
        }
        self.head(&format!(
            "{:<14}{:>12}{:>12}{:>12}{:>12}{:>14}",
            "Messages", "planned", "sent", "accepted", "delivered", "delivered/s"
        ));
        let w = &m.window;
        for (name, counts, rate) in [
            ("window", [w.planned, w.sent, w.accepted, w.delivered], known(m.rate_per_s, count)),
            ("whole run", [m.planned, m.sent, m.accepted, m.delivered], String::new()),
        ] {
            let [planned, sent, accepted, delivered] = counts;
            self.line(&format!("  {name:<12}{planned:>12}{sent:>12}{accepted:>12}{delivered:>12}{rate:>14}"));
        }
        let at_least = if m.lost_is_lower_bound { ">= " } else { "" };
        self.figures(
            "  ",
            &[
                format!("lost {at_least}{}", m.lost),
                format!("duplicated {at_least}{}", m.duplicated),
                format!("reordered {}", m.reordered),
                format!("corrupted {}", m.corrupted),
                format!("refused {}", m.refused),
                format!("unknown {}", m.unknown),
            ],
        );
        if !m.order_checked.is_empty() {
            self.wrapped("  order and repeats checked for ", &m.order_checked);
        }
    }

    fn latency(&mut self, summary: &Summary) {
        let l = &summary.latency_us;
        let mut rows: Vec<(&str, &Latency)> = vec![
            ("planned to delivered", &l.planned_to_delivered),
            ("written to delivered", &l.written_to_delivered),
            ("send lag", &l.send_lag),
            ("connect lag", &l.connect_lag),
            ("connect", &l.connect),
            ("handshake", &l.handshake),
            ("login", &l.login),
        ];
        if let Some(storm) = summary.storm.as_ref().filter(|storm| storm.kind == "reconnect") {
            rows.push(("reconnect lag", &storm.connect_lag_us));
            rows.push(("reconnect", &storm.connect_us));
            rows.push(("handshake again", &storm.handshake_us));
            rows.push(("logged in again", &storm.login_us));
        }
        if rows.iter().all(|(_, row)| row.count == 0) {
            return;
        }
        self.head(&format!(
            "{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "Latency", "p50", "p90", "p99", "p99.9", "max"
        ));
        for (name, row) in rows.into_iter().filter(|(_, row)| row.count > 0) {
            let [p50, p90, p99, p999, max] =
                [row.p50, row.p90, row.p99, row.p999, row.max].map(|value| known(value, time));
            self.line(&format!("  {name:<20}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}"));
        }
    }

    fn cost(&mut self, summary: &Summary) {
        self.head("Cost");
        if let Some(server) = &summary.server {
            let backend = server.backend.as_ref().map_or("-", |backend| backend.active.as_str());
            let shards = server.shards.map_or_else(|| "-".to_owned(), |shards| shards.to_string());
            let mut figures = vec![
                format!("{} messages per CPU-s", known(server.messages_per_cpu_s, count)),
                format!("{} per connection", known(server.user_bytes_per_connection, budgeted)),
                format!("{shards} shards, {backend}"),
            ];
            // One shard has all there are.
            if let Some(skew) = server.connections_skew.filter(|_| server.shards > Some(1)) {
                figures.push(format!("fullest shard {skew:.2} of the average"));
            }
            self.figures("  server      ", &figures);
        }
        if let Some(tls) = &summary.tls {
            let mut figures = vec![
                format!("TLS {} {}", tls.version, tls.suite),
                format!("{} per session", known(tls.bytes_per_session, budgeted)),
                format!("{} handshakes, {} resumed", count(tls.sessions as f64), count(tls.resumed as f64)),
                format!("{} per server CPU-s", known(tls.handshakes_per_cpu_s, count)),
            ];
            if tls.whole > 0 {
                figures.push(format!("{} of them not compact", count(tls.whole as f64)));
            }
            self.figures("  encryption  ", &figures);
        }
        let kernel = &summary.kernel;
        self.line(&format!(
            "  kernel      {} per connection, {} of it beyond the socket",
            known(kernel.bytes_per_connection, budgeted),
            known(kernel.extra_bytes_per_connection, budgeted),
        ));
        let generator = &summary.generator;
        let engine = if generator.engine == "tun" { "   engine tun" } else { "" };
        self.line(&format!(
            "  generator   {} per user   busiest core {}{engine}",
            known(generator.user_bytes_per_user, budgeted),
            known(generator.busiest_core, |share| format!("{:.0} %", share * 100.0)),
        ));
        let per_message = known(summary.machine.cpu_us_per_message, time);
        self.line(&format!("  both        {per_message} of CPU per message"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Backend, Reason, Server};

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!([0.0, 12.5, 950.0, 12_345.0, 2.5e6].map(count), ["0", "12.50", "950", "12.3 k", "2.50 M"]);
        assert_eq!(
            [0.5, 85.0, 1_040.0, 200_000.0, 2.01e6].map(time),
            ["0.50 us", "85.0 us", "1.04 ms", "200 ms", "2.01 s"]
        );
        assert_eq!([118.0, 4_070.0].map(bytes), ["118 B", "4.07 kB"]);
    }

    #[test]
    fn a_full_summary_reads_well() {
        let mut summary = Summary { verdict: Verdict::Fail, ..Summary::default() };
        summary.reasons.push(Reason {
            verdict: Verdict::Fail,
            code: "threshold".into(),
            text: "threshold p99<1ms is broken: measured 2.000 ms, and this sentence goes on beyond the line"
                .into(),
        });
        summary.plan.scenario = "pairs".into();
        summary.plan.protocol = "native".into();
        summary.plan.connections = 10_000;
        summary.plan.rate_per_s = Some(20_000.0);
        summary.plan.duration_s = 20.0;
        summary.connections.established = 10_000;
        summary.connections.target = 10_000;
        summary.messages.delivered = 400_000;
        summary.messages.window.delivered = 380_000;
        summary.messages.rate_per_s = Some(19_000.0);
        summary.messages.order_checked = "every user".into();
        summary.latency_us.planned_to_delivered = Latency {
            count: 400_000,
            p50: Some(85.0),
            p99: Some(2000.0),
            max: Some(12_000.0),
            ..Latency::default()
        };
        summary.server = Some(Server {
            messages_per_cpu_s: Some(123_456.0),
            shards: Some(2),
            backend: Some(Backend { active: "epoll".into(), ..Backend::default() }),
            ..Server::default()
        });
        summary.kernel.counters.insert("TcpRetransSegs".into(), 12);
        summary.kernel.counters.insert("TcpOutSegs".into(), 12_000);
        summary.warnings.push("server and generator shared cores".into());
        let text = render(&summary, false);
        let expected = "\
FAIL  pairs over native: 10.0 k connections, 20.0 k messages/s, 20 s
  - threshold p99<1ms is broken: measured 2.000 ms, and this sentence goes on
    beyond the line

Connections
  established 10000 of 10000   failed 0   lost 0   connect rate -/s

Messages           planned        sent    accepted   delivered   delivered/s
  window                 0           0           0      380000        19.0 k
  whole run              0           0           0      400000
  lost 0   duplicated 0   reordered 0   corrupted 0   refused 0   unknown 0
  order and repeats checked for every user

Latency                      p50       p90       p99     p99.9       max
  planned to delivered   85.0 us         -   2.00 ms         -   12.0 ms

Cost
  server      123.5 k messages per CPU-s   - per connection   2 shards, epoll
  kernel      - per connection, - of it beyond the socket
  generator   - per user   busiest core -
  both        - of CPU per message

Kernel counters that moved
  TcpRetransSegs                   +12   segments sent again
warning: server and generator shared cores
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(render(&summary, true).starts_with("\x1b[1;31mFAIL\x1b[0m"));
    }

    #[test]
    fn a_storm_shows_its_counters_even_when_they_stood_still() {
        let mut summary = Summary::default();
        summary.connections.planned_connect_rate_per_s = Some(10_000.0);
        summary.storm = Some(crate::schema::Storm {
            kind: "reconnect".into(),
            reconnect: "jittered".into(),
            users: 100_000,
            back: 99_999,
            never_back: 1,
            attempts: 100_450,
            repeats: 450,
            last_back_after_s: Some(3.25),
            connect_us: Latency { count: 99_999, p99: Some(1500.0), ..Latency::default() },
            ..Default::default()
        });
        summary.kernel.counters.insert("TcpExtListenOverflows".into(), 0);
        summary.kernel.counters.insert("TcpRetransSegs".into(), 17);
        let text = render(&summary, false);
        let expected = "
Storm of reconnects, jittered
  users 100000   back 99999   never back 1   attempts 100450
  of them repeats 450   last one in after 3.25 s
  kernel   ListenOverflows 0   ListenDrops -   TCPSynRetrans -
           RetransSegs 17
";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("  reconnect                    -         -   1.50 ms"), "{text}");
        assert!(text.contains("connect rate -/s of 10.0 k/s planned"), "{text}");
    }

    #[test]
    fn the_largest_runs_still_fit_80_columns() {
        let mut summary = Summary::default();
        let many = 999_999_999_999;
        summary.plan.closed_loop_window = Some(64);
        summary.connections.target = many;
        summary.connections.established = many;
        summary.connections.failed = many;
        summary.connections.lost = many;
        let m = &mut summary.messages;
        (m.planned, m.sent, m.accepted, m.delivered) = (many, many, many, many);
        (m.lost, m.duplicated, m.reordered, m.corrupted) = (many, many, many, many);
        (m.lost_is_lower_bound, m.refused, m.unknown) = (true, many, many);
        summary.server = Some(Server {
            messages_per_cpu_s: Some(123_456.0),
            user_bytes_per_connection: Some(118.0),
            shards: Some(264),
            connections_skew: Some(263.999),
            backend: Some(Backend { active: "io-uring".into(), ..Backend::default() }),
            ..Server::default()
        });
        let text = render(&summary, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("lost >= 999999999999") && text.contains("264 shards, io-uring"), "{text}");
    }

    #[test]
    fn what_has_a_budget_is_told_in_tenths_of_a_byte() {
        let mut summary = Summary::default();
        let server = Server { user_bytes_per_connection: Some(118.44), ..Server::default() };
        summary.server = Some(server);
        summary.kernel.bytes_per_connection = Some(4_070.0);
        summary.kernel.extra_bytes_per_connection = Some(256.0);
        summary.generator.user_bytes_per_user = Some(121.06);
        let text = render(&summary, false);
        for told in
            ["118.4 B per connection", "4.07 kB per connection, 256.0 B of it beyond", "121.1 B per user"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
    }

    #[test]
    fn how_connections_are_spread_is_told_where_there_are_several_shards() {
        let cost = |shards, connections_skew| {
            let server = Server { shards: Some(shards), connections_skew, ..Server::default() };
            render(&Summary { server: Some(server), ..Summary::default() }, false)
        };
        let told = "2 shards, -\n              fullest shard 1.04 of the average\n";
        assert!(cost(2, Some(1.0375)).contains(told), "{}", cost(2, Some(1.0375)));
        assert!(!cost(2, None).contains("fullest") && !cost(1, Some(1.0)).contains("fullest"));
    }

    #[test]
    fn an_empty_summary_is_still_a_text() {
        let text = render(&Summary::default(), false);
        assert!(text.starts_with("INVALID"), "{text}");
        assert!(!text.contains("Latency"), "{text}");
    }
}
