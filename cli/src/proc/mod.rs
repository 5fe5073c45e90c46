//! What /proc tells: about a process, about the kernel's counters, about the host.
//!
//! Parsers take text and are tested on text; the functions that read files are thin. What is missing is `None`, never
//! a zero.

pub(crate) mod counters;
pub(crate) mod cpu;
pub(crate) mod host;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod peaks;
pub(crate) mod process;
pub(crate) mod slab;
pub(crate) mod threads;

/// The value of a line `name   123 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
