//! The processor: told, because results depend on it, and never changed by Throng.

use crate::detect::unseen;
use crate::knob::{Knob, Place, Said, Scope};

pub(super) const GOVERNOR: Knob = Knob {
    name: "cpufreq governor",
    scope: Scope::Host,
    place: Place::Read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    what: "how the processor's clock follows its load",
    why: "performance for a measurement: others raise the clock only when work has been waiting",
    risk: "heat, and a bill",
    source: "Documentation/admin-guide/pm/cpufreq.rst",
    rule: |_, machine| match machine.text(GOVERNOR.name) {
        None => Said::unknown("a hypervisor does not show it"),
        Some("performance") => Said::enough("performance"),
        Some(_) => Said::risky("performance", "the clock follows the load, and latencies with it")
            .instead("cpupower frequency-set -g performance"),
    },
    seen: unseen,
};

pub(super) const SMT: Knob = Knob {
    name: "SMT",
    scope: Scope::Host,
    place: Place::Read("/sys/devices/system/cpu/smt/active"),
    what: "whether two cores are one with two sets of registers",
    why: "server and generator on cores of their own (--serve-cpus, --load-cpus), not on halves of one",
    risk: "half of the cores",
    source: "Documentation/ABI/testing/sysfs-devices-system-cpu",
    rule: |_, machine| match machine.number(SMT.name) {
        None => Said::unknown("not told here"),
        Some(0) => Said::unknown("none, unless a hypervisor does not show it").now("off"),
        Some(_) => Said::risky("cores of their own", "server and generator may share a core by halves")
            .instead("--serve-cpus, --load-cpus")
            .now("on"),
    },
    seen: unseen,
};

pub(super) const MITIGATIONS: Knob = Knob {
    name: "mitigations",
    scope: Scope::Boot,
    place: Place::Boot("mitigations"),
    what: "what the kernel does against the processor's weaknesses: each system call pays for it",
    why: "as in production; reports carry the list, and runs that differ in it are not compared",
    risk: "off leaves the machine open",
    source: "Documentation/admin-guide/kernel-parameters.txt",
    rule: |_, _| {
        Said::unknown(
            "as in production; /sys/devices/system/cpu/vulnerabilities tells, and every report under host.mitigations",
        )
    },
    seen: unseen,
};

pub(super) const NUMA: Knob = Knob {
    name: "NUMA nodes",
    scope: Scope::Host,
    place: Place::Told,
    what: "memory that is nearer to some cores than to others",
    why: "server and generator each on the cores of one node",
    risk: "none",
    source: "Documentation/admin-guide/mm/numa_memory_policy.rst",
    rule: |_, machine| {
        let said = match machine.numa_nodes {
            0 | 1 => Said::ok("one node: nothing is far"),
            _ => Said::risky("one node for each side", "memory may be far from its core")
                .instead("--serve-cpus, --load-cpus"),
        };
        said.now(machine.numa_nodes.max(1))
    },
    seen: unseen,
};
