//! Each sentence of mod-bwl's specification, and what breaks when it is broken.

use std::sync::Arc;

use actors::local::{Answers, Ask, Local};
use actors::module::{Decide, Outcome};
use libvalvula::Request;
use parking_lot::Mutex;

use super::super::tables::{GlobalRow, Read, RecipientRow, SaslRow};
use super::*;
use crate::questions;
use crate::rules::{Builder, RuleTable};

/// `home.example` and `b.home.example` are local, with `ann`, `ben` and `list` in the first.
fn home() -> Local {
    Local::fixed(
        &["home.example", "b.home.example"],
        &["ann@home.example", "ben@home.example", "list@home.example"],
    )
}

/// Answers that are not known at first, or can't be had.
#[derive(Clone, Default)]
struct Slow {
    asked: Arc<Mutex<Vec<String>>>,
    known: Option<Local>,
    waits: bool,
}

impl Slow {
    fn answer(&self, what: String, known: impl FnOnce(&Local) -> Ask<Truth>) -> Ask<Truth> {
        self.asked.lock().push(what);
        let answer = self.known.as_ref().map_or_else(|| Ask::ready(Truth::CouldNotAsk("table down".into())), known);
        if self.waits { Ask::Waiting(Box::pin(async { tokio::task::yield_now().await; answer.await })) } else { answer }
    }
}

impl Answers for Slow {
    fn domain(&self, domain: &[u8]) -> Ask<Truth> {
        self.answer(String::from_utf8_lossy(domain).into(), |known| known.domain(domain))
    }

    fn address(&self, address: &AddressKey) -> Ask<Truth> {
        self.answer(address.to_string(), |known| known.address(address))
    }

    fn owners(&self, _: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        unreachable!("bwl asks for no owners")
    }

    fn recipient_delimiter(&self) -> Arc<[u8]> {
        Arc::from(*b"+")
    }
}

#[derive(Default)]
struct Rules {
    global: Vec<GlobalRow>,
    domain: Vec<RecipientRow>,
    account: Vec<RecipientRow>,
    sasl: Vec<SaslRow>,
}

fn table<P: Clone + Send + Sync + 'static>(rows: impl Iterator<Item = Read<P>>) -> RuleTable<P> {
    let mut builder = Builder::new();
    for rule in rows.filter_map(|row| row.ok().flatten()) {
        builder.add(&rule).unwrap();
    }
    let table = RuleTable::new();
    table.load(builder.finish());
    table
}

impl Rules {
    fn tables(&self) -> Tables {
        Tables {
            blocked: table(self.sasl.iter().map(SaslRow::read)),
            global: table(self.global.iter().map(GlobalRow::read)),
            domain: table(self.domain.iter().map(RecipientRow::read_for_domain)),
            account: table(self.account.iter().map(RecipientRow::read_for_account)),
        }
    }
}

fn text(column: &str) -> Option<String> {
    (column != "NULL").then(|| column.to_owned())
}

fn global(id: i64, source: &str, destination: &str, status: &str) -> GlobalRow {
    GlobalRow { id, is_active: Some(1), source: text(source), destination: text(destination), status: text(status), ..GlobalRow::default() }
}

fn of_recipient(id: i64, rules_for: &str, source: &str, status: &str) -> RecipientRow {
    RecipientRow { id, is_active: Some(1), rules_for: text(rules_for), source: text(source), status: text(status), ..RecipientRow::default() }
}

fn blocked(id: i64, user: &str) -> SaslRow {
    SaslRow { id, is_active: Some(1), sasl_user: text(user), ..SaslRow::default() }
}

fn query(sender: &str, recipient: &str, user: &str) -> Arc<Query> {
    let request = Request::builder().sender(sender).recipient(recipient).sasl_username(user).build().unwrap();
    Arc::new(Query { request, listener: "test".into() })
}

fn decided(rules: &Rules, local: &Local, sender: &str, recipient: &str, user: &str) -> Decide {
    decided_with(rules, local, true, sender, recipient, user)
}

