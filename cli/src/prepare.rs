//! From flags to a plan and the sizes that it takes on this machine; what stands in its way.

use std::fs;

use throng_loadgen::{Devices, Engine, Network, Plan, PortRange, Sources};
use throng_reactor::{Requested, Selected, sys};
use throng_tune::{Backend, Line, Machine, Side, Sockets, Target};

use crate::args::values::Cores;
use crate::args::{EngineName, GeneratorFlags, PlanFlags};
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
    let limit = sys::files::raise_limits();
    limit
        .map(|limit| limit.soft)
        .map_err(|error| Failure::broke(format!("cannot read RLIMIT_NOFILE: {error}")))
}

/// Threads that were asked for by a flag: not more than there can be.
fn told_threads(flag: &str, told: u64) -> Result<usize, Failure> {
    let most = throng_tune::limits::THREADS_MAX;
    usize::try_from(told)
        .ok()
        .filter(|_| told <= most)
        .ok_or_else(|| Failure::usage(format!("{flag} {told}: a process can have at most {most}")))
}

fn too_few_files(connections: u64, files: u64, sharers: &str) -> Failure {
    Failure::broke(format!(
        "{connections} connections do not fit under a limit of {files} open files, however many {sharers} share them: raise \
         it (ulimit -Hn, LimitNOFILE= under systemd), or --backend io-uring"
    ))
}

/// What holds the sockets of a backend.
pub(crate) fn holder(selected: &Selected) -> Backend {
    match selected.active {
        throng_reactor::Backend::Epoll => Backend::Epoll,
        throng_reactor::Backend::IoUring => Backend::IoUring,
    }
}

/// The network of users in user space, where nobody said another: reserved for benchmarks (RFC 2544), so that nobody else has
/// its addresses.
const TUN_NETWORK: &str = "198.18.0.0/15";

/// What holds the generator's connections.
pub(crate) fn generator_holder(flags: &GeneratorFlags, selected: &Selected) -> Backend {
    match flags.engine {
        EngineName::Kernel => holder(selected),
        EngineName::Tun => Backend::UserSpace,
    }
}

/// The engine of so many threads.
pub(crate) fn engine(
    flags: &GeneratorFlags,
    requested: Requested,
    plan: &Plan,
    threads: usize,
) -> Result<Engine, Failure> {
    match flags.engine {
        EngineName::Kernel => Ok(Engine::Kernel(requested)),
        EngineName::Tun => {
            let default = || TUN_NETWORK.parse().expect("a block of addresses");
            let network = flags.source_ip.unwrap_or_else(default);
            Devices::new(network, threads, plan.users_per_thread(threads))
                .map(Engine::Tun)
                .map_err(Failure::usage)
        }
    }
}

/// Generator threads: as told, else one per core. With epoll more where the limit on open files forces it, since a thread
/// has one table of descriptors; with io_uring a thread has as many as it needs, and user space needs none.
pub(crate) fn threads(
    plan: &Plan,
    told: Option<u64>,
    cores: usize,
    files: u64,
    backend: Backend,
) -> Result<usize, Failure> {
    let most = plan.threads_max();
    if let Some(told) = told {
        let threads = told_threads("--threads", told)?;
        if threads > most {
            let why = format!("--threads {told}: this plan can be shared out over at most {most}");
            return Err(Failure::usage(why));
        }
        return Ok(threads);
    }
    let mut threads = cores.clamp(1, most);
    if backend != Backend::Epoll {
        return Ok(threads);
    }
    // Each further thread costs every table an eventfd, so the answer is a fixed point; it is reached in a few steps.
    loop {
        let room = files.saturating_sub(throng_tune::limits::FILES_RESERVED_PER_TABLE + threads as u64);
        let needed = plan.threads_for(room).filter(|&needed| {
            threads as u64 <= throng_tune::limits::THREADS_MAX
                && needed as u64 <= throng_tune::limits::THREADS_MAX
        });
        let needed = needed.ok_or_else(|| too_few_files(plan.users(), files, "threads"))?;
        if needed <= threads {
            return Ok(threads);
        }
        threads = needed;
    }
}

/// Shards of a server: as told, else one per core. With epoll more where the limit on open files forces it, as for
/// [`threads`].
pub(crate) fn shards(
    connections: u64,
    told: Option<u64>,
    cores: usize,
    files: u64,
    backend: Backend,
) -> Result<usize, Failure> {
    match (told, backend) {
        (Some(told), _) => told_threads("--shards", told),
        (None, Backend::Epoll) => throng_tune::tables_needed(connections, cores as u64, files)
            .map(|shards| shards as usize)
            .ok_or_else(|| too_few_files(connections, files, "shards")),
        (None, _) => Ok(cores.max(1)),
    }
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
    engine: &Engine,
    from: Option<Network>,
) -> Result<Sources, Failure> {
    let sources = match engine {
        Engine::Kernel(_) => Sources::plan(targets, plan.users(), port_range()?, from),
        Engine::Tun(_) => Sources::of_users(targets),
    };
    sources.map_err(|error| Failure::broke(chain(&error)))
}

