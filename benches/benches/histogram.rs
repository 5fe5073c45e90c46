//! What measuring a message costs the generator: recording its latency, and merging a worker's record at the end.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP};
use throng_report::Histogram;

/// Values per iteration.
const VALUES: usize = 1024;

/// Latencies between 50 us and 50 ms, as many in each octave, in an order that jumps.
fn latencies() -> Vec<u64> {
    (0..VALUES as u64)
        .map(|i| {
            let place = i.wrapping_mul(2_654_435_761) % VALUES as u64;
            (50_000.0 * 1000f64.powf(place as f64 / VALUES as f64)) as u64
        })
        .collect()
}

fn histogram(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram");
    let (values, mut histogram) = (latencies(), Histogram::new());
    group.throughput(Throughput::Elements(VALUES as u64));
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            for &nanos in &values {
                histogram.record(black_box(nanos));
            }
        });
    });
    let mut all = Histogram::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("merge", |bencher| bencher.iter(|| all.merge(black_box(&histogram))));
    group.bench_function("percentile", |bencher| bencher.iter(|| histogram.percentile(black_box(0.999))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(BENCH_WARM_UP)
        .measurement_time(BENCH_MEASUREMENT)
        .sample_size(BENCH_SAMPLES);
    targets = histogram
}
criterion_main!(benches);
