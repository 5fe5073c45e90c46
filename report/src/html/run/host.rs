//! The plan, and the machine that it ran on: what must be equal for two runs to be comparable.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::folder::Run;
use crate::html::numbers::{bytes, exact, lasting, share};
use crate::html::page::{Column, facts, table};
use crate::schema::{Lab, Summary};

/// `plan.json` as it is: whoever has it can run it again.
pub(super) fn plan(run: &Run) -> Markup {
    html! {
        @match &run.plan {
            Some(plan) => {
                p { "With the same plan, the same users do the same at the same instants. Names that end in " code { "_us" } " are \
                     microseconds." }
                pre tabindex="0" role="region" aria-label="plan.json" { (format!("{plan:#}")) }
            }
            None => p.none { "The run left no plan.json." },
        }
    }
}

/// What the run found out about the machine.
pub(super) fn body(summary: &Summary) -> Markup {
    let (host, machine) = (&summary.host, &summary.machine);
    let lab = host.lab.as_ref();
    html! {
        (facts(&[
            ("kernel", host.kernel.clone()),
            ("processor", host.cpu_model.clone()),
            ("cores", if host.cores > 0 { exact(host.cores) } else { String::new() }),
            ("memory", if host.memory_bytes > 0 { bytes(host.memory_bytes as f64) } else { String::new() }),
            ("up for", machine.uptime_s.map(lasting).unwrap_or_default()),
            ("touched before", if host.prefaulted_bytes > 0 { bytes(host.prefaulted_bytes as f64) } else { String::new() }),
            ("taken by a hypervisor", machine.steal_share.map(share).unwrap_or_default()),
            (
                "cores shared",
                machine.cores_shared.map(|shared| if shared { "server and generator" } else { "no" }.to_owned()).unwrap_or_default(),
            ),
            ("network", host.network.clone()),
            ("lab", lab.map(told).unwrap_or_default()),
        ]))
        @if !host.cmdline.is_empty() {
            h3 { "Command line of the kernel" }
            p { code { (host.cmdline) } }
        }
        div.columns {
            div {
                (pairs("Sysctls", "sysctl", "value", &host.sysctls))
            }
            div {
                @if let Some(lab) = lab {
                    (pairs("Set in the lab", "sysctl", "value", &lab.set))
                    (pairs("Could not be set in the lab", "sysctl", "why", &lab.refused))
                }
                (pairs("Limits", "limit", "value", &host.limits))
                (pairs("Weaknesses of the processor", "weakness", "what the kernel does", &host.mitigations))
            }
        }
    }
}

fn told(lab: &Lab) -> String {
    match lab.made {
        true => format!("a network namespace, by the rights of {}", lab.kind),
        false => format!("none: {}", lab.why),
    }
}

fn pairs(caption: &str, name: &'static str, value: &'static str, pairs: &BTreeMap<String, String>) -> Markup {
    let rows: Vec<Vec<String>> =
        pairs.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
    table(caption, &[Column::Text(name), Column::Text(value)], &rows)
}