fn decided_with(rules: &Rules, local: &Local, deny: bool, sender: &str, recipient: &str, user: &str) -> Decide {
    let clock = Clock::system();
    let tables = rules.tables();
    let query = query(sender, recipient, user);
    questions::decide(local, Arc::clone(&query), move |questions| {
        Case { tables: &tables, deny_unknown_local: deny, clock: &clock, query: &query }.decide(questions, &mut Notes::default())
    })
}

fn now(decide: Decide) -> Outcome {
    match decide {
        Decide::Now(outcome) => outcome,
        Decide::Later(_) => panic!("had to wait, although every answer was known"),
    }
}

/// `REJECT bwl_global 1`, `DUNNO`: the action, and table and row that decided.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(None) => "DUNNO".to_owned(),
        Ok(Some(decision)) => {
            let row = decision.why.split([':', ';']).next().unwrap_or_default();
            format!("{} {row}", decision.verdict.action_name())
        }
        Err(_) => "could not ask".to_owned(),
    }
}

fn answer(rules: &Rules, sender: &str, recipient: &str, user: &str) -> String {
    told(&now(decided(rules, &home(), sender, recipient, user)))
}

const OUT: &str = "x@far.example";
const ANN: &str = "ann@home.example";

#[test]
fn an_active_row_that_names_the_sasl_user_rejects_before_all_else() {
    let rules = Rules {
        sasl: vec![blocked(4, "Ann@Home.example"), blocked(5, "carl")],
        global: vec![global(1, "", "", "ok")],
        ..Rules::default()
    };
    assert_eq!(answer(&rules, ANN, OUT, "ann@home.example"), "REJECT bwl_global_sasl 4");
    assert_eq!(answer(&rules, ANN, OUT, "CARL"), "REJECT bwl_global_sasl 5");
    assert_eq!(answer(&rules, ANN, OUT, "ben"), "OK bwl_global 1");
    assert_eq!(answer(&rules, ANN, ANN, ""), "OK bwl_global 1", "not authenticated");
}

#[test]
fn from_the_second_in_which_it_expires_a_row_is_as_if_it_were_not_there_in_any_table() {
    let expires = Some(1_000);
    let rules = Rules {
        sasl: vec![SaslRow { expires, ..blocked(1, "thief") }],
        global: vec![
            GlobalRow { expires, ..global(1, "a.example", "", "reject") },
            global(2, "a.example", "", "discard"),
            GlobalRow { expires: Some(-1), ..global(3, "c.example", "", "reject") },
        ],
        domain: vec![RecipientRow { expires, ..of_recipient(1, "home.example", "b.example", "reject") }],
        account: vec![
            RecipientRow { expires, ..of_recipient(1, ANN, "d.example", "reject") },
            of_recipient(2, ANN, "b.example", "discard"),
        ],
    };
    let tables = rules.tables();
    let clock = Clock::manual(std::time::UNIX_EPOCH);
    let told_at = |second: u64, sender: &str, user: &str| {
        clock.set(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second));
        let query = query(sender, ANN, user);
        let mut notes = Notes { trace: Trace::kept(), ..Notes::default() };
        let case = Case { tables: &tables, deny_unknown_local: true, clock: &clock, query: &query };
        let outcome = case.decide(&mut Questions::new(home(), Arc::clone(&query)), &mut notes).unwrap();
        (told(&outcome), notes.trace.into_lines().join("\n"))
    };
    for (sender, user, before, after, row) in [
        ("x@a.example", "", "REJECT bwl_global 1", "DISCARD bwl_global 2", "bwl_global 1"),
        ("x@b.example", "", "REJECT bwl_domain 1", "DISCARD bwl_account 2", "bwl_domain 1"),
        ("x@d.example", "", "REJECT bwl_account 1", "DUNNO", "bwl_account 1"),
        ("x@e.example", "thief", "REJECT bwl_global_sasl 1", "DUNNO", "bwl_global_sasl 1"),
    ] {
        assert_eq!(told_at(999, sender, user).0, before, "{sender}");
        let (told, trace) = told_at(1_000, sender, user);
        assert_eq!(told, after, "{sender}");
        assert!(trace.lines().any(|line| line.starts_with(row) && line.ends_with("passed over, it has expired")), "{trace}");
    }
    assert_eq!(told_at(1_000_000, "x@c.example", "").0, "REJECT bwl_global 3", "-1 is no end");
}