/// What the plan wants from this machine: of a server with so many shards, if it is here, and of so many generator threads.
pub(crate) fn target(
    plan: &Plan,
    server: Option<(usize, Backend)>,
    (threads, holder): (usize, Backend),
    sources: &Sources,
) -> Target {
    let serve = |(shards, backend)| {
        let threads = shards as u64;
        Side { threads, fullest: throng_tune::fullest_thread(plan.connections, threads), backend }
    };
    let load = Side { threads: threads as u64, fullest: plan.users_per_thread(threads), backend: holder };
    let loopback = sources.targets().iter().all(|target| target.is_ipv4() && target.ip().is_loopback());
    let from = throng_tune::Sources {
        addresses: sources.count(),
        targets: sources.targets().len() as u64,
        loopback,
    };
    // Of a server that is here the other parts want something, too.
    let connections = if server.is_some() { plan.connections } else { plan.users() };
    Target {
        connections,
        reconnects: plan.storm.as_ref().map_or(0, |storm| (storm.share * connections as f64).ceil() as u64),
        rate_per_s: plan.rate_per_s,
        payload_bytes: plan.payload_bytes,
        tls: false,
        sockets: Sockets::default(),
        connect_rate_per_s: connections as f64 / plan.ramp.lasts().as_secs_f64().max(1e-3),
        server: server.map(serve),
        generator: Some((load, from)),
    }
}

/// What this machine allows, as this process sees it.
pub(crate) fn machine() -> Result<Machine, Failure> {
    Machine::read().map_err(|error| Failure::broke(error.to_string()))
}

/// Refuses a target that the machine does not fit, unless forced. Returns what the report should mention.
pub(crate) fn preflight(target: &Target, machine: &Machine, force: bool) -> Result<Vec<String>, Failure> {
    let lines = throng_tune::check(target, machine);
    let refusing: Vec<&Line> = lines.iter().filter(|line| line.refuses).collect();
    if refusing.is_empty() || force {
        return Ok(lines.iter().map(ToString::to_string).collect());
    }
    let blockers: Vec<String> = refusing.iter().map(|line| format!("\n  {line}")).collect();
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
    fn with_epoll_threads_hold_all_users_under_the_limit() {
        let epoll = |plan: &Plan, told, cores, files| threads(plan, told, cores, files, Backend::Epoll);
        let plan = plan_of(1_000_000);
        let threads = epoll(&plan, None, 1, 20_000).unwrap_or_else(|failure| panic!("{}", failure.message));
        assert!(plan.users_per_thread(threads) + 64 + threads as u64 <= 20_000, "{threads}");
        assert_eq!(epoll(&plan_of(100), None, 2, 20_000).ok(), Some(2));
        assert!(epoll(&plan, None, 1, 100).unwrap_err().message.contains("LimitNOFILE"));
        assert!(epoll(&plan_of(100), Some(4_000), 1, 20_000).unwrap_err().message.contains("shared out"));
        assert!(epoll(&plan, Some(4_097), 1, 20_000).unwrap_err().message.contains("at most 4096"));
        assert!(shards(1_000_000, None, 1, 100, Backend::Epoll).unwrap_err().message.contains("io-uring"));
        assert_eq!(shards(1_000_000, None, 1, 20_000, Backend::Epoll).ok(), Some(53));
    }

    #[test]
    fn with_io_uring_there_is_a_thread_for_each_core_whatever_the_limit() {
        let plan = plan_of(2_500_000);
        assert_eq!(threads(&plan, None, 1, 1_000, Backend::IoUring).ok(), Some(1));
        assert_eq!(shards(2_500_000, None, 3, 1_000, Backend::IoUring).ok(), Some(3));
        assert_eq!(shards(2_500_000, Some(7), 3, 1_000, Backend::IoUring).ok(), Some(7));
    }

    #[test]
    fn more_shards_than_there_can_be_are_refused() {
        for told in [4_097, 1 << 40] {
            let failure = shards(1_000, Some(told), 1, 20_000, Backend::IoUring).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage);
            assert!(failure.message.contains("--shards") && failure.message.contains("at most 4096"));
        }
        assert_eq!(shards(1_000, Some(4_096), 1, 20_000, Backend::Epoll).ok(), Some(4_096));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_number_needed_unless_forced() {
        let plan = plan_of(1_000_000);
        let ports = PortRange { first: 10_000, last: 65_535 };
        let sources = Sources::plan(&[([127, 0, 0, 1], 1).into()], 1_000_000, ports, None).unwrap();
        let target = target(&plan, Some((2, Backend::Epoll)), (60, Backend::Epoll), &sources);
        let machine =
            Machine { files_per_table: 20_000, ..machine().unwrap_or_else(|_| panic!("no machine")) };
        let refused = preflight(&target, &machine, false).unwrap_err();
        assert!(refused.message.contains("--force") && refused.message.contains("--shards 53"));
        assert!(preflight(&target, &machine, true).is_ok_and(|warnings| !warnings.is_empty()));
    }

    #[test]
    fn an_unknown_scenario_is_a_mistake_of_the_user() {
        let failure = plan("nothing", &PlanFlags::default()).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("pairs"), "{}", failure.message);
    }
}
