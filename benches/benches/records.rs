//! The records of TLS against the bare cipher that they are made with.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use throng_benches::{BENCH_MEASUREMENT, BENCH_SAMPLES, BENCH_WARM_UP, tls};
use throng_wire::tls::{Setup, Tls, Versions};

/// Bytes of text: a heartbeat, a message of 100 bytes, a long one, a whole record.
const SIZES: [usize; 4] = [16, 132, 1_000, 16_384];

/// Two ends of one connection, with TLS_AES_256_GCM_SHA384.
fn pair() -> (Tls, Tls) {
    let (server, client) = tls::setups(Versions::Tls13, false).expect("a certificate");
    let (mut a, mut b) = (Tls::new(), Tls::new());
    for _ in 0..2 {
        speak(&mut a, &client, &mut b);
        speak(&mut b, &server, &mut a);
    }
    assert!(a.is_established() && b.is_established());
    (a, b)
}

/// One flight of a handshake.
fn speak(from: &mut Tls, setup: &Setup, to: &mut Tls) {
    if !from.is_established() {
        from.step(setup).expect("they agree");
    }
    let mut out = Vec::new();
    from.seal(&mut out).expect("a key");
    if !out.is_empty() {
        to.put(&out);
    }
}

fn bare() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let text = vec![1; size];
        let (mut tls, _peer) = pair();
        group.bench_with_input(BenchmarkId::new("record", size), &text, |bencher, text| {
            bencher.iter_batched_ref(
                || {
                    let mut buffer = Vec::with_capacity(size + 64);
                    buffer.extend_from_slice(text);
                    buffer
                },
                |buffer| tls.seal(buffer),
                BatchSize::SmallInput,
            );
        });
        let (key, mut number) = (bare(), 0);
        group.bench_with_input(BenchmarkId::new("bare", size), &text, |bencher, text| {
            bencher.iter_batched_ref(
                || text.clone(),
                |buffer| {
                    number += 1;
                    key.seal_in_place_separate_tag(nonce(number), Aad::from([0; 5]), buffer)
                },
                BatchSize::SmallInput,
            );
        });
        let mut number = 0;
        group.bench_with_input(BenchmarkId::new("bare, key made for each", size), &text, |bencher, text| {
            bencher.iter_batched_ref(
                || text.clone(),
                |buffer| {
                    number += 1;
                    bare().seal_in_place_separate_tag(nonce(number), Aad::from([0; 5]), buffer)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        // Records come in their order, so each is sealed for its place.
        let (mut from, mut to) = pair();
        group.bench_function(BenchmarkId::new("record", size), |bencher| {
            bencher.iter_batched_ref(
                || {
                    let mut buffer = vec![1; size];
                    from.seal(&mut buffer).expect("a key");
                    buffer
                },
                |buffer| assert!(matches!(to.open(buffer), Ok(Some(_)))),
                BatchSize::SmallInput,
            );
        });
        let key = bare();
        let mut sealed = vec![1; size];
        key.seal_in_place_append_tag(nonce(1), Aad::from([0; 5]), &mut sealed).expect("short enough");
        group.bench_with_input(BenchmarkId::new("bare", size), &sealed, |bencher, sealed| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |buffer| assert!(key.open_in_place(nonce(1), Aad::from([0; 5]), buffer).is_ok()),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = records;
    config = Criterion::default()
        .warm_up_time(BENCH_WARM_UP)
        .measurement_time(BENCH_MEASUREMENT)
        .sample_size(BENCH_SAMPLES);
    targets = sealing, opening
}
criterion_main!(records);