#[test]
fn a_row_that_is_not_active_does_not_hold_in_any_table() {
    for is_active in [None, Some(0)] {
        let rules = Rules {
            sasl: vec![SaslRow { is_active, ..blocked(1, "ann") }],
            global: vec![GlobalRow { is_active, ..global(1, "", "", "reject") }],
            domain: vec![RecipientRow { is_active, ..of_recipient(1, "home.example", "", "reject") }],
            account: vec![RecipientRow { is_active, ..of_recipient(1, ANN, "", "reject") }],
        };
        assert_eq!(answer(&rules, OUT, ANN, ""), "DUNNO");
        assert_eq!(answer(&rules, OUT, ANN, "ann"), "DUNNO");
    }
}

/// The table of address rules: rule, what it matches, what it does not.
const FORMS: &[(&str, &[&str], &[&str])] = &[
    ("", &["", "ann@x.example", "ann"], &[]),
    ("NULL", &["", "ann@x.example"], &[]),
    ("ann@x.example", &["ann@x.example", "ANN@X.Example"], &["", "ben@x.example", "ann@y.example", "ann@a.x.example", "joann@x.example"]),
    ("x.example", &["ann@x.example", "a@b@X.EXAMPLE"], &["", "ann@a.x.example", "ann@ax.example", "ann@x.example.org", "x.example@y.example"]),
    ("@x.example", &["ann@x.example"], &["", "ann@a.x.example", "ann@ax.example"]),
    ("*.mailer.net", &["x@a.b.mailer.net", "x@b.mailer.net", "a.mailer.net"], &["", "x@mailer.net", "x@amailer.net", "x@a.mailer.net.org"]),
    (".mailer.net", &["x@a.b.mailer.net"], &["", "x@mailer.net"]),
    ("postmaster@", &["postmaster@x.example", "PostMaster@y", "postmaster"], &["", "apostmaster@x.example", "post@x.example"]),
    ("top", &["a@x.top", "a@b.c.TOP", "a@top"], &["", "a@x.atop", "a@top.x", "top@x.example"]),
    ("*.", &[], &["", "a@x.example"]),
    ("*", &[], &["", "a@x.example"]),
    ("@", &[], &["", "a@x.example"]),
    ("bücher.example", &["a@xn--bcher-kva.example", "a@BÜCHER.example"], &["a@bucher.example"]),
    ("xn--bcher-kva.example", &["a@bücher.example"], &[]),
    ("o'brien@x.example", &["O'Brien@x.example"], &["obrien@x.example"]),
    ("\"a b\"@x.example", &["\"a b\"@x.example"], &["a b@x.example"]),
    ("100%@x.example", &["100%@x.example"], &["100@x.example", "1000@x.example"]),
];

#[test]
fn source_is_held_against_the_sender_and_destination_against_the_recipient_as_address_rules() {
    for (rule, matching, others) in FORMS {
        let as_source = Rules { global: vec![global(1, rule, "", "reject")], ..Rules::default() };
        let as_destination = Rules { global: vec![global(1, "NULL", rule, "reject")], ..Rules::default() };
        let as_both = Rules { global: vec![global(1, rule, "ben@far.example", "reject")], ..Rules::default() };
        for (addresses, expected) in [(matching, "REJECT bwl_global 1"), (others, "DUNNO")] {
            for address in *addresses {
                assert_eq!(answer(&as_source, address, OUT, ""), expected, "source {rule}, sender {address}");
                assert_eq!(answer(&as_destination, OUT, address, ""), expected, "destination {rule}, recipient {address}");
                assert_eq!(answer(&as_both, address, "ben@far.example", ""), expected, "both, {rule}, sender {address}");
                assert_eq!(answer(&as_both, address, OUT, ""), "DUNNO", "both must match");
            }
        }
    }
}

