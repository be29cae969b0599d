//! Each sentence of mod-slm's specification, and what breaks when it is broken.

use std::sync::Arc;

use actors::local::{Answers, Ask, Truth};
use actors::local::Local;
use actors::module::Unavailable;
use libvalvula::{AddressKey, Request};
use serde_json::json;
use testkit::Engine;

use super::check::{Case, Mode, Settings};
use super::exceptions::{Exception, ExceptionRow};
use super::*;
use crate::rules::Builder;
use crate::testing::{Rig, faults, query, told};

const ANN: &str = "ann@home.example";
const BEN: &str = "ben@home.example";
const FAR: &str = "x@far.example";
const MODES: [Mode; 4] = [Mode::Full, Mode::SameDomain, Mode::ValidMailFrom, Mode::Disabled];

/// Answers, some of which can't be had; `ann@home.example` is owned by `boss` and by `carl@far.example`.
struct House {
    addresses: Vec<AddressKey>,
    down: Vec<AddressKey>,
    delimiter: &'static [u8],
}

impl Answers for House {
    fn domain(&self, _: &[u8]) -> Ask<Truth> {
        unreachable!("slm asks for no domain")
    }

    fn address(&self, address: &AddressKey) -> Ask<Truth> {
        let address = address.without_extension(self.delimiter);
        Ask::ready(match address {
            address if self.down.contains(&address) => Truth::CouldNotAsk("table down".into()),
            address if self.addresses.contains(&address) => Truth::Yes,
            _ => Truth::No,
        })
    }

    fn owners(&self, sender: &AddressKey) -> Ask<Result<Arc<[AddressKey]>, Unavailable>> {
        Ask::ready(match sender.as_bytes() {
            b"ann@home.example" => Ok(["boss", "carl@far.example"].map(|name| AddressKey::new(name.as_bytes())).into()),
            b"down@home.example" => Err(Unavailable::new("login map down")),
            _ => Ok([].into()),
        })
    }

    fn recipient_delimiter(&self) -> Arc<[u8]> {
        self.delimiter.into()
    }
}

fn keys(addresses: &[&str]) -> Vec<AddressKey> {
    addresses.iter().map(|address| AddressKey::new(address.as_bytes())).collect()
}

fn house() -> House {
    House { addresses: keys(&[ANN, BEN, "list@home.example", "dora@b.example", "root"]), down: Vec::new(), delimiter: b"+" }
}

fn mode(mode: Mode) -> Settings {
    Settings { mode, allow_empty_mail_from: true, allow_login_maps: false }
}

fn exceptions(rows: &[ExceptionRow]) -> RuleTable<Exception> {
    let mut builder = Builder::new();
    for rule in rows.iter().filter_map(|row| row.read().unwrap()) {
        builder.add(&rule).unwrap();
    }
    let table = RuleTable::new();
    table.load(builder.finish());
    table
}

fn exception(id: i64, user: &str, mail_from: Option<&str>) -> ExceptionRow {
    ExceptionRow {
        id,
        is_active: Some(1),
        mail_from: mail_from.map(str::to_owned),
        sasl_username: Some(user.to_owned()),
    }
}

fn answer_in(house: House, settings: &Settings, rows: &[ExceptionRow], sender: &str, user: &str, recipient: &str) -> String {
    let (exceptions, local) = (exceptions(rows), Local::new(house));
    let query = query(Request::builder().sender(sender).recipient(recipient).sasl_username(user));
    let mut questions = questions::Questions::new(local.clone(), Arc::clone(&query));
    let case = Case { settings, exceptions: &exceptions, local: &local, query: &query };
    let outcome = case.decide(&mut questions, &mut Trace::default()).expect("every answer is known at once");
    match told(&outcome) {
        rejected if rejected.starts_with("REJECT") => "REJECT".to_owned(),
        other => other,
    }
}

fn answer(settings: &Settings, rows: &[ExceptionRow], sender: &str, user: &str) -> String {
    answer_in(house(), settings, rows, sender, user, FAR)
}

#[test]
fn only_authenticated_requests_are_looked_at() {
    let strict = Settings { allow_empty_mail_from: false, ..mode(Mode::Full) };
    for sender in ["", ANN, FAR] {
        assert_eq!(answer(&strict, &[], sender, ""), "DUNNO", "{sender}");
    }
}

