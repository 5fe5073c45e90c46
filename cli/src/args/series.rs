//! Flags for many runs, and for what is said of them.

use clap::Args;
use throng_report::Metric;

use super::values;

/// Many runs instead of one.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Many runs")]
pub(crate) struct SeriesFlags {
    /// Run this often, each time in fresh processes, and say how much the figures vary
    #[arg(long, value_name = "N", value_parser = values::positive, conflicts_with_all = ["against", "dry_run", "json"])]
    pub(crate) repeat: Option<u64>,

    /// Compare with the same command under other flags ('--backend epoll'), or by another build of Throng ('./old/throng', flags may
    /// follow): runs both in turn and says whether this one is better
    #[arg(long, value_name = "FLAGS|BINARY", allow_hyphen_values = true, conflicts_with = "dry_run")]
    pub(crate) against: Option<String>,

    /// Run both at the same time, on the same cores: whatever slows the machine slows both, so that a few percent show on the noisiest
    /// one. For what a message costs, in a closed loop
    #[arg(long, requires = "against")]
    pub(crate) duet: bool,

    /// Blocks of a comparison, each of two runs with either; six make a verdict
    #[arg(long, value_name = "N", value_parser = values::positive, default_value = "6", requires = "against")]
    pub(crate) blocks: u64,

    /// Which figures, and what follows.
    #[command(flatten)]
    pub(crate) judging: JudgingFlags,
}

/// What is compared, and what follows from it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct JudgingFlags {
    /// Compare this figure, named as in a threshold; repeatable [default: those that the plan is about]
    #[arg(long, value_name = "METRIC", value_parser = values::metric)]
    pub(crate) metric: Vec<Metric>,

    /// End with 99 where something is worse, with 98 where that cannot be told: a gate for CI
    #[arg(long)]
    pub(crate) gate: bool,
}

impl SeriesFlags {
    /// Whether there is to be more than one run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.repeat.is_some() || self.against.is_some()
    }
}
