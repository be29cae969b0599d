//! The index against the plain reading of the rules: every row held against every request, in order of id.

use std::collections::BTreeMap;

use libvalvula::{AddressKey, AddressRule};
use proptest::prelude::*;

use super::*;

type Rows = BTreeMap<i64, Rule<u8>>;

fn rule(id: i64, source: &str, destination: &str, users: Option<&[&str]>) -> Rule<u8> {
    Rule {
        id,
        source: AddressRule::parse(source),
        destination: AddressRule::parse(destination),
        users: users.map(|users| users.iter().map(|user| AddressKey::new(user.as_bytes())).collect()),
        payload: u8::try_from(id.rem_euclid(251)).unwrap(),
    }
}

fn loaded<'a>(rules: impl IntoIterator<Item = &'a Rule<u8>>) -> RuleTable<u8> {
    let mut builder = Builder::new();
    for rule in rules {
        builder.add(rule).unwrap();
    }
    let table = RuleTable::new();
    table.load(builder.finish());
    table
}

fn found(table: &RuleTable<u8>, sender: &str, recipient: &str, user: Option<&str>) -> Vec<i64> {
    let (sender, recipient) = (AddressKey::new(sender.as_bytes()), AddressKey::new(recipient.as_bytes()));
    let user = user.map(|user| AddressKey::new(user.as_bytes()));
    let seek = Seek { sender: &sender, recipient: &recipient, user: user.as_ref() };
    table
        .now()
        .matches(seek)
        .inspect(|hit| assert_eq!(i64::from(*hit.payload), hit.id % 251))
        .map(|hit| hit.id)
        .collect()
}

/// What the rules say, read one by one.
fn expected(rows: &Rows, sender: &str, recipient: &str, user: Option<&str>) -> Vec<i64> {
    let (sender, recipient) = (AddressKey::new(sender.as_bytes()), AddressKey::new(recipient.as_bytes()));
    let user = user.map(|user| AddressKey::new(user.as_bytes()));
    let matches = |rule: &Rule<u8>| {
        let named = rule.users.as_ref().is_none_or(|users| user.as_ref().is_some_and(|user| users.contains(user)));
        named && rule.source.matches(&sender) && rule.destination.matches(&recipient)
    };
    let filled = |rule: &AddressRule| !matches!(rule, AddressRule::Everything);
    let (specific, general): (Vec<_>, Vec<_>) =
        rows.values().filter(|rule| matches(rule)).partition(|rule| filled(&rule.source) && filled(&rule.destination));
    specific.into_iter().chain(general).map(|rule| rule.id).collect()
}

#[test]
fn specific_rows_come_before_general_ones_and_inside_a_group_the_lowest_id_first() {
    let rules = [
        rule(5, "x.example", "y.example", None),
        rule(3, "ann@x.example", "*.example", None),
        rule(4, "ann@x.example", "ben@y.example", None),
        rule(1, "ann@x.example", "", None),
        rule(2, "", "", None),
        rule(6, "", "y.example", None),
    ];
    assert_eq!(
        found(&loaded(&rules), "ann@x.example", "ben@y.example", None),
        [3, 4, 5, 1, 2, 6].map(|id| {
            // `*.example` is any subdomain of `example`, which y.example is
            id
        })
    );
}

#[test]
fn a_row_limited_to_sasl_users_is_found_for_them_alone() {
    let table = loaded(&[
        rule(1, "x.example", "", Some(&["ann", "Ben@X.example", "ann"])),
        rule(2, "x.example", "", None),
        rule(3, "x.example", "", Some(&[])),
    ]);
    assert_eq!(found(&table, "a@x.example", "b@y.example", None), [2]);
    assert_eq!(found(&table, "a@x.example", "b@y.example", Some("carl")), [2]);
    assert_eq!(found(&table, "a@x.example", "b@y.example", Some("ANN")), [1, 2], "named twice, found once");
    assert_eq!(found(&table, "a@x.example", "b@y.example", Some("ben@x.example")), [1, 2]);
}

#[test]
fn a_changed_row_is_seen_at_once_and_an_unknown_one_that_goes_changes_nothing() {
    let table = loaded(&[rule(1, "x.example", "", None), rule(2, "x.example", "", None)]);
    table.apply([Change::Set(rule(1, "z.example", "", None)), Change::Gone(77)]).unwrap();
    assert_eq!(found(&table, "a@x.example", "", None), [2]);
    assert_eq!(found(&table, "a@z.example", "", None), [1]);
    table.apply([Change::Gone(2), Change::Set(rule(3, "", "", None))]).unwrap();
    assert_eq!(found(&table, "a@x.example", "", None), [3]);
    assert_eq!(table.now().len(), 2);
    table.apply([Change::Gone(1), Change::Gone(3)]).unwrap();
    assert!(table.now().is_empty());
}

#[test]
fn a_reader_keeps_what_it_took() {
    let table = loaded(&[rule(1, "x.example", "", None)]);
    let before = table.now();
    table.apply([Change::Gone(1)]).unwrap();
    assert_eq!(before.len(), 1);
    assert_eq!(table.now().len(), 0);
}

