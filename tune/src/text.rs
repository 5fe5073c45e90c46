//! Audits and knobs as text for a terminal.

use throng_report::text::wrap;

use crate::audit::Line;
use crate::knob::{Knob, Place, Scope, Verdict};
use crate::lab;

/// The verdicts in the order in which they are shown.
const ORDER: [Verdict; 5] =
    [Verdict::Blocks, Verdict::Risky, Verdict::Wasteful, Verdict::Unknown, Verdict::Ok];

/// An audit: what needs a look first, with why and what to do; then what fits, a line each.
pub fn render(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut put = |line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for verdict in ORDER {
        let lines: Vec<&Line> = lines.iter().filter(|line| line.verdict == verdict).collect();
        if lines.is_empty() {
            continue;
        }
        put(&format!("{} ({})", heading(verdict), lines.len()));
        for line in lines {
            let needed = match line.needed.as_str() {
                "" => String::new(),
                needed => format!("needed: {needed}"),
            };
            let head =
                format!("  {:<36} {:<9} {:<24} {needed}", line.knob.name, line.knob.scope.word(), line.now);
            if verdict == Verdict::Ok || verdict == Verdict::Unknown {
                let because = if line.needed.is_empty() { line.because.as_str() } else { "" };
                put(&format!("{head}{because}"));
                continue;
            }
            put(&head);
            let fits =
                line.fits.map(|fits| format!("at most {fits} connections as it is")).unwrap_or_default();
            for (name, value) in [
                ("here", line.because.as_str()),
                ("fits", &fits),
                ("rule", line.knob.why),
                ("do", &line.remedy),
                ("risk", line.knob.risk),
            ] {
                if !value.is_empty() {
                    wrap(&format!("      {name:<5}"), value).iter().for_each(|line| put(line));
                }
            }
        }
        put("");
    }
    let count = |verdict: Verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let blocks = count(Verdict::Blocks);
    let by_lab =
        lines.iter().filter(|line| line.verdict == Verdict::Blocks && lab::sets(line.knob.name)).count();
    put(&match (blocks, by_lab) {
        (0, _) => "The target fits.".to_owned(),
        (blocks, 0) => format!("The target does not fit: {blocks} in the way."),
        (blocks, by_lab) => format!(
            "The target does not fit: {blocks} in the way, of which `throng run` sets {by_lab} in its lab."
        ),
    });
    text
}

fn heading(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Blocks => "In the way of the target",
        Verdict::Risky => "Fits until something goes wrong",
        Verdict::Wasteful => "Costs something for nothing",
        Verdict::Unknown => "Cannot be known from here",
        Verdict::Ok => "Fits",
    }
}

/// A knob, with everything that is known of it.
pub fn describe(knob: &Knob) -> String {
    let place = match knob.place {
        Place::Sysctl => format!("/proc/sys/{}", knob.name.replace('.', "/")),
        Place::File(path) => path.to_owned(),
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