#[test]
fn an_empty_sender_matches_only_the_empty_rule() {
    let rules = |source| Rules { global: vec![global(1, source, "", "reject")], ..Rules::default() };
    for (rule, ..) in FORMS {
        let expected = if matches!(*rule, "" | "NULL") { "REJECT bwl_global 1" } else { "DUNNO" };
        assert_eq!(answer(&rules(rule), "", OUT, ""), expected, "{rule}");
    }
}

#[test]
fn specific_rows_are_tried_before_general_ones_and_inside_each_group_by_ascending_id() {
    let one = |rows: &[(i64, &str, &str)]| {
        let global = rows.iter().map(|&(id, source, destination)| global(id, source, destination, "reject")).collect();
        answer(&Rules { global, ..Rules::default() }, "a@s.example", "b@d.example", "")
    };
    assert_eq!(one(&[(1, "a@s.example", ""), (2, "", "b@d.example"), (3, "", ""), (4, "example", "example")]), "REJECT bwl_global 4");
    assert_eq!(one(&[(5, "a@s.example", "b@d.example"), (4, "s.example", "*.example")]), "REJECT bwl_global 4");
    assert_eq!(one(&[(7, "a@s.example", ""), (6, "NULL", "NULL")]), "REJECT bwl_global 6");
    assert_eq!(one(&[(7, "a@s.example", ""), (6, "", "d.example")]), "REJECT bwl_global 6");
    assert_eq!(one(&[(1, "z.example", "d.example"), (2, "", "z.example")]), "DUNNO");
}

#[test]
fn a_row_is_passed_over_when_the_sasl_user_is_in_sasl_users_to_skip() {
    for list in ["ann", "ann,ben", "ben;ANN", " x  ann ", "x\tann\ny", "x\nann"] {
        let row = GlobalRow { sasl_users_to_skip: text(list), ..global(1, "", "", "reject") };
        let rules = Rules { global: vec![row, global(2, "", "", "discard")], ..Rules::default() };
        assert_eq!(answer(&rules, ANN, OUT, "ann"), "DISCARD bwl_global 2", "{list:?}");
        assert_eq!(answer(&rules, ANN, OUT, "Ann"), "DISCARD bwl_global 2", "{list:?}");
        assert_eq!(answer(&rules, ANN, OUT, "joann"), "REJECT bwl_global 1", "{list:?}: whole names");
        assert_eq!(answer(&rules, ANN, OUT, ""), "REJECT bwl_global 1", "{list:?}: not authenticated");
    }
}

#[test]
fn a_row_limited_to_sasl_users_is_passed_over_for_everybody_else() {
    for list in ["ann", "ann,ben@x.example", "ben@x.example;ANN", "x\tann\ny"] {
        let row = GlobalRow { limit_rule_to_sasl_users: text(list), ..global(1, "", "", "reject") };
        let rules = Rules { global: vec![row, global(2, "", "", "discard")], ..Rules::default() };
        assert_eq!(answer(&rules, ANN, OUT, "ann"), "REJECT bwl_global 1", "{list:?}");
        assert_eq!(answer(&rules, ANN, OUT, "ANN"), "REJECT bwl_global 1", "{list:?}");
        for other in ["joann", "an", ""] {
            assert_eq!(answer(&rules, ANN, OUT, other), "DISCARD bwl_global 2", "{list:?} {other:?}");
        }
    }
    for nobody in ["NULL", "", " ,; "] {
        let row = GlobalRow { limit_rule_to_sasl_users: text(nobody), ..global(1, "", "", "reject") };
        assert_eq!(answer(&Rules { global: vec![row], ..Rules::default() }, ANN, OUT, ""), "REJECT bwl_global 1", "names nobody: {nobody:?}");
    }
}