#[test]
fn an_active_exception_for_the_user_with_this_sender_or_with_none_is_no_opinion() {
    let full = mode(Mode::Full);
    let rows = [exception(1, "Ann@Home.example", Some("X@far.example")), exception(2, "dora", None), exception(3, "eve", Some("")), exception(4, "fred", Some("root"))];
    assert_eq!(answer(&full, &rows, FAR, ANN), "DUNNO");
    assert_eq!(answer(&full, &rows, "y@far.example", ANN), "REJECT", "another sender");
    assert_eq!(answer(&full, &rows, FAR, BEN), "REJECT", "another user");
    for sender in [FAR, ANN, "any@where.example"] {
        assert_eq!(answer(&full, &rows, sender, "DORA"), "DUNNO", "NULL: any sender");
        assert_eq!(answer(&full, &rows, sender, "eve"), "DUNNO", "empty: any sender");
    }
    assert_eq!(answer(&full, &rows, "root", "fred"), "DUNNO", "a sender without a domain");
    assert_eq!(answer(&full, &rows, "root@far.example", "fred"), "REJECT");
    // It comes first: also before an empty sender is refused.
    let no_empty = Settings { allow_empty_mail_from: false, ..full.clone() };
    assert_eq!(answer(&no_empty, &rows, "", "dora"), "DUNNO");
    assert_eq!(answer(&no_empty, &rows, "", ANN), "REJECT", "an exception for one sender is none for the empty one");
    for is_active in [None, Some(0)] {
        let row = ExceptionRow { is_active, ..exception(1, ANN, None) };
        assert_eq!(answer(&full, &[row], FAR, ANN), "REJECT", "not active");
    }
}

#[test]
fn an_empty_sender_is_no_opinion_when_allowed_and_refused_in_every_mode_when_not() {
    for mode in MODES {
        let allowed = Settings { mode, allow_empty_mail_from: true, allow_login_maps: false };
        let refused = Settings { allow_empty_mail_from: false, ..allowed.clone() };
        assert_eq!(answer(&allowed, &[], "", ANN), "DUNNO", "{mode:?}");
        assert_eq!(answer(&refused, &[], "", ANN), "REJECT", "{mode:?}");
        assert_eq!(answer_in(house(), &refused, &[], "", ANN, BEN), "REJECT", "{mode:?}: before the recipient is looked at");
    }
}

#[test]
fn a_recipient_who_is_a_local_address_is_no_opinion() {
    for mode in MODES {
        let settings = self::mode(mode);
        assert_eq!(answer_in(house(), &settings, &[], FAR, ANN, BEN), "DUNNO", "{mode:?}");
        let expected = if mode == Mode::Disabled { "DUNNO" } else { "REJECT" };
        // A local domain is not enough, and at DATA there may be no recipient.
        for recipient in ["nobody@home.example", FAR, ""] {
            assert_eq!(answer_in(house(), &settings, &[], FAR, ANN, recipient), expected, "{mode:?} {recipient}");
        }
    }
}

#[test]
fn each_mode_compares_what_it_says() {
    // sender, SASL user, and the answers of full, same-domain, valid-mail-from, disabled
    let cases = [
        (ANN, ANN, "DUNNO DUNNO DUNNO DUNNO"),
        ("ANN@Home.EXAMPLE", ANN, "DUNNO DUNNO DUNNO DUNNO"),
        (BEN, ANN, "REJECT DUNNO DUNNO DUNNO"),
        ("nobody@home.example", ANN, "REJECT REJECT REJECT DUNNO"),
        ("dora@b.example", ANN, "REJECT REJECT DUNNO DUNNO"),
        (FAR, ANN, "REJECT REJECT REJECT DUNNO"),
        // Equal, but no local address.
        (FAR, FAR, "DUNNO REJECT REJECT DUNNO"),
        // A SASL user without @ has no domain and so never equals.
        (ANN, "ann", "REJECT REJECT DUNNO DUNNO"),
        ("ann", "ann", "DUNNO REJECT REJECT DUNNO"),
        ("ann", "home.example", "REJECT REJECT REJECT DUNNO"),
        // ... not even when the sender has none either, and is a local address.
        ("root", "root", "DUNNO REJECT DUNNO DUNNO"),
        // An address extension is stripped before a comparison.
        ("ann+list@home.example", ANN, "DUNNO DUNNO DUNNO DUNNO"),
        ("ann+list@home.example", BEN, "REJECT DUNNO DUNNO DUNNO"),
        ("ann+list@home.example", "ann+list@home.example", "DUNNO DUNNO DUNNO DUNNO"),
        ("ann+other@home.example", "ann+list@home.example", "REJECT DUNNO DUNNO DUNNO"),
    ];
    for (sender, user, expected) in cases {
        let told: Vec<_> = MODES.iter().map(|&mode| answer(&self::mode(mode), &[], sender, user)).collect();
        assert_eq!(told.join(" "), expected, "{sender} as {user}");
    }
}

#[test]
fn without_a_recipient_delimiter_nothing_is_stripped() {
    let house = House { delimiter: b"", ..house() };
    assert_eq!(answer_in(house, &mode(Mode::Full), &[], "ann+list@home.example", ANN, FAR), "REJECT");
}

