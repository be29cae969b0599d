use super::*;
use crate::counting::counter::{HOUR, MINUTE, RUN};
use crate::counting::event::Events;
use proptest::prelude::*;

const NONE: Limits = [UNLIMITED; WINDOWS];

/// A draft at minute 0 of hour 0 of run 0, without limits.
fn draft(event: Event) -> Draft<'static> {
    Draft {
        event,
        account: b"ann@example.com",
        domain: b"example.com",
        windows: [60, 60, 60],
        closes: 3660,
        slot: 0,
        account_limits: NONE,
        domain_limits: NONE,
        force: false,
    }
}

fn event(worth: Worth) -> Event {
    Event { instance: None, recipient: 0, worth }
}

fn message(instance: u128, recipient: u64, worth: Worth) -> Event {
    Event { instance: Some(instance), recipient, worth }
}

fn passes(book: &mut Book, draft: &Draft<'_>) -> bool {
    // Late enough for the windows of all drafts.
    book.decide(3000, draft, None) == Ruling::Pass
}

#[test]
fn a_request_passes_when_every_limit_still_has_room_for_the_whole_count() {
    for window in [MINUTE, HOUR, RUN] {
        for domain in [false, true] {
            let mut book = Book::new(10);
            let mut limited = draft(event(Worth::Message(3)));
            let limits = if domain { &mut limited.domain_limits } else { &mut limited.account_limits };
            limits[window] = 8;
            assert!(passes(&mut book, &limited) && passes(&mut book, &limited));
            assert_eq!(
                book.decide(100, &limited, None),
                Ruling::Over(Over { domain, window, limit: 8, used: 6, count: 3 }),
                "6 + 3 > 8"
            );
            limited.event = event(Worth::Message(2));
            assert!(passes(&mut book, &limited), "6 + 2 <= 8");
            limited.event = event(Worth::Recipient);
            assert!(!passes(&mut book, &limited));
        }
    }
}

#[test]
fn account_and_domain_move_together_or_not_at_all() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Message(3)));
    limited.domain_limits[HOUR] = 2;
    assert!(!passes(&mut book, &limited));
    assert_eq!(book.used(&limited), [[0; 3]; 2]);
    limited.domain_limits[HOUR] = 3;
    limited.account_limits[HOUR] = 2;
    assert!(!passes(&mut book, &limited));
    assert_eq!(book.used(&limited), [[0; 3]; 2]);
    limited.account_limits[HOUR] = 3;
    assert!(passes(&mut book, &limited));
    assert_eq!(book.used(&limited), [[3; 3]; 2]);
}

#[test]
fn the_domain_counts_all_its_accounts() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Recipient));
    limited.domain_limits[MINUTE] = 2;
    assert!(passes(&mut book, &limited));
    limited.account = b"bob@example.com";
    assert!(passes(&mut book, &limited));
    limited.account = b"cid@example.com";
    assert!(!passes(&mut book, &limited));
}

#[test]
fn a_user_without_domain_is_held_to_its_own_limits_only() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Recipient));
    (limited.account, limited.domain) = (b"ann", b"");
    limited.domain_limits = [0; WINDOWS];
    assert!(passes(&mut book, &limited));
    assert_eq!(book.counters(), 1);
}

#[test]
fn of_several_limits_the_longest_window_is_named() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Recipient));
    limited.account_limits = [0, 0, UNLIMITED];
    limited.domain_limits = [0, 0, 0];
    let Ruling::Over(over) = book.decide(100, &limited, None) else { panic!("over") };
    assert_eq!((over.domain, over.window), (true, RUN));
    limited.domain_limits = [0, 0, UNLIMITED];
    let Ruling::Over(over) = book.decide(100, &limited, None) else { panic!("over") };
    assert_eq!((over.domain, over.window), (false, HOUR));
}

#[test]
fn limits_changed_apply_to_what_is_already_counted() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Message(5)));
    assert!(passes(&mut book, &limited));
    limited.account_limits[HOUR] = 7;
    assert!(!passes(&mut book, &limited));
    limited.account_limits[HOUR] = 10;
    assert!(passes(&mut book, &limited));
}

#[test]
fn a_message_refused_at_data_charges_nobody() {
    let mut book = Book::new(10);
    let mut limited = draft(message(1, 1, Worth::Recipient));
    limited.account_limits[MINUTE] = 2;
    assert!(passes(&mut book, &limited));
    limited.event = message(1, 0, Worth::Message(3));
    assert!(!passes(&mut book, &limited));
    assert_eq!(book.used(&limited), [[0; 3]; 2], "what was charged at RCPT is given back");
    limited.event = message(1, 0, Worth::Message(2));
    assert!(passes(&mut book, &limited));
    assert_eq!(book.used(&limited), [[2; 3]; 2]);
}

