//! Frames of the native protocol: one, and what one receive buffer holds of them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP};
use throng_reactor::limits::RECV_BUFFER_BYTES;
use throng_wire::limits::FRAME_BYTES_MAX;
use throng_wire::native::{Frame, Frames, MessageId, Receiver, Recipient, Sequence, UserId};

const BODY: [u8; 100] = [b'm'; 100];

/// The four frames of one message's life.
fn frames() -> [(&'static str, Receiver, Frame<'static>); 4] {
    let (id, sequence) = (MessageId(7), Sequence(9));
    [
        ("send", Receiver::Server, Frame::Send { id, to: Recipient::User(UserId(3)), body: &BODY }),
        ("deliver", Receiver::Client, Frame::Deliver { sequence, from: UserId(2), id, body: &BODY }),
        ("ack", Receiver::Server, Frame::Ack { sequence }),
        ("accepted", Receiver::Client, Frame::Accepted { id }),
    ]
}

/// As many of these frames as a receive buffer holds, and how many that are.
fn bufferful(frame: &Frame<'_>) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let count = RECV_BUFFER_BYTES as usize / bytes.len();
    (bytes.repeat(count), count as u64)
}

fn count(bytes: &[u8], receiver: Receiver) -> u64 {
    let mut frames = Frames::new(bytes, receiver, FRAME_BYTES_MAX);
    let mut count = 0;
    while let Some(frame) = frames.next().expect("the bytes are frames") {
        black_box(&frame);
        count += 1;
    }
    count
}

fn framing(criterion: &mut Criterion) {
    for (name, receiver, frame) in frames() {
        let (bytes, in_a_buffer) = bufferful(&frame);
        let one = &bytes[..bytes.len() / in_a_buffer as usize];
        assert_eq!(count(&bytes, receiver), in_a_buffer);

        let mut group = criterion.benchmark_group("framing");
        let mut out = Vec::with_capacity(RECV_BUFFER_BYTES as usize);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("encode one {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&frame).encode(&mut out);
                black_box(out.as_slice());
            });
        });
        group.bench_function(format!("decode one {name}"), |bencher| {
            bencher.iter(|| count(black_box(one), receiver));
        });
        group.throughput(Throughput::Elements(in_a_buffer));
        group.bench_function(format!("encode a bufferful of {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..in_a_buffer {
                    black_box(&frame).encode(&mut out);
                }
                black_box(out.as_slice());
            });
        });
        group.bench_function(format!("decode a bufferful of {name}"), |bencher| {
            bencher.iter(|| count(black_box(&bytes), receiver));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(BENCH_WARM_UP)
        .measurement_time(BENCH_MEASUREMENT)
        .sample_size(BENCH_SAMPLES);
    targets = framing
}
criterion_main!(benches);
