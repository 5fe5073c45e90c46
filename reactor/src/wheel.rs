//! Under construction.

/// A wheel.
#[derive(Debug)]
pub struct Wheel<K>(Vec<K>);
