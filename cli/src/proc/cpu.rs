//! Cores: what the hypervisor took of them.

use std::collections::BTreeMap;
use std::fs;

/// What one core has done since boot, in ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreTicks {
    /// Everything.
    pub(crate) total: u64,
    /// Taken away by the hypervisor.
    pub(crate) steal: u64,
}

/// Every core that is online, by number.
pub(crate) fn cores() -> BTreeMap<usize, CoreTicks> {
    parse_cores(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_cores(text: &str) -> BTreeMap<usize, CoreTicks> {
    let core = |line: &str| {
        let (number, rest) = line.strip_prefix("cpu")?.split_once(' ')?;
        let ticks: Vec<u64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let (head, steal) = (ticks.get(..8)?, ticks[7]);
        Some((number.parse().ok()?, CoreTicks { total: head.iter().sum(), steal }))
    };
    text.lines().filter_map(core).collect()
}

/// The share of all cores' time between two looks that the hypervisor took away; `None` when no tick has passed.
pub(crate) fn steal_share(
    before: &BTreeMap<usize, CoreTicks>,
    after: &BTreeMap<usize, CoreTicks>,
) -> Option<f64> {
    let (mut steal, mut total) = (0, 0);
    for (core, now) in after {
        let then = before.get(core)?;
        steal += now.steal.saturating_sub(then.steal);
        total += now.total.saturating_sub(then.total);
    }
    (total > 0).then(|| steal as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores() {
        assert!(!cores().is_empty());
    }

    #[test]
    fn steal_is_a_share_of_all_cores() {
        let at = |steal| parse_cores(&format!("cpu  1 1\ncpu0 10 0 0 {} 0 0 0 {steal} 0 0\n", 90 - steal));
        assert_eq!(at(0)[&0], CoreTicks { total: 100, steal: 0 });
        let later = parse_cores("cpu0 60 0 0 100 30 0 0 10 0 0\n");
        assert_eq!(steal_share(&at(0), &later), Some(0.1));
        assert_eq!(steal_share(&later, &later), None);
    }
}
