//! What Prometheus reads while a run lasts.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{
    LATE, Running, Samples, alone, free_port, in_the_window, program, samples, scrape, serve, summary, throng,
};

/// The sum over all shards.
fn of_shards(samples: &Samples, name: &str) -> f64 {
    let begin = format!("{name}{{shard=");
    samples.iter().filter(|(sample, _)| sample.starts_with(&begin)).map(|(_, value)| value).sum()
}

/// Prometheus' own tool finds nothing to say about it.
fn is_well_formed(text: &str) {
    let Some(promtool) = program("promtool") else { return };
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.trim().is_empty(), "{said}\n{text}");
}

#[test]
fn a_server_and_its_users_tell_prometheus_what_the_report_says() {
    let _turn = alone();
    let served = serve(&["--shards=2", "--prometheus=127.0.0.1:0"]);
    let words: Vec<&str> = served.line.split_whitespace().collect();
    assert_eq!(words[4], "prometheus", "{}", served.line);
    let (server, users) = (words[5], format!("127.0.0.1:{}", free_port()));
    let home = tempfile::tempdir().unwrap();
    let (out, prometheus) = (format!("--out={}", home.path().display()), format!("--prometheus={users}"));
    let admin = format!("--server-admin={}", served.admin);
    let fixed = ["load", &served.address, "-c", "100", "-r", "500", "-d", "4s", "-w", "0s", "-q", LATE];
    let mut load = throng(&fixed);
    load.args([&out, &prometheus, &admin]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut load = Running::start(&mut load);

    let page = in_the_window(&users);
    let told = samples(&page);
    let beside = scrape(server).unwrap();
    let server_told = samples(&beside);
    is_well_formed(&page);
    is_well_formed(&beside);
    load.wait();
    let after = samples(&scrape(server).unwrap());
    let summary = summary(home.path());

    assert_eq!(told["throng_generator_connections"], 100.0);
    assert_eq!(told["throng_generator_server_up"], 1.0);
    let messages = &summary.messages;
    for (name, whole) in
        [("planned", messages.planned), ("sent", messages.sent), ("delivered", messages.delivered)]
    {
        let then = told[&format!("throng_generator_messages_{name}_total")];
        assert!((1.0..=whole as f64).contains(&then), "{name}: {then} of {whole}");
    }
    let timed = told["throng_generator_delivery_latency_seconds_count"];
    assert!(timed <= summary.latency_us.planned_to_delivered.count as f64, "{timed}");
    assert_eq!(told["throng_generator_delivery_latency_seconds_bucket{le=\"+Inf\"}"], timed);
    // The generator tells the server's figures as it read them, the server as they are.
    for told in [&told, &server_told] {
        assert_eq!(of_shards(told, "throng_server_connections"), 100.0);
    }
    let accepted = |told: &Samples| of_shards(told, "throng_server_messages_accepted_total");
    assert!(accepted(&told) <= accepted(&server_told) && accepted(&server_told) <= messages.accepted as f64);
    assert_eq!(accepted(&after), messages.accepted as f64, "after the run both have counted the same");
    assert_eq!(of_shards(&after, "throng_server_connections"), 0.0);
    assert!(after["throng_server_cpu_seconds_total"] > 0.0);
}

#[test]
fn a_run_tells_both_sides_on_one_address_of_the_hosts() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let (out, prometheus) = (format!("--out={}", home.path().display()), format!("--prometheus={address}"));
    let words = ["run", "-c", "100", "-r", "500", "-d", "3s", "-w", "0s", "-q", LATE, &out, &prometheus];
    let mut run = Running::start(throng(&words).stdout(Stdio::null()).stderr(Stdio::null()));
    // Where there is a lab, it is not in it.
    let page = in_the_window(&address);
    is_well_formed(&page);
    let told = samples(&page);
    assert_eq!(told["throng_generator_connections"], 100.0);
    assert_eq!(told["throng_generator_server_up"], 1.0);
    assert_eq!(of_shards(&told, "throng_server_connections"), 100.0);
    run.wait();
    assert_eq!(summary(home.path()).connections.established, 100);
}

#[test]
fn an_address_that_is_taken_ends_a_run_before_it_begins() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().join("run").display());
    let done = crate::harness::output(&mut throng(&["run", &format!("--prometheus={address}"), &out]));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {address} for Prometheus")), "{stderr}");
    assert!(!home.path().join("run").exists());
}