#[test]
fn what_is_forced_is_charged_and_said_again_to_a_retry() {
    let mut book = Book::new(10);
    let mut limited = draft(message(1, 1, Worth::Recipient));
    limited.account_limits[MINUTE] = 0;
    limited.force = true;
    let first = book.decide(100, &limited, None);
    assert!(matches!(first, Ruling::Over(_)));
    assert_eq!(book.used(&limited), [[1; 3]; 2]);
    assert_eq!(book.decide(100, &limited, None), first);
    assert_eq!(book.used(&limited), [[1; 3]; 2]);
}

#[test]
fn a_charge_is_given_back_to_the_window_it_was_made_in() {
    let mut book = Book::new(10);
    let mut limited = draft(message(1, 1, Worth::Recipient));
    assert!(passes(&mut book, &limited));
    limited.windows = [120, 60, 60];
    limited.event = message(2, 1, Worth::Recipient);
    assert!(passes(&mut book, &limited));
    limited.event = message(1, 0, Worth::Message(0));
    assert!(passes(&mut book, &limited));
    assert_eq!(book.used(&limited)[0], [1, 1, 1], "the minute of the first message has closed");
}

#[test]
fn overlapping_periods_keep_a_run_each_and_share_minute_and_hour() {
    let mut book = Book::new(10);
    let outer = draft(event(Worth::Message(2)));
    let mut inner = outer;
    (inner.slot, inner.windows) = (1, [60, 60, 3000]);
    assert!(passes(&mut book, &outer));
    assert!(passes(&mut book, &inner) && passes(&mut book, &inner));
    assert!(passes(&mut book, &outer));
    assert_eq!(book.used(&outer), [[8, 8, 4]; 2]);
    assert_eq!(book.used(&inner), [[8, 8, 4]; 2]);
}

#[test]
fn undoing_leaves_everything_as_it_was() {
    let mut book = Book::new(10);
    let first = draft(message(1, 1, Worth::Recipient));
    let second = draft(message(1, 2, Worth::Recipient));
    assert!(passes(&mut book, &first));
    book.take_dirty(10, |_, _| {});
    let mut undo = Undo::default();
    assert_eq!(book.decide(100, &second, Some(&mut undo)), Ruling::Pass);
    assert_eq!(book.used(&first), [[2; 3]; 2]);
    book.undo(undo);
    assert_eq!(book.used(&first), [[1; 3]; 2]);
    book.take_dirty(10, |key, _| panic!("{key:?} was undone"));
    assert!(passes(&mut book, &second), "its recipient is not known");
    assert_eq!(book.used(&first), [[2; 3]; 2]);
    assert_eq!(book.take_dirty(10, |_, counter| assert_eq!(counter.tallies[HOUR].unwritten, 1)), 2);
}

#[test]
fn looking_changes_nothing() {
    let mut book = Book::new(10);
    let mut limited = draft(message(1, 1, Worth::Recipient));
    limited.account_limits[MINUTE] = 1;
    for _ in 0..3 {
        assert_eq!(book.peek(100, &limited), (Due::Charge(1), Ruling::Pass));
    }
    assert_eq!((book.counters(), book.messages(), book.dirty()), (0, 0, 0));
    assert!(passes(&mut book, &limited));
    assert_eq!(book.peek(100, &limited), (Due::Nothing, Ruling::Pass));
    limited.event = message(1, 2, Worth::Recipient);
    assert!(matches!(book.peek(100, &limited), (Due::Charge(1), Ruling::Over(_))));
}

#[test]
fn closed_windows_are_removed_by_themselves_once_written() {
    let mut book = Book::new(10);
    let limited = draft(message(1, 1, Worth::Recipient));
    assert_eq!(book.decide(100, &limited, None), Ruling::Pass);
    book.sweep(3661);
    assert_eq!(book.counters(), 2, "not written yet");
    book.take_dirty(10, |_, _| {});
    book.sweep(3660);
    assert_eq!(book.counters(), 2);
    book.sweep(3661);
    assert_eq!((book.counters(), book.messages()), (0, 1));
    book.sweep(3701);
    assert_eq!(book.messages(), 0);
}

/// What an SMTP client and Postfix do with one message: which recipients it names, which of them
/// another restriction refuses, whether it ends at RCPT or goes on to DATA and END-OF-MESSAGE.
#[derive(Debug, Clone)]
struct Mail {
    recipients: Vec<(u64, bool)>,
    goes_on: bool,
}

fn mail() -> impl Strategy<Value = Mail> {
    (proptest::collection::vec((0..6u64, prop::bool::weighted(0.8)), 1..8), prop::bool::weighted(0.8))
        .prop_map(|(recipients, goes_on)| Mail { recipients, goes_on })
}

