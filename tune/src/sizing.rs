//! How many tables and how much memory a number of connections takes.

use crate::limits::{
    BYTES_PER_TABLE, FILES_RESERVED_PER_TABLE, KERNEL_BYTES_PER_END, TABLE_HEADROOM, TABLES_MAX,
    USER_BYTES_PER_END,
};
use crate::target::Target;

/// Connections that one of `tables` tables has descriptors for, when each may hold `files`.
fn connections_per_table(tables: u64, files: u64) -> u64 {
    files.saturating_sub(FILES_RESERVED_PER_TABLE + tables)
}

/// The smallest number of tables of `files` descriptors each that holds `connections`, and at least `cores`.
///
/// `None`: no number of tables up to [`TABLES_MAX`] does (every further table also costs each of the others an
/// eventfd).
pub fn tables_needed(connections: u64, cores: u64, files: u64) -> Option<u64> {
    let wanted = connections as f64 * TABLE_HEADROOM;
    (cores.max(1)..=TABLES_MAX.max(cores))
        .find(|&tables| (tables * connections_per_table(tables, files)) as f64 >= wanted)
}

/// Connections of the fullest of `tables` tables that share by SO_REUSEPORT.
pub fn fullest_table(connections: u64, tables: u64) -> u64 {
    (connections as f64 * TABLE_HEADROOM / tables.max(1) as f64).ceil() as u64
}

/// Memory that the run takes on this machine in all, kernel and user space.
pub fn memory_bytes(target: &Target) -> u64 {
    let per_end = KERNEL_BYTES_PER_END + USER_BYTES_PER_END;
    let tables: u64 = target.sides().map(|(_, side)| side.tables).sum();
    target.endpoints() * per_end + tables * BYTES_PER_TABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_connections_take_one_table_per_core() {
        assert_eq!(tables_needed(1_000, 2, 20_000), Some(2));
        assert_eq!(tables_needed(0, 0, 20_000), Some(1));
    }

    #[test]
    fn a_million_connections_under_a_limit_of_20_000_take_tens_of_tables() {
        let tables = tables_needed(1_000_000, 2, 20_000).unwrap();
        assert!(tables * connections_per_table(tables, 20_000) >= 1_050_000);
        assert!((tables - 1) * connections_per_table(tables - 1, 20_000) < 1_050_000);
        assert_eq!(tables, 53);
        assert!(fullest_table(1_000_000, tables) <= connections_per_table(tables, 20_000));
    }

    #[test]
    fn eventfds_of_the_other_tables_can_use_up_a_small_limit() {
        assert_eq!(tables_needed(1_000_000, 2, 1_024), None);
        assert_eq!(tables_needed(1, 1, 64), None);
    }
}
