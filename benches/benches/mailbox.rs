//! Letters between two shards: what one costs when a turn brings one, and when a turn brings many.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP};
use throng_reactor::{Slot, Waker};
use throng_server::limits::PARKED_BYTES_MAX;
use throng_server::mailbox::{Letter, Mailboxes, Post};
use throng_wire::native::{MessageId, UserId};

fn posts() -> (Post, Post) {
    let wakers = [(); 2].map(|()| Waker::new().expect("a descriptor is left"));
    let mailboxes = Mailboxes::new(wakers.into_iter());
    (Post::new(mailboxes.clone(), 0, PARKED_BYTES_MAX), Post::new(mailboxes, 1, PARKED_BYTES_MAX))
}

fn turn_of_letters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    let sender = Slot::from_word(1 << 36).expect("a generation of 1");
    let body = [7u8; 100];
    for letters in [1u64, 8, 64] {
        group.throughput(Throughput::Elements(letters));
        group.bench_function(format!("send and receive a batch of {letters}"), |bencher| {
            let (mut writer, mut reader) = posts();
            let mut resumed = Vec::new();
            bencher.iter(|| {
                for id in 0..letters {
                    writer.write_body(1, &body, |body| Letter::Send {
                        from: UserId(1),
                        to: UserId(2),
                        id: MessageId(id),
                        sender,
                        body,
                    });
                }
                assert!(!writer.dispatch(&mut resumed), "the mailbox has room");
                let batch = reader.receive().expect("it was just sent");
                black_box(batch.letters.len());
                reader.recycle(batch);
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
    targets = turn_of_letters
}
criterion_main!(benches);