/// How far a message is.
struct Progress {
    mail: Mail,
    next: usize,
    /// RCPT commands that were accepted by us and by everybody else.
    accepted: u32,
    /// Distinct recipients charged by us so far (what a session that stops at RCPT leaves charged).
    known: std::collections::HashSet<u64>,
    charged: u32,
    done: bool,
}

proptest! {
    /// Any interleaving of RCPT, DATA and END-OF-MESSAGE over several connections, with duplicates
    /// and retries: what is charged is the recipients accepted, and no limit is ever passed.
    #[test]
    fn what_is_charged_is_the_recipients_accepted(
        mails in proptest::collection::vec(mail(), 1..6),
        steps in proptest::collection::vec((0..6usize, 1..4usize), 1..120),
        limit in prop_oneof![Just(UNLIMITED), 0..20i64],
        journal in any::<bool>(),
    ) {
        let events = Events::default();
        let mut book = Book::new(1000);
        let mut mails: Vec<_> = mails
            .into_iter()
            .map(|mail| Progress {
                mail, next: 0, accepted: 0, known: Default::default(), charged: 0, done: false,
            })
            .collect();
        // then whatever is left of each, in order
        let rest: Vec<_> = (0..mails.len()).flat_map(|index| std::iter::repeat_n((index, 1), 12)).collect();
        for (index, times) in steps.into_iter().chain(rest) {
            let index = index % mails.len();
            let mail = &mut mails[index];
            if mail.done {
                continue;
            }
            let instance = format!("1a2b.{index}");
            let mut ask = |recipient: &str, worth: Worth| {
                let event = events.event(instance.as_bytes(), b"ann", recipient.as_bytes(), worth);
                let limited = Draft { account_limits: [limit, UNLIMITED, UNLIMITED], ..draft(event) };
                let mut passed = None;
                for _ in 0..times {
                    // the same request again: asked by two restrictions, or after a lost answer
                    let mut undo = Undo::default();
                    if journal {
                        let _ = book.decide(100, &limited, Some(&mut undo));
                        book.undo(undo);
                        undo = Undo::default();
                    }
                    let ruling = book.decide(100, &limited, journal.then_some(&mut undo)) == Ruling::Pass;
                    prop_assert!(passed.is_none_or(|passed| passed == ruling), "a retry got another answer");
                    passed = Some(ruling);
                }
                Ok(passed == Some(true))
            };
            if let Some((recipient, others_accept)) = mail.mail.recipients.get(mail.next).copied() {
                mail.next += 1;
                if ask(&format!("r{recipient}@x"), Worth::Recipient)? {
                    mail.known.insert(recipient);
                    mail.charged = u32::try_from(mail.known.len()).expect("few");
                    mail.accepted += u32::from(others_accept);
                }
                continue;
            }
            mail.done = true;
            if mail.mail.goes_on && mail.accepted > 0 {
                let passed = ask("", Worth::Message(mail.accepted))?;
                mail.charged = if passed { mail.accepted } else { 0 };
                if passed {
                    prop_assert!(ask("", Worth::Message(mail.accepted))?, "END-OF-MESSAGE charges nothing more");
                }
            }
        }
        let charged: u32 = mails.iter().map(|mail| mail.charged).sum();
        let [account, domain] = book.used(&draft(event(Worth::Nothing)));
        prop_assert_eq!(account[MINUTE], i64::from(charged));
        prop_assert_eq!(account, domain);
        prop_assert!(account[MINUTE] <= limit);
        // and what is to be written adds up to the same
        let mut written = 0;
        book.take_dirty(usize::MAX, |(kind, _), counter| {
            if kind == 0 {
                written += counter.tallies[MINUTE].unwritten;
            }
        });
        prop_assert_eq!(written, i64::from(charged));
    }
}

#[test]
fn a_request_drafted_before_the_clock_was_set_back_opens_no_window_that_has_not_begun() {
    let mut book = Book::new(10);
    let mut limited = draft(event(Worth::Recipient));
    limited.account_limits[MINUTE] = 2;
    limited.windows = [7200; WINDOWS];
    assert_eq!(book.decide(3610, &limited, None), Ruling::Pass, "drafted at 7200, decided at 3610");
    limited.windows = [3600; WINDOWS];
    assert_eq!(book.decide(3620, &limited, None), Ruling::Pass);
    assert!(book.decide(3630, &limited, None) != Ruling::Pass, "the first counts too");
    limited.windows = [3660, 3600, 3600];
    assert_eq!(book.decide(3660, &limited, None), Ruling::Pass, "the next minute begins anew");
}
