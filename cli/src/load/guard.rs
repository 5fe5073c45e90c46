//! The memory guard: ends a run while a stated reserve is still free, rather than let the kernel end something.
//!
//! It watches the machine that the generator runs on, from before the first connection until the run drains. Where the server
//! is elsewhere, its machine is its own business: `throng serve` says when memory runs short there.

use std::time::Instant;

use throng_loadgen::{Phase, Progress};
use throng_report::schema::MachineMemory;
use throng_report::text::count;

use crate::reserve::Reserve;

/// Watches the memory that can be had, and keeps what it saw.
pub(super) struct Guard {
    reserve: Reserve,
    target: u64,
    seen: MachineMemory,
}

impl Guard {
    /// Looks a first time, before a run of `target` connections.
    pub(super) fn new(reserve_bytes: Option<u64>, target: u64) -> Guard {
        let mut reserve = Reserve::new(reserve_bytes);
        let seen = MachineMemory {
            available_bytes_before: reserve.available_bytes(),
            reserve_bytes: Some(reserve.bytes()),
            ..MachineMemory::default()
        };
        Guard { reserve, target, seen }
    }

    /// Looks, if it is time to. Why the run must end, once: with the connections that were reached.
    pub(super) fn look(&mut self, progress: &Progress) -> Option<String> {
        if progress.phase >= Phase::Draining {
            return None;
        }
        let short = self.reserve.runs_short(Instant::now())?;
        let (reached, target) = (count(progress.connected as f64), count(self.target as f64));
        Some(format!("with {reached} of {target} connected, {short}"))
    }

    /// What could be had at the last look, and what is to be left of it.
    pub(super) fn left(&self) -> (Option<u64>, u64) {
        (self.reserve.last_bytes(), self.reserve.bytes())
    }

    /// Notes what can be had while all connections are held.
    pub(super) fn held(&mut self) {
        self.seen.available_bytes_held = self.reserve.available_bytes();
    }

    /// Notes what can be had after the last connection.
    pub(super) fn ended(&mut self) {
        self.seen.available_bytes_after = self.reserve.available_bytes();
    }

    /// What was seen.
    pub(super) fn seen(&self) -> MachineMemory {
        MachineMemory { available_bytes_lowest: self.reserve.lowest_bytes(), ..self.seen.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(phase: Phase) -> Progress {
        Progress { phase, established: 5_000, connected: 5_000, ..Progress::START }
    }

    #[test]
    fn a_shortage_ends_the_run_with_figures_and_only_once() {
        let mut guard = Guard::new(Some(u64::MAX), 20_000);
        assert_eq!(guard.look(&progress(Phase::Draining)), None, "who leaves gives memory back");
        let why = guard.look(&progress(Phase::Connecting)).unwrap();
        assert!(why.contains("5000 of 20.0 k") && why.contains("--memory-reserve"), "{why}");
        assert_eq!(guard.look(&progress(Phase::Connecting)), None);
        assert_eq!(Guard::new(Some(0), 20_000).look(&progress(Phase::Connecting)), None);
    }

    #[test]
    fn what_it_saw_is_kept() {
        let mut guard = Guard::new(Some(7), 1);
        guard.held();
        guard.ended();
        let seen = guard.seen();
        assert_eq!(seen.reserve_bytes, Some(7));
        let looks = [seen.available_bytes_before, seen.available_bytes_held, seen.available_bytes_after];
        assert_eq!(seen.available_bytes_lowest, looks.into_iter().min().unwrap());
        assert!(looks.iter().all(Option::is_some), "{seen:?}");
    }
}
