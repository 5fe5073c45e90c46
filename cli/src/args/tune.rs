//! Flags of `throng tune`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use throng_report::Metric;

use super::{LocalFlags, PlanFlags, ReportFlags, values};

/// `throng tune`.
#[derive(Subcommand, Debug)]
pub(crate) enum TuneCommand {
    /// Judge every setting for a target: what it is, what is needed, and why. Changes nothing
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditArgs),
    /// Write what an audit would have set into a file that can be read, cut down and applied. Sets nothing
    Plan(TunePlanArgs),
    /// Set what a plan says: in a lab of its own, or with --host on this machine, with a journal
    #[command(after_help = APPLY_HELP)]
    Apply(ApplyArgs),
    /// Put back whatever `apply --host` set, also when it was cut off
    Rollback(RollbackArgs),
    /// Try values of settings, each in runs that take turns with things as they are; say which help, which hurt and which do nothing
    #[command(after_help = SWEEP_HELP)]
    Sweep(SweepArgs),
    /// Say what is applied, and who else changes settings
    Status(JournalFlag),
    /// Print what is known of a setting, or the names of all
    Knobs {
        /// Its name, as net.core.somaxconn or somaxconn
        #[arg(value_name = "KNOB")]
        name: Option<String>,
    },
}

/// `throng tune audit`.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Print the lines as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The target.
    #[command(flatten)]
    pub(crate) target: TargetFlags,
}

/// `throng tune plan`.
#[derive(Args, Debug)]
pub(crate) struct TunePlanArgs {
    /// The file to write [default: stdout]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Also what is risky or wasteful, not only what is in the way
    #[arg(long)]
    pub(crate) all: bool,

    /// Write files for sysctl.d, tmpfiles.d, limits.d and systemd below this folder, for those who manage machines that way
    #[arg(long, value_name = "DIR")]
    pub(crate) emit: Option<PathBuf>,

    /// The target.
    #[command(flatten)]
    pub(crate) target: TargetFlags,
}

/// Where the journal is.
#[derive(Args, Debug)]
pub(crate) struct JournalFlag {
    /// The journal of what is changed
    #[arg(long, value_name = "FILE", default_value = "/var/lib/throng/tune.json")]
    pub(crate) journal: PathBuf,
}

/// `throng tune apply`.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// A plan of `throng tune plan`
    #[arg(value_name = "FILE")]
    pub(crate) plan: PathBuf,

    /// Set it on this machine, for everybody
    #[arg(long)]
    pub(crate) host: bool,

    /// Say what would be set, and set nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The journal.
    #[command(flatten)]
    pub(crate) journal: JournalFlag,

    /// End by SIGKILL after so many steps: for trials of what is left behind.
    #[arg(long, hide = true, value_name = "STEPS")]
    pub(crate) die_after: Option<u64>,

    /// What to run in the lab, with its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `throng tune rollback`.
#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// Say what would be put back, and put nothing back
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The journal.
    #[command(flatten)]
    pub(crate) journal: JournalFlag,
}

/// `throng tune sweep`.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct SweepArgs {
    /// A scenario's name (see `throng scenario list`) or a TOML file
    #[arg(value_name = "SCENARIO|FILE", default_value = "pairs")]
    pub(crate) scenario: String,

    /// Try this value, as tcp_rmem='4096 16384 262144' (a setting of a lab's own) or backend=epoll (a flag of `throng run`);
    /// repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::knob)]
    pub(crate) knob: Vec<(String, String)>,

    /// Let the audit and the counters of a first run propose what to try
    #[arg(long, conflicts_with = "factorial")]
    pub(crate) auto: bool,

    /// Set what is the whole machine's, too, while the runs that try it last; as root, with the journal of `throng tune apply`
    #[arg(long)]
    pub(crate) host: bool,

    /// The journal.
    #[command(flatten)]
    pub(crate) journal: JournalFlag,

    /// Of two knobs try both at once, too
    #[arg(long)]
    pub(crate) factorial: bool,

    /// Make each trial's runs at the same time as those they are compared with, on the same cores; for what a message costs, in a
    /// closed loop
    #[arg(long)]
    pub(crate) duet: bool,

    /// Rounds, each with two runs of everything; six make a verdict
    #[arg(long, value_name = "N", value_parser = values::positive, default_value = "6")]
    pub(crate) rounds: u64,

    /// End after this time, with what is known by then
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero, default_value = "1h")]
    pub(crate) budget: Duration,

    /// Go on with a sweep that was cut short, in the folder of --out
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,

    /// Judge by this figure, named as in a threshold; repeatable [default: those that the plan is about]
    #[arg(long, value_name = "METRIC", value_parser = values::metric)]
    pub(crate) metric: Vec<Metric>,

    /// What the users do.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,

    /// How it runs.
    #[command(flatten)]
    pub(crate) local: LocalFlags,

    /// What becomes of the figures.
    #[command(flatten)]
    pub(crate) report: ReportFlags,
}

/// What a machine is judged for.
#[derive(Args, Debug)]
pub(crate) struct TargetFlags {
    /// A scenario's name (see `throng scenario list`) or a TOML file
    #[arg(value_name = "SCENARIO|FILE", default_value = "pairs")]
    pub(crate) scenario: String,

    /// Who is on this machine
    #[arg(long, value_name = "WHO", default_value = "both")]
    pub(crate) role: Role,

    /// Addresses that this machine's users connect from, where the server is elsewhere
    #[arg(long, value_name = "N", value_parser = values::positive, default_value = "1")]
    pub(crate) source_addresses: u64,

    /// What the users do.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,

    /// How it would run.
    #[command(flatten)]
    pub(crate) local: LocalFlags,
}

/// Who is on the machine that is judged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Server and users, as `throng run` has them.
    Both,
    /// The server alone; users are elsewhere.
    Server,
    /// The users alone; the server is elsewhere.
    Users,
}

const AUDIT_EXAMPLES: &str = "\
Examples:
  throng tune audit -c 2m -r 20k                      would both sides fit here?
  throng tune audit -c 2m -r 20k --role server        the machine of a server
  throng tune audit -c 500k --role users --source-addresses 20

Of both sides the lab is judged that `throng run` would make, with --sysctl; --no-lab judges the machine as it is. Exit code 0: the
target fits; 1: something is in the way.";

const APPLY_HELP: &str = "\
Examples:
  throng tune plan -c 1m -o million.toml              what it would take; read it
  throng tune apply million.toml -- throng run --no-lab -c 1m    in a lab of its own, which goes with the command
  throng tune apply --host million.toml               on this machine; `throng tune rollback` puts it back

With --host everything that stands in the way is told before anything is set; at the first refusal all is put back. The journal
has every old value on disk before the first is changed, so that `rollback` works after SIGKILL, too.";

const SWEEP_HELP: &str = "\
Examples:
  throng tune sweep --knob tcp_rmem='4096 16384 262144' --knob backend=epoll -c 10k -r 20k
  throng tune sweep --knob shards=2 --knob backend=epoll --factorial --closed-loop 8 --duet
  throng tune sweep --auto --host -c 500k -r 20k --budget 30m

The folder whose path it prints last has all runs, sweep.json, and plan.toml with the settings that help.";