#[test]
fn skipped_and_limited_at_once_is_passed_over() {
    let row = GlobalRow {
        limit_rule_to_sasl_users: text("ann,ben"),
        sasl_users_to_skip: text("ann"),
        ..global(1, "", "", "reject")
    };
    let rules = Rules { global: vec![row], ..Rules::default() };
    assert_eq!([answer(&rules, ANN, OUT, "ann"), answer(&rules, ANN, OUT, "ben")], ["DUNNO", "REJECT bwl_global 1"]);
}

#[test]
fn a_row_with_both_columns_empty_matches_every_request() {
    for (source, destination) in [("", ""), ("NULL", "NULL"), ("NULL", ""), ("", "NULL")] {
        let rules = Rules { global: vec![global(1, source, destination, "discard")], ..Rules::default() };
        for (sender, recipient) in [("", ""), (ANN, OUT), (OUT, ANN), ("", ANN)] {
            assert_eq!(answer(&rules, sender, recipient, ""), "DISCARD bwl_global 1");
        }
    }
}

#[test]
fn rows_of_the_recipients_domain_and_then_of_the_recipient_hold_for_a_local_delivery() {
    let rules = Rules {
        domain: vec![of_recipient(9, "Home.example", "far.example", "reject"), of_recipient(1, "other.example", "", "reject")],
        account: vec![of_recipient(2, "ANN@home.example", "far.example", "discard"), of_recipient(3, "ben@home.example", "near.example", "ok")],
        ..Rules::default()
    };
    assert_eq!(answer(&rules, OUT, ANN, ""), "REJECT bwl_domain 9", "the domain's rows come first");
    assert_eq!(answer(&rules, "x@near.example", ANN, ""), "DUNNO", "source is held against the sender");
    assert_eq!(answer(&rules, "x@near.example", "ben@home.example", ""), "OK bwl_account 3");
    assert_eq!(answer(&rules, OUT, "x@other.example", ""), "DUNNO", "its rows do not hold: it is not local");
    assert_eq!(answer(&rules, OUT, "ann@b.home.example", ""), "DUNNO", "rules_for is the domain, not those below");
    let rules = Rules { account: rules.account, ..Rules::default() };
    assert_eq!(answer(&rules, OUT, ANN, ""), "DISCARD bwl_account 2");
}

#[test]
fn in_the_tables_of_recipients_an_empty_source_means_every_sender_and_specific_comes_before_general() {
    for empty in ["", "NULL"] {
        let rows = |rules_for| vec![of_recipient(1, rules_for, empty, "reject"), of_recipient(3, rules_for, "example", "discard"), of_recipient(2, rules_for, "far.example", "filter-discard")];
        let by_domain = Rules { domain: rows("home.example"), ..Rules::default() };
        let by_account = Rules { account: rows(ANN), ..Rules::default() };
        assert_eq!(answer(&by_domain, OUT, ANN, ""), "FILTER bwl_domain 2");
        assert_eq!(answer(&by_account, OUT, ANN, ""), "FILTER bwl_account 2");
        assert_eq!(answer(&by_domain, "x@z.example", ANN, ""), "DISCARD bwl_domain 3");
        assert_eq!(answer(&by_domain, "x@z.org", ANN, ""), "REJECT bwl_domain 1");
        assert_eq!(answer(&by_account, "", ANN, ""), "REJECT bwl_account 1");
    }
}

#[test]
fn the_tables_of_recipients_hold_for_authenticated_clients_too() {
    let rules = Rules { domain: vec![of_recipient(1, "home.example", "", "reject")], ..Rules::default() };
    assert_eq!(answer(&rules, OUT, ANN, "ann"), "REJECT bwl_domain 1");
}

#[test]
fn global_rows_decide_before_those_of_recipients() {
    let rules = Rules {
        global: vec![global(1, "far.example", "", "ok")],
        domain: vec![of_recipient(1, "home.example", "far.example", "reject")],
        ..Rules::default()
    };
    assert_eq!(answer(&rules, OUT, ANN, ""), "OK bwl_global 1");
}

