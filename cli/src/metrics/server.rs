//! A server's families: `throng_server_..`, from the figures that its admin socket tells.

use throng_server::ShardFigures;

use super::{Families, Kind};
use crate::admin::ServerFigures;

/// A shard's figure that has another unit here.
const CPU_NS: &str = "cpu_ns";

/// Adds a server's figures.
pub(crate) fn add(page: &mut Families, told: &ServerFigures) {
    // A server that is not a Throng has neither.
    if !told.backend_active.is_empty() {
        let backend =
            vec![("backend", told.backend_active.clone()), ("requested", told.backend_requested.clone())];
        page.each(
            Kind::Gauge,
            "throng_server_info",
            "The server's backend, and which one was asked for; always 1.",
            [(backend, 1.0)],
        );
        page.one(
            Kind::Gauge,
            "throng_server_uptime_seconds",
            "Time since the server listens.",
            told.uptime_s,
        );
    }
    page.one(
        Kind::Counter,
        "throng_server_cpu_seconds_total",
        "CPU time of the server's process, user and system.",
        told.server.cpu_s,
    );
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    page.one(
        Kind::Gauge,
        "throng_server_resident_memory_bytes",
        "Memory of the server's process.",
        bytes(told.memory.resident_bytes),
    );
    page.one(
        Kind::Gauge,
        "throng_server_anonymous_memory_bytes",
        "Memory of the server's process that is no file: heap, stacks, pools.",
        bytes(told.memory.anonymous_bytes),
    );
    page.one(
        Kind::Gauge,
        "throng_server_available_memory_bytes",
        "Memory that can still be had on the server's machine.",
        bytes(told.available_bytes),
    );
    page.one(
        Kind::Gauge,
        "throng_server_connections_skew_ratio",
        "Connections of the fullest shard by the average of all shards.",
        told.connections_skew,
    );
    shards(page, told);
}

/// Adds what each shard counts, by its number.
fn shards(page: &mut Families, told: &ServerFigures) {
    let lists: Vec<_> = told.server.shards.iter().map(ShardFigures::list).collect();
    for (place, figure) in ShardFigures::described().into_iter().enumerate() {
        let (kind, name, scale) = match (figure.name, figure.is_gauge) {
            (CPU_NS, _) => (Kind::Counter, "throng_server_shard_cpu_seconds_total".to_owned(), 1e-9),
            (name, true) => (Kind::Gauge, format!("throng_server_{name}"), 1.0),
            (name, false) => (Kind::Counter, format!("throng_server_{name}_total"), 1.0),
        };
        let help = if figure.name == CPU_NS { "CPU time of the shard's thread." } else { figure.text };
        let values = lists.iter().enumerate().map(|(shard, list)| {
            let value = list[place].1 as f64 * scale;
            (vec![("shard", shard.to_string())], value)
        });
        page.each(kind, &name, help, values);
    }
}

#[cfg(test)]
mod tests {
    use throng_report::schema::Footprint;
    use throng_server::Figures;

    use super::super::tests::is_proper;
    use super::*;

    #[test]
    fn every_figure_of_every_shard_is_told_in_base_units() {
        let shard =
            |connections, cpu_ns| ShardFigures { connections, cpu_ns, logins: 7, ..Default::default() };
        let told = ServerFigures {
            backend_active: "epoll".to_owned(),
            backend_requested: "auto".to_owned(),
            uptime_s: 2.5,
            memory: Footprint { resident_bytes: Some(4096), ..Footprint::default() },
            connections_skew: Some(1.25),
            server: Figures { cpu_s: 1.5, shards: vec![shard(3, 0), shard(5, 2_500_000_000)] },
            ..ServerFigures::default()
        };
        let mut page = Families::default();
        add(&mut page, &told);
        let text = page.text().unwrap();
        is_proper(&text);
        for line in [
            "throng_server_info{backend=\"epoll\",requested=\"auto\"} 1",
            "throng_server_uptime_seconds 2.5",
            "throng_server_cpu_seconds_total 1.5",
            "throng_server_resident_memory_bytes 4096",
            "throng_server_connections_skew_ratio 1.25",
            "# TYPE throng_server_connections gauge",
            "throng_server_connections{shard=\"1\"} 5",
            "throng_server_logins_total{shard=\"0\"} 7",
            "throng_server_shard_cpu_seconds_total{shard=\"1\"} 2.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let per_shard = text.lines().filter(|line| line.contains("{shard=\"1\"}")).count();
        assert_eq!(per_shard, ShardFigures::described().len());
        assert!(!text.contains("available_memory"), "what is not known is not told: {text}");
    }
}
