//! From flags to a plan and the sizes that it takes on this machine; what stands in its way.

use std::fs;

use throng_loadgen::{Network, Plan, PortRange, Sources};
use throng_reactor::{Backend, sys};
use throng_tune::{Finding, Machine, Severity, Side, Target};

use crate::args::PlanFlags;
use crate::args::values::Cores;
use crate::exit::Failure;

/// The plan of a scenario, with what the flags set over it.
pub(crate) fn plan(scenario: &str, flags: &PlanFlags) -> Result<Plan, Failure> {
    let scenario = throng_loadgen::scenario::load(scenario).map_err(|error| Failure::usage(chain(&error)))?;
    Plan::new(&scenario, &flags.overrides()).map_err(|error| Failure::usage(chain(&error)))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Descriptors per table, after raising the soft limit to the hard one.
pub(crate) fn files_per_table() -> Result<u64, Failure> {
    let limit = sys::files::raise_limit();
    limit
        .map(|limit| limit.soft)
        .map_err(|error| Failure::broke(format!("cannot read RLIMIT_NOFILE: {error}")))
}

/// Generator threads: as told, else one per core, more where the limit on open files forces it.
pub(crate) fn threads(plan: &Plan, told: Option<u64>, cores: usize, files: u64) -> Result<usize, Failure> {
    if let Some(told) = told {
        let most = plan.lanes() as usize;
        return usize::try_from(told).ok().filter(|&threads| threads <= most).ok_or_else(|| {
            Failure::usage(format!("--threads {told}: this plan can be shared out over at most {most}"))
        });
    }
    let mut threads = cores.clamp(1, plan.lanes() as usize);
    // Each further thread costs every table an eventfd, so the answer is a fixed point; it is reached in a few steps.
    loop {
        let room = files.saturating_sub(throng_tune::limits::FILES_RESERVED_PER_TABLE + threads as u64);
        let needed = plan.threads_for(room).ok_or_else(|| {
            Failure::broke(format!(
                "{} users do not fit under a limit of {files} open files, however many threads share them: raise it (ulimit \
                 -Hn, LimitNOFILE= under systemd)",
                plan.connections
            ))
        })?;
        if needed <= threads {
            return Ok(threads);
        }
        threads = needed;
    }
}

/// Shards of a server: as told, else one per core, more where the limit on open files forces it.
pub(crate) fn shards(
    connections: u64,
    told: Option<u64>,
    cores: usize,
    files: u64,
) -> Result<usize, Failure> {
    let shards = told.or_else(|| throng_tune::tables_needed(connections, cores as u64, files));
    let shards = shards.ok_or_else(|| {
        Failure::broke(format!(
            "{connections} connections do not fit under a limit of {files} open files, however many shards share them: \
             raise it (ulimit -Hn, LimitNOFILE= under systemd)"
        ))
    })?;
    usize::try_from(shards)
        .map_err(|_| Failure::usage(format!("--shards {shards} is more than a machine has")))
}

/// The cores that this process may use.
pub(crate) fn allowed_cores() -> Result<Vec<usize>, Failure> {
    sys::affinity::allowed()
        .map_err(|error| Failure::broke(format!("cannot read which cores are allowed: {error}")))
}

/// Which cores each side has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The server's.
    pub(crate) serve: Cores,
    /// The generator's.
    pub(crate) load: Cores,
}

impl Split {
    /// As told; what is not told gets what the other side leaves, or half and half, the server first. Where nothing is
    /// left (one core), both share.
    pub(crate) fn new(allowed: &[usize], serve: Option<&Cores>, load: Option<&Cores>) -> Split {
        let without = |taken: &Cores| {
            let rest: Vec<usize> = allowed.iter().copied().filter(|core| !taken.0.contains(core)).collect();
            Cores(if rest.is_empty() { allowed.to_vec() } else { rest })
        };
        match (serve, load) {
            (Some(serve), Some(load)) => Split { serve: serve.clone(), load: load.clone() },
            (Some(serve), None) => Split { load: without(serve), serve: serve.clone() },
            (None, Some(load)) => Split { serve: without(load), load: load.clone() },
            (None, None) => {
                let serve = Cores(allowed[..allowed.len().div_ceil(2)].to_vec());
                Split { load: without(&serve), serve }
            }
        }
    }

    /// Whether some core has to do both.
    pub(crate) fn shares(&self) -> bool {
        self.serve.0.iter().any(|core| self.load.0.contains(core))
    }
}

/// The ports that the kernel gives to connections.
pub(crate) fn port_range() -> Result<PortRange, Failure> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text =
        fs::read_to_string(path).map_err(|error| Failure::broke(format!("cannot read {path}: {error}")))?;
    text.parse().map_err(Failure::broke)
}