#[test]
fn what_changes_during_a_merge_is_not_lost_by_it() {
    let table =
        loaded(&[rule(1, "a.example", "", None), rule(2, "b.example", "", None), rule(3, "c.example", "", None)]);
    table.apply([Change::Set(rule(4, "d.example", "", None)), Change::Gone(1)]).unwrap();
    let merge = table.begin_merge().expect("none is under way");
    assert!(table.begin_merge().is_none(), "one at a time");
    // Set then gone, gone then set, changed again.
    table
        .apply([
            Change::Gone(4),
            Change::Set(rule(1, "a.example", "", None)),
            Change::Set(rule(2, "e.example", "", None)),
        ])
        .unwrap();
    table.end_merge(merge);
    let of = |sender: &str| found(&table, sender, "", None);
    assert_eq!(
        [of("x@a.example"), of("x@b.example"), of("x@c.example"), of("x@d.example"), of("x@e.example")],
        [vec![1], vec![], vec![3], vec![], vec![2]]
    );
    assert_eq!(table.now().len(), 3);
    assert!(table.begin_merge().is_some(), "the next one may begin");
}

#[test]
fn a_load_during_a_merge_is_not_undone_by_it() {
    let table = loaded(&[rule(1, "a.example", "", None)]);
    let merge = table.begin_merge().unwrap();
    table.load(Builder::new().finish());
    table.end_merge(merge);
    assert!(table.now().is_empty());
}

#[test]
fn many_changes_are_merged_behind_and_none_is_lost() {
    let table = loaded(&[]);
    let rules: Vec<_> = (0..5_000).map(|id| rule(id, &format!("u{id}@x.example"), "", None)).collect();
    for part in rules.chunks(500) {
        table.apply(part.iter().cloned().map(Change::Set)).unwrap();
    }
    for id in 0..5_000 {
        assert_eq!(found(&table, &format!("U{id}@X.example"), "b@y.example", None), [id]);
    }
    assert_eq!(table.now().len(), 5_000);
}

/// Few names, so that rows and requests meet often.
fn domain() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "net", "B", "bücher", "xn--bcher-kva", ""]), 0..4)
        .prop_map(|labels| labels.join("."))
}

fn address() -> impl Strategy<Value = String> {
    let local = prop::sample::select(vec!["ann", "Ann", "o'brien", "\"a b\"", "x@y", "ann+x", "", "net"]);
    prop_oneof![
        8 => (local, domain()).prop_map(|(local, domain)| format!("{local}@{domain}")),
        1 => domain(),
        1 => Just(String::new()),
        1 => prop::sample::select(vec!["@", "ann", "ann@", "a.@b", "@a.net", "."]).prop_map(str::to_owned),
    ]
}

fn rule_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => address(),
        3 => domain(),
        1 => domain().prop_map(|domain| format!("@{domain}")),
        3 => domain().prop_map(|domain| format!("*.{domain}")),
        1 => domain().prop_map(|domain| format!(".{domain}")),
        2 => prop::sample::select(vec!["ann@", "Ann@", "net", "b", "*", "*.", "@", "x@y@", "top"]).prop_map(str::to_owned),
        3 => Just(String::new()),
    ]
}

fn user() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(vec!["ann", "ANN", "ben@a.net", "carl"]))
}

fn row() -> impl Strategy<Value = Rule<u8>> {
    let users =
        prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(vec!["ann", "Ben@A.net"]), 0..3));
    (0_i64..30, rule_text(), rule_text(), users)
        .prop_map(|(id, source, destination, users)| rule(id, &source, &destination, users.as_deref()))
}

fn change() -> impl Strategy<Value = Change<u8>> {
    prop_oneof![3 => row().prop_map(Change::Set), 1 => (0_i64..30).prop_map(Change::Gone)]
}

type Request = (String, String, Option<&'static str>);

fn requests() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec((address(), address(), user()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_reading_every_row_finds(rows in prop::collection::vec(row(), 0..30), requests in requests()) {
        let rows: Rows = rows.into_iter().map(|rule| (rule.id, rule)).collect();
        let table = loaded(rows.values().rev());
        for (sender, recipient, user) in requests {
            prop_assert_eq!(
                found(&table, &sender, &recipient, user),
                expected(&rows, &sender, &recipient, user),
                "{} -> {} as {:?}", sender, recipient, user
            );
        }
    }

    #[test]
    fn changes_one_by_one_come_to_what_a_full_build_comes_to(
        rows in prop::collection::vec(row(), 0..20),
        steps in prop::collection::vec((prop::collection::vec(change(), 0..6), 0_u8..4), 0..8),
        requests in requests(),
    ) {
        let mut rows: Rows = rows.into_iter().map(|rule| (rule.id, rule)).collect();
        let table = loaded(rows.values());
        let mut merge = None;
        for (changes, step) in steps {
            for change in &changes {
                match change {
                    Change::Set(rule) => drop(rows.insert(rule.id, rule.clone())),
                    Change::Gone(id) => drop(rows.remove(id)),
                }
            }
            table.apply(changes).unwrap();
            match step {
                0 => merge = merge.or_else(|| table.begin_merge()),
                1 => if let Some(merge) = merge.take() { table.end_merge(merge) },
                2 if merge.is_none() => {
                    let merge = table.begin_merge().unwrap();
                    table.end_merge(merge);
                }
                _ => {}
            }
            for (sender, recipient, user) in &requests {
                prop_assert_eq!(found(&table, sender, recipient, *user), expected(&rows, sender, recipient, *user));
            }
        }
    }
}
