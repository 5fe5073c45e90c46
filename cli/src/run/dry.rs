//! `throng run --dry-run`: what the run would take, and what stands in its way.

use std::fmt::Write as _;
use std::time::Duration;

use throng_loadgen::Engine;
use throng_report::text::bytes;
use throng_tune::{Line, Memory, limits, reserve_bytes};

use super::Sized;
use crate::exit::Exit;
use crate::lab::Told;

/// Prints it. [`Exit::Broke`] when the run would be refused.
pub(super) fn show(sized: &Sized, told: &Told) -> Exit {
    let lines = throng_tune::check(&sized.target, &sized.machine);
    print!("{}", text(sized, told, &lines));
    let blocked = lines.iter().any(|line| line.refuses);
    if blocked { Exit::Broke } else { Exit::Pass }
}

fn text(sized: &Sized, told: &Told, found: &[Line]) -> String {
    let (plan, connections) = (&sized.plan, sized.plan.connections);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let traffic = match plan.closed_loop_window {
        Some(window) => format!("{window} messages in flight per pair"),
        None if plan.rate_per_s > 0.0 => format!("{} messages/s", plan.rate_per_s),
        None => "no messages".to_owned(),
    };
    line(
        "plan",
        format!("{}: {connections} users, {traffic}, {} bytes each", plan.scenario, plan.payload_bytes),
    );
    line("hash", plan.hash());
    line("backend", format!("{} ({})", sized.backend.active, sized.backend.reason));
    let each = connections.div_ceil(sized.shards as u64);
    line(
        "server",
        format!("{} on cores {}, {each} connections each", counted(sized.shards, "shard"), sized.split.serve),
    );
    let each = plan.users_per_thread(sized.threads);
    line(
        "users",
        format!(
            "{} on cores {}, {each} users each at most",
            counted(sized.threads, "thread"),
            sized.split.load
        ),
    );
    if sized.split.shares() {
        line("", "both sides share cores: their figures disturb each other".to_owned());
    }
    line("engine", sized.engine.name().to_owned());
    let (low, high) = sized.machine.port_range();
    let addresses = match (&sized.engine, sized.sources.range()) {
        (Engine::Tun(devices), _) => {
            let server = devices.server();
            format!("{} by TUN device; one target, {server}", counted(devices.threads(), "network"))
        }
        (Engine::Kernel(_), Some((first, last))) => {
            let count = sized.sources.count();
            format!("{count} source addresses, {first} to {last}; one target, with {low} to {high}")
        }
        (Engine::Kernel(_), None) => {
            format!("one source address, the kernel's choice; one target, with {low} to {high}")
        }
    };
    line("addresses", addresses);
    let files = sized.machine.files_per_table;
    let tables = match sized.target.rings(files) {
        0 => format!("{} of {files} descriptors", counted(sized.shards + sized.threads, "table")),
        rings => format!(
            "{} of {} direct descriptors",
            counted(rings as usize, "ring"),
            files.min(limits::CONNECTIONS_PER_RING)
        ),
    };
    line("sockets", format!("{} in {tables}", sized.target.endpoints()));
    lab(told, &mut line);
    let memory = Memory::of(&sized.target, files);
    line(
        "memory",
        format!(
            "{} of {}, and {} are left to everybody else",
            bytes(memory.total() as f64),
            bytes(sized.machine.memory_available_bytes as f64),
            bytes(reserve_bytes(sized.machine.memory_total_bytes) as f64)
        ),
    );
    let parts = [
        ("kernel", memory.kernel),
        ("user space", memory.user),
        ("page tables", memory.page_tables),
        ("rings", memory.rings),
        ("threads", memory.threads),
        ("queues", memory.queues),
    ];
    let parts: Vec<String> =
        parts.iter().map(|(name, part)| format!("{name} {}", bytes(*part as f64))).collect();
    line("", parts.join(", "));
    let ramp = plan.ramp.lasts();
    let roll_call = plan.roll_call();
    let total = ramp + plan.warmup + plan.duration + roll_call;
    line(
        "time",
        format!(
            "{} = ramp {} + warm-up {} + measured {}{}, then at most {} of draining",
            seconds(total),
            seconds(ramp),
            seconds(plan.warmup),
            seconds(plan.duration),
            if roll_call.is_zero() { String::new() } else { format!(" + roll call {}", seconds(roll_call)) },
            seconds(plan.drain_limit),
        ),
    );
    for (name, refuses) in [("in the way", true), ("advice", false)] {
        let mut found = found.iter().filter(|line| line.refuses == refuses).peekable();
        if found.peek().is_none() {
            line(name, "nothing".to_owned());
        }
        for (nth, one) in found.enumerate() {
            line(if nth == 0 { name } else { "" }, one.to_string());
        }
    }
    text
}

/// Where the run would be, and how it is set.
fn lab(told: &Told, line: &mut impl FnMut(&str, String)) {
    let Some(lab) = &told.lab else { return line("lab", "none: the host's loopback, as asked".to_owned()) };
    if !lab.made {
        return line("lab", format!("none, so the host's loopback: {}", lab.why));
    }
    line("lab", format!("a network namespace of its own, by {} rights", lab.kind));
    for (name, value) in &lab.set {
        line("", format!("{name} = {value}"));
    }
    for (name, why) in &lab.refused {
        line("", format!("{name} refused: {why}"));
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn seconds(time: Duration) -> String {
    let text = format!("{:.1}", time.as_secs_f64());
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}