/// The generator's source addresses.
pub(crate) fn sources(
    targets: &[std::net::SocketAddr],
    plan: &Plan,
    from: Option<Network>,
) -> Result<Sources, Failure> {
    Sources::plan(targets, plan.connections, port_range()?, from)
        .map_err(|error| Failure::broke(chain(&error)))
}

/// What the plan wants from this machine.
pub(crate) fn target(
    plan: &Plan,
    backend: Backend,
    shards: Option<usize>,
    threads: usize,
    sources: &Sources,
) -> Target {
    let epoll = backend == Backend::Epoll;
    let serve = |shards: usize| {
        let tables = shards as u64;
        Side { tables, fullest: throng_tune::fullest_table(plan.connections, tables), epoll }
    };
    let load = Side { tables: threads as u64, fullest: plan.users_per_thread(threads), epoll };
    let loopback = sources.targets().iter().all(|target| target.is_ipv4() && target.ip().is_loopback());
    let from = throng_tune::Sources {
        addresses: sources.count(),
        targets: sources.targets().len() as u64,
        loopback,
    };
    Target {
        connections: plan.connections,
        connect_rate_per_s: plan.connections as f64 / plan.ramp.lasts().as_secs_f64().max(1e-3),
        server: shards.map(serve),
        generator: Some((load, from)),
    }
}

/// Everything that does not fit, blockers first.
pub(crate) fn findings(target: &Target) -> Result<Vec<Finding>, Failure> {
    let machine = Machine::read().map_err(|error| Failure::broke(error.to_string()))?;
    Ok(throng_tune::check(target, &machine))
}

/// Refuses a target that the machine does not fit, unless forced. Returns what the report should mention.
pub(crate) fn preflight(target: &Target, force: bool) -> Result<Vec<String>, Failure> {
    let findings = findings(target)?;
    let blockers = findings.iter().filter(|finding| finding.severity == Severity::Blocker);
    let blockers: Vec<String> = blockers.map(|finding| format!("\n  {finding}")).collect();
    if blockers.is_empty() || force {
        return Ok(findings.iter().map(ToString::to_string).collect());
    }
    Err(Failure::broke(format!(
        "this machine does not fit the plan (--force tries anyway):{}",
        blockers.concat()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(list: &[usize]) -> Cores {
        Cores(list.to_vec())
    }

    fn plan_of(connections: u64) -> Plan {
        plan("pairs", &PlanFlags { connections: Some(connections), ..PlanFlags::default() }).unwrap()
    }

    #[test]
    fn the_cores_are_split_in_halves() {
        let split = Split::new(&[0, 1, 2, 3], None, None);
        assert_eq!((split.serve.0.clone(), split.load.0.clone()), (vec![0, 1], vec![2, 3]));
        assert!(!split.shares());
        let odd = Split::new(&[4, 5, 7], None, None);
        assert_eq!((odd.serve.0, odd.load.0), (vec![4, 5], vec![7]));
    }

    #[test]
    fn one_core_is_shared_and_says_so() {
        let split = Split::new(&[3], None, None);
        assert_eq!(split, Split { serve: cores(&[3]), load: cores(&[3]) });
        assert!(split.shares());
    }

    #[test]
    fn who_is_told_nothing_gets_the_rest() {
        assert_eq!(Split::new(&[0, 1, 2], Some(&cores(&[1])), None).load, cores(&[0, 2]));
        assert_eq!(Split::new(&[0, 1, 2], None, Some(&cores(&[1]))).serve, cores(&[0, 2]));
        assert!(Split::new(&[0, 1], Some(&cores(&[0, 1])), None).shares());
    }

    #[test]
    fn threads_hold_all_users_under_the_limit() {
        let plan = plan_of(1_000_000);
        let threads = threads(&plan, None, 1, 20_000).unwrap_or_else(|failure| panic!("{}", failure.message));
        assert!(plan.users_per_thread(threads) + 64 + threads as u64 <= 20_000, "{threads}");
        assert_eq!(super::threads(&plan_of(100), None, 2, 20_000).ok(), Some(2));
        assert!(super::threads(&plan, None, 1, 100).unwrap_err().message.contains("LimitNOFILE"));
        assert!(super::threads(&plan, Some(1 << 40), 1, 20_000).unwrap_err().message.contains("at most"));
    }

    #[test]
    fn an_unknown_scenario_is_a_mistake_of_the_user() {
        let failure = plan("nothing", &PlanFlags::default()).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("pairs"), "{}", failure.message);
    }
}