#[test]
fn a_forged_local_sender_is_refused() {
    let rules = Rules::default();
    let cases = [
        // sender, recipient, user, answer
        ("nobody@home.example", ANN, "", "REJECT forged local sender nobody@home.example, recipient ann@home.example"),
        ("ben@home.example", ANN, "", "DUNNO"),
        ("nobody@home.example", ANN, "ann", "DUNNO"),
        ("nobody@home.example", OUT, "", "DUNNO"),
        (OUT, ANN, "", "DUNNO"),
        ("", ANN, "", "DUNNO"),
        ("root", ANN, "", "DUNNO"),
    ];
    for (sender, recipient, user, expected) in cases {
        assert_eq!(answer(&rules, sender, recipient, user), expected);
    }
    let off = now(decided_with(&rules, &home(), false, "nobody@home.example", ANN, ""));
    assert_eq!(told(&off), "DUNNO", "switched off");
}

#[test]
fn a_status_is_read_without_regard_to_case_and_gives_its_answer() {
    let cases = [
        ("ok", "OK"),
        ("Ok", "OK"),
        ("REJECT", "REJECT "),
        ("reject", "REJECT "),
        ("Discard", "DISCARD "),
        ("filter-discard", "FILTER discard:"),
        ("FILTER-DISCARD", "FILTER discard:"),
    ];
    for (status, expected) in cases {
        let rules = Rules { global: vec![global(1, "", "", status)], ..Rules::default() };
        let verdict = now(decided(&rules, &home(), ANN, OUT, "ann")).unwrap().unwrap().verdict.to_string();
        let whole = !expected.ends_with(' ');
        assert!(if whole { verdict == expected } else { verdict.starts_with(expected) }, "{status}: {verdict}");
    }
}

#[test]
fn ok_holds_only_for_a_local_delivery_or_an_authenticated_client_and_else_the_row_is_passed_over() {
    let rules = Rules { global: vec![global(1, "", "", "ok"), global(2, "x@far.example", "", "reject")], ..Rules::default() };
    assert_eq!(answer(&rules, OUT, ANN, ""), "OK bwl_global 1", "local");
    assert_eq!(answer(&rules, ANN, OUT, "ann"), "OK bwl_global 1", "authenticated");
    assert_eq!(answer(&rules, OUT, "y@far.example", ""), "REJECT bwl_global 2", "the next row is tried");
    assert_eq!(answer(&rules, "z@far.example", "y@far.example", ""), "DUNNO", "never an open relay");
    // A bare recipient and the missing one at DATA are no local delivery.
    for recipient in ["postmaster", ""] {
        assert_eq!(answer(&rules, "z@far.example", recipient, ""), "DUNNO");
    }
}

#[test]
fn a_row_that_ok_would_have_opened_a_relay_with_is_named() {
    let rules = Rules { global: vec![global(11, "", "", "ok"), global(12, "far.example", "", "OK")], ..Rules::default() };
    let (tables, query) = (rules.tables(), query(OUT, "y@far.example", ""));
    let mut questions = Questions::new(home(), Arc::clone(&query));
    let mut notes = Notes::default();
    let case = Case { tables: &tables, deny_unknown_local: true, clock: &Clock::system(), query: &query };
    assert_eq!(case.decide(&mut questions, &mut notes).unwrap(), Ok(None));
    assert_eq!(notes.guarded, [11, 12]);
}

#[test]
fn a_row_at_fault_is_passed_over_and_says_why() {
    let faults = [
        (global(1, "", "", "allow").read().unwrap_err(), "allow"),
        (global(1, "", "", "NULL").read().unwrap_err(), "status"),
        (global(1, "*", "", "ok").read().unwrap_err(), "source \"*\""),
        (global(1, "", "@", "ok").read().unwrap_err(), "destination \"@\""),
        (of_recipient(1, "NULL", "", "ok").read_for_domain().unwrap_err(), "rules_for is empty"),
        (of_recipient(1, "", "", "ok").read_for_account().unwrap_err(), "rules_for is empty"),
        (of_recipient(1, "a@x.example", "", "ok").read_for_domain().unwrap_err(), "a@x.example"),
        (of_recipient(1, "x.example", "", "ok").read_for_account().unwrap_err(), "x.example"),
    ];
    for (fault, names) in faults {
        assert!(fault.to_string().contains(names), "{fault}");
    }
    assert!(blocked(1, "NULL").read().is_err());
    let rules = Rules { global: vec![global(1, "", "", "allow"), global(2, "", "", "reject")], ..Rules::default() };
    assert_eq!(answer(&rules, OUT, ANN, ""), "REJECT bwl_global 2");
    assert!(GlobalRow { is_active: Some(0), ..global(1, "*", "", "allow") }.read().unwrap().is_none(), "nobody minds a row that is off");
}

