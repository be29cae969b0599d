//! What a request costs from its bytes to its keys, and a verdict to its bytes.
//!
//! `cargo bench -p benches --bench codec`

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use libvalvula::{AddressKey, AddressRule, Frame, Limits, PolicyCodec, Text, Verdict};
use tokio_util::codec::{Decoder, Encoder};

/// As Postfix 3.11 sends it from a submission service.
const REQUEST: &[u8] = include_bytes!("../../tests/data/corpus/pf3.11-sasl-plain.recipient.req");

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let mut codec = PolicyCodec::new(Limits::default());
    let mut buffer = BytesMut::with_capacity(4096);
    // As a session does it: the bytes arrive in a buffer that is used again and again.
    let mut one = |bytes: &[&[u8]]| {
        let _room = codec.decode(&mut buffer);
        bytes.iter().for_each(|part| {
            buffer.extend_from_slice(part);
            if part.len() < REQUEST.len() {
                black_box(codec.decode(&mut buffer).is_ok());
            }
        });
        codec.decode(&mut buffer)
    };
    group.bench_function("request", |bencher| bencher.iter(|| drop(black_box(one(&[REQUEST])))));
    group.bench_function("request_and_keys", |bencher| {
        bencher.iter(|| match one(&[REQUEST]) {
            Ok(Some(Frame::Request(request))) => {
                black_box((request.sender_key(), request.recipient_key(), request.sasl_key()));
            }
            other => panic!("one request, got {other:?}"),
        });
    });
    let pieces: Vec<_> = REQUEST.chunks(64).collect();
    group.bench_function("request_in_pieces_of_64", |bencher| {
        bencher.iter(|| {
            for piece in &pieces {
                drop(black_box(one(&[piece])));
            }
        });
    });
    let foreign: Vec<u8> = {
        let mut lines: Vec<_> = REQUEST.trim_ascii_end().split(|byte| *byte == b'\n').collect();
        lines.reverse();
        [lines.join(&b'\n'), b"\n\n".to_vec()].concat()
    };
    group.bench_function("request_in_another_order", |bencher| bencher.iter(|| drop(black_box(one(&[&foreign])))));
    group.finish();
    copy(criterion);
}

/// What of `decode` is the arrival of the bytes.
fn copy(criterion: &mut Criterion) {
    criterion.bench_function("decode/only_the_copy", |bencher| {
        let mut buffer = BytesMut::with_capacity(4096);
        bencher.iter(|| {
            buffer.reserve(1024);
            buffer.extend_from_slice(black_box(REQUEST));
            drop(black_box(buffer.split().freeze()));
        });
    });
}

fn encode(criterion: &mut Criterion) {
    let mut codec = PolicyCodec::new(Limits::default());
    let verdict = Verdict::reject(Text::new("5.7.1 Sending limit reached: 250 messages per hour"));
    let mut answer = BytesMut::with_capacity(1024);
    criterion.bench_function("encode/reject", |bencher| {
        bencher.iter(|| {
            answer.clear();
            codec.encode(black_box(&verdict), &mut answer)
        });
    });
}

fn addresses(criterion: &mut Criterion) {
    for (name, address) in [
        ("key/lower", "user123@dom45.example.org"),
        ("key/mixed", "User123@Dom45.Example.ORG"),
        ("key/idn", "jörg@bücher.example"),
        ("key/a_label", "jorg@xn--bcher-kva.example"),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| AddressKey::new(black_box(address.as_bytes()))));
    }
    let key = AddressKey::new(b"user123@mx.dom45.example.org");
    criterion.bench_function("rule/candidates", |bencher| {
        bencher.iter(|| AddressRule::candidates(black_box(&key)).map(|(_, text)| text.len()).sum::<usize>());
    });
    let rules = ["*.example.org", "user123@", "org", "dom45.example.org"].map(AddressRule::parse);
    criterion.bench_function("rule/matches_four", |bencher| {
        bencher.iter_batched(
            || &key,
            |key| rules.iter().filter(|rule| rule.matches(key)).count(),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, decode, encode, addresses);
criterion_main!(benches);
