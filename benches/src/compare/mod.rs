//! Floor, Redis and Throng under the same load in turn, and what one costs in units of the other.
//!
//! The machine's speed changes from minute to minute, the ratio of two neighbours hardly. So contestants take turns, each
//! round begins with another one, every ratio is one of the same round, and what is printed is the median of the rounds.

pub mod contestant;
pub mod table;

pub use contestant::{Contestant, Load, Sample};

/// What one contestant did under one window, round by round. A round that failed has no sample.
#[derive(Clone, Debug)]
pub struct Row {
    /// Messages in flight per pair.
    pub window: usize,
    /// Who.
    pub contestant: Contestant,
    /// One per round.
    pub samples: Vec<Result<Sample, String>>,
}

/// Runs `rounds` rounds of all contestants, telling `progress` about each sample.
pub fn run(
    contestants: &[Contestant],
    load: &Load,
    rounds: usize,
    mut progress: impl FnMut(&Contestant, &Result<Sample, String>),
) -> Vec<Row> {
    let mut rows: Vec<Row> = contestants
        .iter()
        .map(|contestant| Row { window: load.window, contestant: contestant.clone(), samples: Vec::new() })
        .collect();
    for round in 0..rounds {
        for turn in 0..rows.len() {
            let count = rows.len();
            let row = &mut rows[(round + turn) % count];
            let sample = row.contestant.measure(load);
            progress(&row.contestant, &sample);
            row.samples.push(sample);
        }
    }
    rows
}
