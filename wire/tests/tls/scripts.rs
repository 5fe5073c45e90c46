//! Scripts for [`crate::differential`]: chosen ones, and ones made by chance.

use proptest::prelude::*;

use crate::differential::run;

/// A script that is no noise: operations with what they take.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let operation =
        (0..14u8, prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(operation, mut bytes)| {
            bytes.insert(0, operation);
            if let (0 | 2 | 5 | 6 | 11, Some(length)) = (operation, bytes.get(1).map(|_| bytes.len() - 2)) {
                bytes[1] = length as u8;
            }
            bytes
        });
    (0..6u8, prop::collection::vec(operation, 1..20)).prop_map(|(suite, operations)| {
        let mut bytes = vec![suite];
        bytes.extend(operations.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_have_the_same_text_or_the_same_alert(script in script()) {
        run(&script);
    }
}

#[test]
fn a_script_of_each_kind_runs_in_every_suite() {
    for suite in 0..6 {
        run(&[
            suite, 0, 3, 1, 2, 3, 1, 4, 12, 0, 2, 8, 9, 13, 3, 3, 1, 0, 1, 7, 12, 7, 1, 9, 4, 1, 90, 4, 1, 0,
            0, 1, 5, 13, 0,
        ]);
        run(&[suite, 0, 5, 1, 2, 3, 4, 5, 9, 13, 0]);
        run(&[suite, 0, 1, 9, 0, 1, 8, 10, 12, 3]);
        run(&[suite, 11, 5, 71, 69, 84, 32, 47, 13, 0]);
    }
}
