//! Audits and knobs as text for a terminal.

use throng_report::text::wrap;

use crate::audit::Line;
use crate::knob::{Knob, Place, Scope, Verdict};
use crate::machine::Machine;
use crate::target::{Backend, Side, Target};

/// What a line belongs to, in the order in which it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// A run would be refused.
    Refuses,
    /// With this verdict, and not refused.
    Of(Verdict),
}

const GROUPS: [(Group, &str); 6] = [
    (Group::Refuses, "In the way: Throng does not begin"),
    (
        Group::Of(Verdict::Blocks),
        "In the way: less than the rule asks for, and something is lost, late or slow",
    ),
    (Group::Of(Verdict::Risky), "Fits until something goes wrong: a stall, a lost packet, who does not read"),
    (Group::Of(Verdict::Wasteful), "Costs something for nothing: slower or larger, and nothing is lost"),
    (Group::Of(Verdict::Unknown), "Not judged"),
    (Group::Of(Verdict::Ok), "Fits"),
];

impl Group {
    fn of(line: &Line) -> Group {
        if line.refuses { Group::Refuses } else { Group::Of(line.verdict) }
    }

    /// Whether a line of it needs no look.
    fn is_short(self) -> bool {
        matches!(self, Group::Of(Verdict::Ok | Verdict::Unknown))
    }
}

/// An audit: what was judged, of `about` and the target; what needs a look first, with why and what to do; then what fits, a line
/// each.
pub fn render(about: &str, target: &Target, machine: &Machine, lines: &[Line]) -> String {
    let mut text = String::new();
    let mut put = |line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    put(about);
    for (name, value) in assumed(target, machine) {
        wrap(&format!("  {name:<9} "), &value).iter().for_each(|line| put(line));
    }
    for (group, heading) in GROUPS {
        let lines: Vec<&Line> = lines.iter().filter(|line| Group::of(line) == group).collect();
        if lines.is_empty() {
            continue;
        }
        put("");
        put(&format!("{heading} ({})", lines.len()));
        for line in lines {
            let needed = match line.needed.as_str() {
                "" => String::new(),
                needed => format!("needed: {needed}"),
            };
            let head = format!("  {:<36} {:<9} {:<24} ", line.knob.name, line.knob.scope.word(), line.now);
            if group.is_short() {
                let parts = [needed.as_str(), line.because.as_str()];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                put(&format!("{head}{}", parts.join("; ")));
                continue;
            }
            put(&format!("{head}{needed}"));
            let fits =
                line.fits.map(|fits| format!("at most {fits} connections as it is")).unwrap_or_default();
            let back = back(line);
            for (name, value) in [
                ("here", line.because.as_str()),
                ("fits", &fits),
                ("rule", line.knob.why),
                ("do", &line.remedy),
                ("risk", line.knob.risk),
                ("back", &back),
                ("from", line.knob.source),
            ] {
                if !value.is_empty() {
                    wrap(&format!("      {name:<5}"), value).iter().for_each(|line| put(line));
                }
            }
        }
    }
    put("");
    let blocks = lines.iter().filter(|line| line.verdict == Verdict::Blocks).count();
    let fits = lines.iter().filter_map(|line| line.fits).min();
    put(&match (blocks, fits) {
        (0, _) => "The target fits, as far as settings and memory go: whether the cores are fast enough a run tells.".to_owned(),
        (blocks, None) => format!("The target does not fit: {blocks} in the way."),
        (blocks, Some(fits)) => {
            format!("The target does not fit: {blocks} in the way. As it is, Throng begins with {fits} connections at most.")
        }
    });
    put("`throng tune knobs NAME` has the rule, the risk and the source of each.");
    text
}

/// How it is put back, once it is set; empty where nothing is set, or where it goes with a lab.
fn back(line: &Line) -> String {
    let is_written = matches!(line.knob.place, Place::Sysctl | Place::File(_)) && line.value.is_some();
    let in_lab = line.remedy.starts_with("throng run ");
    if is_written && !in_lab { line.knob.set(&line.now) } else { String::new() }
}

/// What the figures are calculated from.
fn assumed(target: &Target, machine: &Machine) -> Vec<(&'static str, String)> {
    let side = |name: &'static str, side: Side, what: &str| {
        let rings = side.rings(machine.files_per_table);
        let over = match side.backend {
            Backend::Epoll => "over epoll".to_owned(),
            Backend::IoUring => format!("over io-uring, {}", counted(rings, "ring")),
            Backend::UserSpace => "with TCP in user space".to_owned(),
        };
        (name, format!("{} {over}", counted(side.threads, what)))
    };
    let mut all = Vec::new();
    all.extend(target.server.map(|server| side("server", server, "shard")));
    if let Some((users, sources)) = target.generator {
        let (name, mut text) = side("users", users, "thread");
        if users.has_sockets() {
            text += &format!(", from {}", counted(sources.addresses, "source address"));
        }
        all.push((name, text));
    }
    let rate = target.connect_rate_per_s;
    all.push((
        "connects",
        format!("{rate:.0} a second: --connect-rate, else all within 20 s, or 10,000 a second"),
    ));
    let whose = "host: the whole machine; namespace: a network namespace, and a lab is one; process; socket; boot: the kernel's command line";
    all.push(("columns", format!("setting, whose it is, what it is, what is needed ({whose})")));
    all
}

fn counted(count: u64, what: &str) -> String {
    let ending = match (count, what.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {what}{ending}")
}

/// A knob, with everything that is known of it.
pub fn describe(knob: &Knob) -> String {
    let place = match knob.place {
        Place::Sysctl => format!("/proc/sys/{}", knob.name.replace('.', "/")),
        Place::File(path) => path.to_owned(),
        Place::Read(path) => format!("{path}, which Throng does not write"),
        Place::Limit { ulimit, systemd, .. } => format!("ulimit {ulimit}, {systemd}= under systemd"),
        Place::Throng(Some(flag)) => format!("Throng's own sockets, by {flag}"),
        Place::Throng(None) => "Throng's own sockets".to_owned(),
        Place::Boot(parameter) => format!("the kernel's command line: {parameter}="),
        Place::Told => "told, not set by Throng".to_owned(),
    };
    let scope = match knob.scope {
        Scope::Process => "one process and its children",
        Scope::Socket => "one socket",
        Scope::Namespace => "a network namespace: a lab has its own",
        Scope::Host => "the whole machine",
        Scope::Boot => "the whole machine, from its next start on",
    };
    let mut text = format!("{}\n", knob.name);
    for (name, value) in [
        ("decides", knob.what),
        ("rule", knob.why),
        ("holds for", scope),
        ("place", &place),
        ("risk", knob.risk),
        ("put back", knob.undo()),
        ("source", knob.source),
    ] {
        for line in wrap(&format!("  {name:<10}"), value) {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}