#[test]
fn could_not_ask_is_no_answer_where_the_outcome_depends_on_it_and_no_matter_elsewhere() {
    let down = Local::new(Slow::default());
    let told = |rules: &Rules, sender, recipient, user| told(&now(decided(rules, &down, sender, recipient, user)));

    let ok = Rules { global: vec![global(1, "far.example", "", "ok"), global(2, "near.example", "", "reject")], ..Rules::default() };
    assert_eq!(told(&ok, OUT, ANN, ""), "could not ask", "ok or not depends on it");
    assert_eq!(told(&ok, OUT, ANN, "ann"), "OK bwl_global 1", "authenticated: nothing to ask");
    assert_eq!(told(&ok, "x@near.example", ANN, ""), "REJECT bwl_global 2");

    let of_domain = Rules { domain: vec![of_recipient(1, "home.example", "far.example", "reject")], ..Rules::default() };
    assert_eq!(told(&of_domain, OUT, ANN, ""), "could not ask");
    assert_eq!(told(&of_domain, "x@near.example", ANN, "ann"), "DUNNO", "no row matches: local or not, no opinion");

    assert_eq!(told(&Rules::default(), "nobody@home.example", ANN, ""), "could not ask", "forged or not");
    assert_eq!(told(&Rules::default(), "", ANN, ""), "DUNNO", "an empty sender is never forged");
    assert_eq!(told(&Rules::default(), OUT, ANN, "ann"), "DUNNO");
}

#[test]
fn one_answer_that_clears_the_sender_is_enough_whatever_else_could_not_be_asked() {
    /// Knows addresses, but of no domain whether it is local.
    struct AddressesOnly;
    impl Answers for AddressesOnly {
        fn domain(&self, domain: &[u8]) -> Ask<Truth> {
            Ask::ready(if domain == b"far.example" { Truth::No } else { Truth::CouldNotAsk("down".into()) })
        }
        fn address(&self, address: &AddressKey) -> Ask<Truth> {
            Ask::ready(if address.local_part() == b"ben" { Truth::Yes } else { Truth::No })
        }
        fn owners(&self, _: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
            unreachable!("bwl asks for no owners")
        }
        fn recipient_delimiter(&self) -> Arc<[u8]> {
            Arc::from(*b"+")
        }
    }
    let local = Local::new(AddressesOnly);
    let told = |sender, recipient| told(&now(decided(&Rules::default(), &local, sender, recipient, "")));
    assert_eq!(told("ben@home.example", ANN), "DUNNO", "the sender exists");
    assert_eq!(told("nobody@far.example", ANN), "DUNNO", "the sender is not of here");
    assert_eq!(told("nobody@home.example", "x@far.example"), "DUNNO", "the delivery is not local");
    assert_eq!(told("nobody@home.example", ANN), "could not ask");
}

