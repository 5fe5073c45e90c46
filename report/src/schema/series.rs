//! A run's place among others that were made together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run stands in a series (`throng run --repeat`, `--against`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Series {
    /// Names the series: equal for the runs that were made together.
    pub id: String,
    /// Which of its arms the run belongs to.
    pub arm: Arm,
    /// Which of its blocks, from 1 on: runs of one block were made one right after the other.
    pub block: u64,
    /// Which run of the series, from 1 on.
    pub number: u64,
    /// Whether the runs of its block, one of each arm, were made at the same time on the same cores.
    pub is_duet: bool,
}

/// One of the two things that are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// What is compared with; all runs of a series without a comparison.
    #[default]
    Baseline,
    /// What is judged.
    Candidate,
}

impl Arm {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Arm::Baseline => "baseline",
            Arm::Candidate => "candidate",
        }
    }
}
