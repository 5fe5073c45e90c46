//! What /proc tells: about a process, about the kernel's counters, about the host.
//!
//! Parsers take text and are tested on text; the functions that read files are thin. What is missing is `None`, never
//! a zero.

pub(crate) mod counters;
pub(crate) mod cpu;
pub(crate) mod host;
pub(crate) mod process;