#[test]
fn nothing_is_asked_that_no_rule_needs() {
    let asked = |rules: &Rules, sender: &str, recipient: &str, user: &str| {
        let slow = Slow { known: Some(home()), ..Slow::default() };
        now(decided(rules, &Local::new(slow.clone()), sender, recipient, user)).unwrap();
        std::mem::take(&mut *slow.asked.lock())
    };
    let rules = Rules {
        global: vec![global(1, "near.example", "", "ok"), global(2, "bad.example", "", "reject")],
        domain: vec![of_recipient(1, "home.example", "bad.example", "reject")],
        ..Rules::default()
    };
    let none: [&str; 0] = [];
    assert_eq!(asked(&rules, OUT, ANN, "ann"), none, "authenticated, no row matches");
    assert_eq!(asked(&rules, "x@bad.example", ANN, ""), none, "rejected by a row");
    assert_eq!(asked(&rules, "x@near.example", "y@far.example", ""), ["far.example"], "asked once for guard and forgery");
    assert_eq!(asked(&rules, OUT, "y@far.example", ""), ["far.example"]);
    assert_eq!(asked(&rules, OUT, ANN, ""), ["home.example", "far.example"]);
    assert_eq!(asked(&rules, "ben@home.example", ANN, ""), ["home.example", "home.example", "ben@home.example"]);
}

#[tokio::test]
async fn an_answer_that_has_to_be_waited_for_changes_nothing_but_the_time() {
    let rules = Rules {
        global: vec![global(1, "near.example", "", "ok")],
        domain: vec![of_recipient(1, "home.example", "bad.example", "reject")],
        ..Rules::default()
    };
    for sender in ["x@near.example", "x@bad.example", "ben@home.example", "nobody@home.example", "", "x@far.example"] {
        for recipient in [ANN, OUT] {
            let expected = answer(&rules, sender, recipient, "");
            let slow = Slow { known: Some(home()), waits: true, ..Slow::default() };
            let outcome = match decided(&rules, &Local::new(slow.clone()), sender, recipient, "") {
                Decide::Now(outcome) => outcome,
                Decide::Later(outcome) => outcome.await,
            };
            assert_eq!(told(&outcome), expected, "{sender} -> {recipient}");
        }
    }
}

#[test]
fn what_the_sender_of_a_refused_mail_sees_shows_no_rule() {
    let rules = Rules {
        global: vec![global(4711, "*.secret.example", "", "reject"), global(4712, "d.example", "", "discard")],
        sasl: vec![blocked(4713, "carl")],
        ..Rules::default()
    };
    for (sender, user) in [("x@a.secret.example", ""), ("x@d.example", ""), (OUT, "carl"), ("nobody@home.example", "")] {
        let decision = now(decided(&rules, &home(), sender, ANN, user)).unwrap().expect("decided");
        let shown = decision.verdict.to_string();
        for hidden in ["bwl", "47", "secret", "example", "carl"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}

#[test]
fn the_log_names_table_row_and_the_values_compared() {
    let rules = Rules { global: vec![global(17, "*.mailer.net", "home.example", "reject")], ..Rules::default() };
    let decision = now(decided(&rules, &home(), "News@a.b.Mailer.net", ANN, "")).unwrap().expect("decided");
    assert_eq!(
        decision.why,
        "bwl_global 17: source *.mailer.net, destination home.example; sender news@a.b.mailer.net, recipient ann@home.example"
    );
}

#[test]
fn the_trace_says_what_was_passed_over_and_why() {
    let rules = Rules {
        global: vec![
            GlobalRow { sasl_users_to_skip: text("ann"), ..global(1, "", "", "reject") },
            GlobalRow { limit_rule_to_sasl_users: text("ben"), ..global(2, "", "", "reject") },
            global(3, "z.example", "", "reject"),
        ],
        ..Rules::default()
    };
    let (tables, query) = (rules.tables(), query(ANN, OUT, "ann"));
    let mut notes = Notes { trace: Trace::kept(), ..Notes::default() };
    let case = Case { tables: &tables, deny_unknown_local: true, clock: &Clock::system(), query: &query };
    case.decide(&mut Questions::new(home(), Arc::clone(&query)), &mut notes).unwrap().unwrap();
    let trace = notes.trace.into_lines().join("\n");
    for line in ["bwl_global 1: ", "sasl_users_to_skip names the user", "bwl_global 2: ", "limit_rule_to_sasl_users", "none of 3 rows decides", "bwl_domain: none"] {
        assert!(trace.contains(line), "{line} in {trace}");
    }
    assert!(!trace.contains("bwl_global 3:"), "{trace}");
}
