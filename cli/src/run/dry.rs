//! `throng run --dry-run`: what the run would take, and what stands in its way.

use std::fmt::Write as _;
use std::time::Duration;

use throng_tune::{Finding, Severity, limits};

use super::Sized;
use crate::exit::{Exit, Outcome};
use crate::prepare;

/// Prints it. [`Exit::Broke`] when the run would be refused.
pub(super) fn show(sized: &Sized) -> Outcome {
    let findings = prepare::findings(&sized.target)?;
    print!("{}", text(sized, &findings));
    let blocked = findings.iter().any(|finding| finding.severity == Severity::Blocker);
    Ok(if blocked { Exit::Broke } else { Exit::Pass })
}

fn text(sized: &Sized, findings: &[Finding]) -> String {
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
    let sources = match sized.sources.range() {
        Some((first, last)) => format!("{} source addresses, {first} to {last}", sized.sources.count()),
        None => "one source address, the kernel's choice".to_owned(),
    };
    line("addresses", format!("{sources}; one target, whose port the kernel chooses"));
    line(
        "descriptors",
        format!("{} sockets; {} descriptors per thread allowed", sized.target.endpoints(), sized.files),
    );
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    line(
        "memory",
        format!(
            "{:.2} GiB: {} B of kernel and up to {} B of user space for each end of a connection, and {:.0} MiB per thread",
            gib(throng_tune::memory_bytes(&sized.target)),
            limits::KERNEL_BYTES_PER_END,
            limits::USER_BYTES_PER_END,
            limits::BYTES_PER_TABLE as f64 / f64::from(1 << 20),
        ),
    );
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
    for (name, severity) in [("in the way", Severity::Blocker), ("advice", Severity::Advice)] {
        let mut found = findings.iter().filter(|finding| finding.severity == severity).peekable();
        if found.peek().is_none() {
            line(name, "nothing".to_owned());
        }
        for (nth, finding) in found.enumerate() {
            line(if nth == 0 { name } else { "" }, finding.to_string());
        }
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn seconds(time: Duration) -> String {
    let text = format!("{:.1}", time.as_secs_f64());
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}
