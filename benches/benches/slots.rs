//! The table that runs parallel to a reactor's connections, small enough for the cache and far too large for it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP};
use throng_reactor::slot::{INDEX_BITS, REACTOR_BITS};
use throng_reactor::{Slot, SlotMap};

/// A record as large as a session: with its name it fills a cache line.
type Record = [u64; 7];
const _: () = assert!(size_of::<Option<(Slot, Record)>>() == 64);

/// Lookups per iteration, so that the clock's share is small.
const LOOKUPS: usize = 1024;

fn slot(index: usize, generation: u64) -> Slot {
    Slot::from_word(generation << (INDEX_BITS + REACTOR_BITS) | index as u64)
        .expect("a generation is not zero")
}

/// The names of all `len` indices, a power of two, in an order that no prefetcher follows.
fn scattered(len: usize, generation: u64) -> Vec<Slot> {
    // The multiplier is Knuth's: odd, so that every index comes once.
    (0..len).map(|i| slot(i.wrapping_mul(2_654_435_761) % len, generation)).collect()
}

fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slots");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for len in [1 << 10, 1 << 20] {
        let mut map = SlotMap::default();
        for index in 0..len {
            map.insert(slot(index, 1), [index as u64; 7] as Record);
        }
        let (names, stale) = (scattered(len, 1), scattered(len, 2));
        let mut some = names.chunks(LOOKUPS).cycle();
        group.bench_function(format!("get, {len} connections"), |bencher| {
            bencher.iter(|| {
                let some = some.next().into_iter().flatten();
                some.filter_map(|&name| map.get(black_box(name))).map(|record| record[0]).sum::<u64>()
            });
        });
        let mut some = stale.chunks(LOOKUPS).cycle();
        group.bench_function(format!("get a stale name, {len} connections"), |bencher| {
            bencher.iter(|| {
                let some = some.next().into_iter().flatten();
                some.filter(|&&name| map.get(black_box(name)).is_some()).count()
            });
        });
        let mut some = names.chunks(LOOKUPS).cycle();
        group.bench_function(format!("remove and insert, {len} connections"), |bencher| {
            bencher.iter(|| {
                for &name in some.next().into_iter().flatten() {
                    if let Some(record) = map.remove(black_box(name)) {
                        map.insert(name, record);
                    }
                }
            });
        });
        assert_eq!(map.len(), len);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(BENCH_WARM_UP)
        .measurement_time(BENCH_MEASUREMENT)
        .sample_size(BENCH_SAMPLES);
    targets = slots
}
criterion_main!(benches);
