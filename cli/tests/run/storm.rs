//! Whole runs of storms, over real sockets.

use throng_report::schema::STORM_COUNTERS;
use throng_report::{Summary, Verdict};

use crate::harness::{LATE, alone, backends, output, summary, throng};

fn storm(scenario: &str, backend: &str, words: &[&str]) -> (Summary, String) {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let out = format!("--out={}", folder.display());
    let fixed =
        ["run", scenario, "-c", "400", "-r", "400", "-d", "1s", "-w", "0s", "--backend", backend, LATE, &out];
    let done = output(throng(&fixed).args(words));
    (summary(&folder), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn users_come_back_after_a_storm_and_the_report_tells_how_long_it_took() {
    for backend in backends() {
        let words = ["--storm-share", "0.25", "--reconnect", "jittered", "--reconnect-base", "500ms"];
        let (summary, text) = storm("reconnect-storm", backend, &words);
        assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
        let told = summary.storm.as_ref().expect("a section of its own");
        assert_eq!((told.users, told.back, told.never_back), (100, 100, 0), "{told:?}");
        assert_eq!((told.connect_us.count, told.login_us.count, told.backoff_base_s), (100, 100, 0.5));
        assert!(told.last_back_after_s.is_some_and(|after| after > 0.4), "{told:?}");
        assert_eq!((summary.connections.established, summary.connections.closed_by_plan), (400, 400));
        assert_eq!((summary.messages.delivered, summary.messages.lost), (400, 0));
        assert_eq!(summary.server.as_ref().unwrap().counters["logins"], 500, "400 and the 100 again");
        for counter in STORM_COUNTERS {
            assert!(summary.kernel.counters.contains_key(counter), "{counter}");
        }
        assert!(text.contains("Storm of reconnects, jittered") && text.contains("ListenOverflows"), "{text}");
    }
}

#[test]
fn everybody_logs_in_at_one_instant() {
    for backend in backends() {
        let (summary, text) = storm("login-storm", backend, &[]);
        assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
        let told = summary.storm.as_ref().expect("a section of its own");
        assert_eq!((told.users, told.back, told.kind.as_str()), (400, 400, "login"));
        assert_eq!(told.login_us, summary.latency_us.login);
        assert_eq!(summary.latency_us.connect_lag.count, 400);
        assert!(text.contains("Storm of logins"), "{text}");
    }
}
