//! What happened in a world, line by line, as text and as a hash of all of it.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines kept unless a test asks for all: enough to see what led to a failure.
const LINES_KEPT: usize = 4096;

/// FNV-1a, 64 bits: stable over versions and machines, which the standard library's hashers do not promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fnv(pub(super) u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn of(bytes: &[u8]) -> u64 {
        let mut hash = Fnv::default();
        hash.add(bytes.iter().copied());
        hash.0
    }
}

/// The lines of a world. The hash covers every line ever written, the text the last ones.
pub(super) struct Trace {
    hash: Fnv,
    lines: VecDeque<String>,
    kept: usize,
}

impl Trace {
    pub(super) fn new() -> Trace {
        Trace { hash: Fnv::default(), lines: VecDeque::new(), kept: LINES_KEPT }
    }

    /// Keeps every line from now on: memory grows with the run.
    pub(super) fn keep_all(&mut self) {
        self.kept = usize::MAX;
    }

    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        let mut line = match self.lines.len() < self.kept {
            true => String::new(),
            false => self.lines.pop_front().unwrap_or_default(),
        };
        line.clear();
        line.write_fmt(text).expect("writing to a string cannot fail");
        line.push('\n');
        self.hash.add(line.bytes());
        self.lines.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The last `count` lines.
    pub(super) fn last(&self, count: usize) -> String {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str).collect()
    }
}
