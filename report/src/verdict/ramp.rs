//! Whether the ramp kept its promise, and who is to blame for what it lacks.

use crate::schema::{Latency, Summary};

/// Share of its length by which a ramp may be late, beside [`RAMP_LATE_S`].
const RAMP_LATE_SHARE: f64 = 0.1;
/// Seconds by which every ramp may be late: the last one's login takes its time.
const RAMP_LATE_S: f64 = 0.2;

/// What a reader of connect and login times should know. A late ramp spoils no latency of a message and no
/// memory of a connection, so it is no reason for INVALID; a threshold on connecting that it broke is.
pub(super) fn warnings(summary: &Summary) -> Vec<String> {
    let (connections, validity) = (&summary.connections, &summary.validity);
    let mut warnings = Vec::new();
    let late = |name: &str, lag: &Latency, connect: &Latency| {
        let allowed =
            validity.connect_lag_p99_us_floor.max(validity.connect_lag_p99_share_max * connect.p99?);
        let lag = lag.p99.filter(|lag| *lag > allowed)?;
        Some(format!(
            "the generator was late to begin connections {name}: connect lag p99 {:.1} ms, allowed are {:.1} ms; \
             connect and login times are partly its own",
            lag / 1e3,
            allowed / 1e3,
        ))
    };
    let latencies = &summary.latency_us;
    let all_at_once = summary.storm.as_ref().is_some_and(|storm| storm.kind == "login");
    let first = if all_at_once { "of the storm" } else { "of the ramp" };
    warnings.extend(late(first, &latencies.connect_lag, &latencies.connect));
    if let Some(storm) = summary.storm.as_ref().filter(|storm| storm.kind == "reconnect") {
        warnings.extend(late("of the storm", &storm.connect_lag_us, &storm.connect_us));
    }
    if let (Some(planned), Some(achieved)) =
        (connections.planned_connect_rate_per_s, connections.connect_rate_per_s)
    {
        let (promised_s, took_s) =
            (connections.target as f64 / planned, connections.established as f64 / achieved);
        if took_s > promised_s * (1.0 + RAMP_LATE_SHARE) + RAMP_LATE_S {
            let text = format!("the ramp took {took_s:.1} s instead of {promised_s:.1} s");
            warnings.push(match connections.held_back {
                0 => text,
                held => format!(
                    "{text}: {held} connections waited because the server had not let in those before them"
                ),
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::passing;
    use super::*;
    use crate::schema::Verdict;

    #[test]
    fn a_slow_server_breaks_a_threshold_on_connecting_and_a_late_generator_makes_it_invalid() {
        let verdict = |lag_ms: f64, threshold: &str| {
            let mut summary = passing();
            let times = |p99_ms: f64| Latency { count: 1000, p99: Some(p99_ms * 1e3), ..Latency::default() };
            summary.latency_us.login = times(500.0);
            summary.latency_us.connect_lag = times(lag_ms);
            summary.storm = Some(crate::schema::Storm {
                users: 1000,
                login_us: times(500.0),
                connect_lag_us: times(lag_ms),
                never_back: 0,
                ..Default::default()
            });
            judge(&mut summary, &[threshold.parse().unwrap()]);
            (summary.verdict, summary.reasons.first().map(|reason| reason.code.clone()))
        };
        for (latency, code) in
            [("login", "threshold_connect_lag"), ("login_again", "threshold_reconnect_lag")]
        {
            let threshold = format!("{latency}.p99<100ms");
            assert_eq!(verdict(49.0, &threshold), (Verdict::Fail, Some("threshold".to_owned())));
            assert_eq!(verdict(51.0, &threshold), (Verdict::Invalid, Some(code.to_owned())));
        }
        assert_eq!(verdict(0.0, "storm_never_back==0").0, Verdict::Pass);
        assert_eq!(verdict(0.0, "storm_last_back_s<1").0, Verdict::Invalid, "not measured");
    }

    #[test]
    fn how_fast_users_get_in_is_the_servers_figure_only_while_the_generator_is_in_time() {
        let judged = |lag_ms: f64, threshold: &str| {
            let mut summary = passing();
            let times = |p99_ms: f64| Latency { p99: Some(p99_ms * 1e3), ..Latency::default() };
            summary.connections.connect_rate_per_s = Some(900.0);
            summary.latency_us.connect = times(500.0);
            summary.latency_us.connect_lag = times(lag_ms);
            summary.storm = Some(crate::schema::Storm {
                last_back_after_s: Some(0.5),
                connect_us: times(1.0),
                connect_lag_us: times(lag_ms),
                ..Default::default()
            });
            judge(&mut summary, &[threshold.parse().unwrap()]);
            let reason = summary.reasons.pop();
            (summary.verdict, reason.map(|reason| (reason.code, reason.text)))
        };
        for (threshold, code, told) in [
            ("connect_rate>=1k", "threshold_connect_lag", "connect lag 51.000 ms"),
            ("storm_last_back_s<0.4", "threshold_reconnect_lag", "reconnect lag 51.000 ms"),
        ] {
            let (verdict, reason) = judged(49.0, threshold);
            assert_eq!((verdict, reason.unwrap().0.as_str()), (Verdict::Fail, "threshold"), "{threshold}");
            let (verdict, reason) = judged(51.0, threshold);
            let (found, text) = reason.unwrap();
            assert_eq!((verdict, found.as_str()), (Verdict::Invalid, code), "{threshold}");
            assert!(text.contains(told), "{text}");
        }
        assert_eq!(
            judged(51.0, "connect_rate>=800"),
            (Verdict::Pass, None),
            "a late ramp that was fast enough"
        );
        assert_eq!(judged(51.0, "established>=11").0, Verdict::Fail, "not a matter of time");
    }

    #[test]
    fn with_few_users_the_highest_percentile_that_there_is_tells_how_late_they_began() {
        let mut summary = passing();
        summary.connections.connect_rate_per_s = Some(900.0);
        summary.latency_us.connect_lag.p50 = Some(11_000.0);
        judge(&mut summary, &["connect_rate>=1k".parse().unwrap()]);
        assert_eq!(summary.verdict, Verdict::Invalid);
    }

    #[test]
    fn ramps_that_came_late_warn_and_say_whose_fault_it_was() {
        let warned = |held_back: u64, lag_ms: f64, achieved: f64| {
            let mut summary = passing();
            summary.connections.target = 10_000;
            summary.connections.established = 10_000;
            summary.connections.planned_connect_rate_per_s = Some(1000.0);
            summary.connections.connect_rate_per_s = Some(achieved);
            summary.connections.held_back = held_back;
            summary.latency_us.connect.p99 = Some(50_000.0);
            summary.latency_us.connect_lag.p99 = Some(lag_ms * 1e3);
            judge(&mut summary, &[]);
            assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
            summary.warnings.join("\n")
        };
        assert_eq!(warned(0, 9.0, 950.0), "");
        assert!(warned(0, 11.0, 950.0).contains("the generator was late to begin connections of the ramp"));
        assert!(
            warned(7, 0.1, 500.0)
                .contains("20.0 s instead of 10.0 s: 7 connections waited because the server")
        );
    }
}
