//! What is remembered of local questions stays within its bound, in memory as in number. A process of its own: it
//! looks at its own size.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::sync::Arc;

use actors::local::{Answers as _, Truth};
use actors::module::BoxFuture;
use actors::postfix_config::{CacheSettings, LocalQuestions, LocalSettings, Source, Sources};
use libvalvula::AddressKey;
use slog::{Logger, o};

/// Everything is local.
struct Yes;

impl Source for Yes {
    fn name(&self) -> &str {
        "yes"
    }

    fn domain(self: Arc<Self>, _: Arc<[u8]>) -> BoxFuture<Truth> {
        Box::pin(async { Truth::Yes })
    }

    fn address(self: Arc<Self>, _: AddressKey) -> BoxFuture<Truth> {
        Box::pin(async { Truth::Yes })
    }
}

const ENTRIES: usize = 16_000;
const NAMES: usize = 150_000;

/// Resident memory of this process, in MiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[test]
fn memory_stays_within_the_configured_bound() {
    actix_rt::System::new().block_on(async {
        let cache = CacheSettings { entries: ENTRIES, ..CacheSettings::default() };
        let sources = Sources::new([Arc::new(Yes) as Arc<dyn Source>]);
        let settings = LocalSettings { sources, cache, ..LocalSettings::default() };
        let local = LocalQuestions::start(settings, &Logger::root(slog::Discard, o!()));
        let ask = async |names: std::ops::Range<usize>| {
            for first in names.step_by(500) {
                let all = (first..first + 500).map(|number| format!("{number:0>300}@long.example"));
                let addresses = all.map(|name| local.address(&AddressKey::new(name.as_bytes())));
                assert!(futures_util::future::join_all(addresses).await.iter().all(|answer| *answer == Truth::Yes));
                let domains = (first..first + 500).map(|number| local.domain(format!("d{number}.example").as_bytes()));
                assert!(futures_util::future::join_all(domains).await.iter().all(|answer| *answer == Truth::Yes));
            }
        };
        // Once round, so that what the runtime itself needs is there.
        ask(0..ENTRIES * 2).await;
        let before = resident();
        ask(ENTRIES * 2..NAMES).await;
        let grown = resident().saturating_sub(before);
        // All of it would be more than 60 MiB: 118,000 names of 300 bytes, and as many short ones.
        assert!(grown < 20, "{grown} MiB more");
        let count = |kind: &str| {
            let status = local.status();
            let (_, count) = status.iter().find(|(name, _)| name == &format!("{kind} cached")).unwrap();
            usize::try_from(count.as_u64().unwrap()).unwrap()
        };
        // A name of more than 128 bytes takes the room of several.
        assert!((ENTRIES / 4..=ENTRIES).contains(&count("domain")), "{}", count("domain"));
        assert!((ENTRIES / 12..=ENTRIES / 3).contains(&count("address")), "{}", count("address"));
    });
}
