//! What is local, against what a real smtpd takes, refuses as unknown, and refuses to relay.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use libvalvula::AddressKey;
use postfix::{Resolver, Settings, Verdict};
use support::{Postfix, Smtp};

const SETTINGS: &[&str] = &[
    "compatibility_level=3.6",
    "mydestination=here.example !not.example inline:{table.example=x, not.example=y} pcre:{{/^re[0-9]+\\.example$$/ x}} localhost",
    "local_recipient_maps=inline:{alice=x, bob+tag=x, carol@here.example=x, { @table.example = x }} unix:passwd.byname",
    "virtual_alias_domains=alias.example, {braced.example}, not.example",
    "virtual_alias_maps=inline:{a@alias.example=alice@here.example, everywhere=alice, x+y@alias.example=alice@here.example, b@box.example=alice@here.example} regexp:{{/^re-.*@alias\\.example$$/ alice@here.example}}",
    "virtual_mailbox_domains=box.example, Upper.EXAMPLE, !box2.example, box2.example",
    "virtual_mailbox_maps=inline:{user@box.example=x, { @upper.example = x }, q@box.example=x}",
    "relay_domains=relay.example, !no.relay2.example, relay2.example",
    "relay_recipient_maps=inline:{r@relay.example=x, { @sub.relay.example = x }, { @relay2.example = x }}",
    "recipient_delimiter=+-",
    "smtpd_relay_restrictions=reject_unauth_destination",
    "smtpd_recipient_restrictions=",
    "smtpd_error_sleep_time=0",
    "smtpd_soft_error_limit=1000",
    "smtpd_hard_error_limit=2000",
    "smtpd_client_recipient_rate_limit=0",
];

const DOMAINS: &[&str] = &[
    "here.example",
    "HERE.Example",
    "sub.here.example",
    "not.example",
    "table.example",
    "sub.table.example",
    "re1.example",
    "rex.example",
    "localhost",
    "alias.example",
    "braced.example",
    "box.example",
    "upper.example",
    "box2.example",
    "relay.example",
    "sub.relay.example",
    "no.relay2.example",
    "a.no.relay2.example",
    "relay2.example",
    "b.relay2.example",
    "elsewhere.example",
    "xrelay.example",
    "[127.0.0.1]",
    "[192.0.2.99]",
];
const LOCALS: &[&str] = &[
    "alice",
    "ALICE",
    "alice+x",
    "alice-x+y",
    "+alice",
    "bob",
    "bob+tag",
    "bob+other",
    "carol",
    "root",
    "nosuchuser",
    "postmaster",
    "mailer-daemon",
    "double-bounce",
    "a",
    "a+z",
    "x+y",
    "x+z",
    "everywhere",
    "re-7",
    "re-7+x",
    "b",
    "user",
    "user+ext",
    "\"q q\"",
    "q-",
    "owner-alice",
    "alice-request",
    "r",
    "any",
    "user%elsewhere.example",
    "alice%here.example",
];

/// What smtpd makes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Taken,
    Unknown,
    NotRelayed,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_smtpd_takes_is_local_and_what_it_refuses_is_not() {
    let options: Vec<&str> = SETTINGS.iter().flat_map(|setting| ["--set", setting]).collect();
    let postfix = Postfix::start(&options);
    let settings =
        Settings { config_directory: postfix.config_directory(), relay_domains: true, ..Settings::default() };
    let resolver = Resolver::load(settings).await;
    let mut smtp = Smtp::open(postfix.mx());
    let mut count = [0usize; 3];
    for domain in DOMAINS {
        for local in LOCALS {
            smtp.command("RSET");
            let reply = smtp.rcpt("sender@elsewhere.example", &format!("{local}@{domain}"));
            let theirs = match reply.get(..3) {
                Some("250") => Reply::Taken,
                _ if reply.contains("Relay access denied") => Reply::NotRelayed,
                _ if reply.contains("unknown") || reply.contains("Unknown") => Reply::Unknown,
                _ => panic!("{local}@{domain}: {reply}"),
            };
            count[theirs as usize] += 1;
            // As a policy request has it: unquoted.
            let key = AddressKey::new(format!("{}@{domain}", local.trim_matches('"')).as_bytes());
            let address = resolver.is_local_address(&key).await;
            let delivery = resolver.is_local_delivery(&key).await;
            let ours = match (delivery.verdict, address.verdict) {
                (Verdict::Yes, Verdict::Yes) => Reply::Taken,
                (Verdict::Yes, Verdict::No) => Reply::Unknown,
                (Verdict::No, Verdict::Yes | Verdict::No) => Reply::NotRelayed,
                other => panic!("{local}@{domain}: {other:?}\n{}", address.evidence),
            };
            assert_eq!(ours, theirs, "{local}@{domain}: {reply}\n{}\n{}", delivery.evidence, address.evidence);
        }
    }
    assert!(count.iter().all(|count| *count > 50), "{count:?}");
}