#[test]
fn login_maps_accept_an_owned_sender_only_when_switched_on() {
    for mode in [Mode::Full, Mode::SameDomain, Mode::ValidMailFrom] {
        let off = Settings { mode, allow_empty_mail_from: true, allow_login_maps: false };
        let on = Settings { allow_login_maps: true, ..off.clone() };
        // ANN is not a local address in this house: only the login map can clear her.
        let house = || House { addresses: Vec::new(), ..house() };
        for owner in ["boss", "Carl@far.example"] {
            assert_eq!(answer_in(house(), &off, &[], ANN, owner, FAR), "REJECT", "{mode:?}");
            assert_eq!(answer_in(house(), &on, &[], ANN, owner, FAR), "DUNNO", "{mode:?}");
        }
        assert_eq!(answer_in(house(), &on, &[], ANN, "ben", FAR), "REJECT", "{mode:?}: not an owner");
        assert_eq!(answer_in(house(), &on, &[], "down@home.example", "ben", FAR), "could not ask", "{mode:?}");
        assert_eq!(answer_in(house(), &off, &[], "down@home.example", "ben", FAR), "REJECT", "{mode:?}: not asked");
    }
}

#[test]
fn could_not_ask_counts_only_where_the_outcome_depends_on_it() {
    let down = |addresses: &[&str]| House { down: keys(addresses), ..house() };
    let full = mode(Mode::Full);
    assert_eq!(answer_in(down(&[FAR]), &full, &[], ANN, ANN, FAR), "DUNNO", "equal: nothing to ask");
    assert_eq!(answer_in(down(&[FAR]), &full, &[], BEN, ANN, FAR), "could not ask");
    let same = mode(Mode::SameDomain);
    assert_eq!(answer_in(down(&[BEN, FAR]), &same, &[], BEN, ANN, FAR), "could not ask");
    assert_eq!(answer_in(down(&[FAR]), &same, &[], BEN, ANN, FAR), "DUNNO", "the sender is local");
    assert_eq!(answer_in(down(&[BEN]), &same, &[], BEN, ANN, ANN), "DUNNO", "the recipient is local");
    assert_eq!(answer_in(down(&["dora@b.example"]), &same, &[], "dora@b.example", ANN, FAR), "REJECT", "other domain: local or not");
    assert_eq!(answer_in(down(&[FAR]), &mode(Mode::ValidMailFrom), &[], FAR, ANN, "y@far.example"), "could not ask");
}

#[test]
fn a_row_for_nobody_or_with_no_address_is_a_fault() {
    assert!(exception(1, " ", None).read().unwrap_err().to_string().contains("sasl_username"));
    assert!(exception(1, "ann", Some("@home.example")).read().unwrap_err().to_string().contains("\"@home.example\""));
    assert!(ExceptionRow { is_active: Some(0), ..exception(1, " ", None) }.read().unwrap().is_none());
}

#[test]
fn settings_at_fault_are_named() {
    let found = faults(&MODULE, json!({"mode": "same_domain", "allow_login_maps": 1}));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("module.slm.mode: ") && found[0].contains("\"same-domain\""), "{found:?}");
    assert!(found[1].contains("module.slm.allow_login_maps: "), "{found:?}");
}

#[tokio::test]
async fn exceptions_written_with_plain_sql_decide_and_a_sender_sees_no_setting() {
    for engine in Engine::ALL {
        exceptions_written_with_plain_sql_decide(engine).await;
    }
}

async fn exceptions_written_with_plain_sql_decide(engine: Engine) {
    let rows = "INSERT INTO slm_exception (id, is_active, mail_from, sasl_username) VALUES (9, 1, NULL, 'dora')";
    let rig = Rig::start(&MODULE, json!({"mode": "same-domain"}), Local::new(house()), engine, rows).await;
    let refused = rig.ask(Request::builder().sender(FAR).recipient(FAR).sasl_username(ANN)).await.unwrap().unwrap();
    assert_eq!(refused.why, "slm same-domain: sender x@far.example, SASL user ann@home.example");
    let shown = refused.verdict.to_string();
    assert!(!shown.contains("same-domain") && !shown.contains("home.example"), "{shown}");
    let explained = Arc::clone(&rig.module).explain(query(Request::builder().sender(FAR).sasl_username("dora"))).await;
    assert_eq!(explained.trace, ["slm_exception 9: mail_from (any), SASL user dora: no opinion"]);

    rig.sql.sql("DELETE FROM slm_exception");
    rig.comes_to("REJECT slm same-domain", FAR, FAR, "dora").await;
    rig.sql.sql("INSERT INTO slm_exception (id, is_active, mail_from, sasl_username) VALUES (10, 1, 'x@far.example', 'dora')");
    rig.comes_to("DUNNO", FAR, FAR, "dora").await;
}
