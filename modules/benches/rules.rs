//! Finding the rules that match a request, among ten, a hundred thousand and a million.
//!
//! `cargo bench -p modules`. The cost must not follow the number of rules; what grows a little is the time
//! that memory takes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use libvalvula::{AddressKey, AddressRule};
use modules::rules::{Builder, Change, Index, Rule, RuleTable, Seek};

const SIZES: [i64; 3] = [10, 100_000, 1_000_000];

/// A mixture as mail servers have it: mostly senders, some domains and subdomains, some pairs.
fn rule(id: i64) -> Rule<u8> {
    let (source, destination) = match id % 10 {
        0 => (format!("*.mailer{id}.example.net"), String::new()),
        1 | 2 => (format!("domain{id}.example.com"), String::new()),
        3 => (format!("sender{id}@shop.example"), format!("user{}@home.example", id % 1_000)),
        4 => (String::new(), format!("user{id}@home.example")),
        _ => (format!("sender{id}@domain{}.example.org", id % 5_000), String::new()),
    };
    let (source, destination) = (AddressRule::parse(&source), AddressRule::parse(&destination));
    Rule { id, source, destination, users: None, payload: 0 }
}

fn index(size: i64) -> Index<u8> {
    let mut builder = Builder::new();
    for id in 0..size {
        builder.add(&rule(id)).expect("a million rules fit");
    }
    builder.finish()
}

fn table(size: i64) -> RuleTable<u8> {
    let table = RuleTable::new();
    table.load(index(size));
    table
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matching");
    let key = |address: String| AddressKey::new(address.as_bytes());
    // Different addresses each time: one address alone would stay in the processor's cache.
    let requests: Vec<_> = (0..4_096)
        .map(|n| (key(format!("someone{n}@mail{n}.elsewhere.example")), key(format!("user{}@home.example", n % 700))))
        .collect();
    for size in SIZES {
        let table = table(size);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("no rule matches", size), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % requests.len();
                let (sender, recipient) = &requests[next];
                black_box(table.now().matches(Seek { sender, recipient, user: None }).next().map(|hit| hit.id))
            });
        });
        let matching = (0..4_096).map(|n| n * 7_919 % size / 10 * 10 + 1);
        let senders: Vec<_> = matching.map(|id| key(format!("x@domain{id}.example.com"))).collect();
        group.bench_function(BenchmarkId::new("a rule matches", size), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % senders.len();
                let seek = Seek { sender: &senders[next], recipient: &requests[0].1, user: None };
                black_box(table.now().matches(seek).next().map(|hit| hit.id))
            });
        });
    }
    group.finish();
}

fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("changing");
    group.sample_size(10);
    group.bench_function("build 1000000", |bencher| bencher.iter(|| black_box(index(1_000_000))));
    let table = table(1_000_000);
    let mut id = 1_000_000;
    group.bench_function("one row of 1000000", |bencher| {
        bencher.iter(|| {
            id += 1;
            // The same hundred rows over and over: never enough of them for a merge.
            table.apply([Change::Set(rule(id % 100))]).expect("a row more fits");
        });
    });
    group.finish();
}

criterion_group!(benches, matching, changing);
criterion_main!(benches);
