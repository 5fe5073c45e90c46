//! The timer wheel under the load of idle connections: each has one heartbeat, which is inserted anew when it fires.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP};
use throng_reactor::{Nanos, Wheel};

const TICK: Duration = Duration::from_millis(1);
/// As long as a chat's heartbeat.
const PERIOD: Duration = Duration::from_secs(60);
const CONNECTIONS: [u32; 2] = [1 << 10, 1 << 20];

/// A wheel with one timer per connection, spread evenly over a period.
fn wheel(connections: u32) -> Wheel<u32> {
    let mut wheel = Wheel::new(Nanos(0), TICK);
    for key in 0..connections {
        wheel.insert(Nanos(0) + PERIOD * key / connections, key);
    }
    wheel
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for connections in CONNECTIONS {
        let mut wheel = wheel(connections);
        let (mut now, mut fired) = (Nanos(0), Vec::new());
        // So long that 1,000 fire at a time, however many there are.
        let step = PERIOD * 1000 / connections;
        group.throughput(Throughput::Elements(1000));
        group.bench_function(format!("fire and insert anew, {connections} pending"), |bencher| {
            bencher.iter(|| {
                now = now + step;
                fired.clear();
                wheel.expire(now, &mut fired);
                for &key in &fired {
                    wheel.insert(now + PERIOD, key);
                }
                fired.len()
            });
        });
        assert_eq!(wheel.len(), connections as usize);

        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("the next deadline, {connections} pending"), |bencher| {
            bencher.iter(|| black_box(&wheel).next_deadline());
        });
        group.bench_function(format!("nothing is due, {connections} pending"), |bencher| {
            bencher.iter(|| {
                fired.clear();
                wheel.expire(black_box(now), &mut fired);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(BENCH_WARM_UP)
        .measurement_time(BENCH_MEASUREMENT)
        .sample_size(BENCH_SAMPLES);
    targets = timers
}
criterion_main!(benches);
