//! Edits of main.cf texts as they are found in the field. `tests/connect.rs` lets Postfix check them.

use std::path::Path;

use super::*;
use crate::build::BuildDefaults;

const OURS: &str = "inet:127.0.0.1:3579";

fn configuration(main: &str) -> Configuration {
    Configuration::parse(Path::new("/p"), main.as_bytes(), b"", "vm", BuildDefaults::default()).unwrap()
}

fn connected(main: &str, section: Section, place: Place) -> String {
    connect(&configuration(main), section, OURS, place, &[]).unwrap().after
}

#[test]
fn what_was_there_stays() {
    let multi = "compatibility_level = 3.6\nsmtpd_recipient_restrictions =\n  permit_mynetworks,\n# why\n  reject_unauth_destination\n";
    for (main, section, place, expected) in [
        (
            multi,
            Section::Recipient,
            Place::First,
            "check_policy_service inet:127.0.0.1:3579, permit_mynetworks, reject_unauth_destination",
        ),
        (
            multi,
            Section::Recipient,
            Place::Last,
            "permit_mynetworks, reject_unauth_destination, check_policy_service inet:127.0.0.1:3579",
        ),
        ("compatibility_level=3.6", Section::Data, Place::Last, "check_policy_service inet:127.0.0.1:3579"),
        ("compatibility_level=3.6", Section::Recipient, Place::First, "check_policy_service inet:127.0.0.1:3579"),
        (
            "compatibility_level=3.6",
            Section::Relay,
            Place::Last,
            "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination, check_policy_service inet:127.0.0.1:3579",
        ),
        (
            "smtpd_client_restrictions = permit_mynetworks reject",
            Section::Client,
            Place::Last,
            "permit_mynetworks, check_policy_service inet:127.0.0.1:3579, reject",
        ),
        (
            "smtpd_client_restrictions = permit",
            Section::Client,
            Place::Last,
            "check_policy_service inet:127.0.0.1:3579, permit",
        ),
        (
            "smtpd_data_restrictions = $mine\nmine = reject_unauth_pipelining",
            Section::Data,
            Place::First,
            "check_policy_service inet:127.0.0.1:3579, $mine",
        ),
    ] {
        assert_eq!(connected(main, section, place), expected, "{main}");
    }
}

#[test]
fn relaying_is_kept_off() {
    let after = connected("compatibility_level = 0", Section::Recipient, Place::First);
    assert_eq!(
        after,
        "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, check_policy_service inet:127.0.0.1:3579"
    );
    let after = connected(
        "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks",
        Section::Relay,
        Place::First,
    );
    assert!(after.contains("defer_unauth_destination"), "{after}");
    let guarded = "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject_unauth_destination";
    assert_eq!(connected(guarded, Section::Relay, Place::First), "check_policy_service inet:127.0.0.1:3579");
}

#[test]
fn twice_changes_nothing_and_taking_out_gives_back_what_was() {
    for main in [
        "compatibility_level = 3.6\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination",
        "compatibility_level = 3.6\nsmtpd_recipient_restrictions = permit_mynetworks reject_unauth_destination check_policy_service inet:127.0.0.1:99 permit",
        "compatibility_level = 3.6\nsmtpd_recipient_restrictions = reject_unauth_destination",
    ] {
        for place in [Place::First, Place::Last] {
            let edit = connect(&configuration(main), Section::Recipient, OURS, place, &[]).unwrap();
            let now = configuration(&format!("compatibility_level = 3.6\n{}={}", edit.parameter, edit.after));
            let again = connect(&now, Section::Recipient, OURS, place, &[]);
            assert!(matches!(again, Err(EditError::AlreadyConnected(..))), "{again:?}");
            let back = disconnect(&now, Section::Recipient, OURS).unwrap();
            let (words, was) = (split_list(&back.after), edit.before.unwrap());
            assert_eq!(words, split_list(&was), "{main}");
            assert!(matches!(
                disconnect(&configuration(main), Section::Recipient, OURS),
                Err(EditError::NotConnected(..))
            ));
        }
    }
}

#[test]
fn an_endpoint_with_settings_is_the_same_endpoint() {
    let main = "smtpd_data_restrictions = check_policy_service { inet:localhost:3579, timeout=10s, { default_action = DUNNO } }, permit";
    assert!(matches!(
        connect(&configuration(main), Section::Data, OURS, Place::First, &[]),
        Err(EditError::AlreadyConnected(..))
    ));
    assert_eq!(disconnect(&configuration(main), Section::Data, OURS).unwrap().after, "permit");
    let class = "smtpd_restriction_classes = mine\nmine = check_policy_service inet:127.0.0.1:3579\nsmtpd_data_restrictions = mine";
    assert!(matches!(disconnect(&configuration(class), Section::Data, OURS), Err(EditError::Elsewhere(..))));
}

#[test]
fn white_space_that_separates_no_words_stays_in_its_word() {
    let main = "smtpd_data_restrictions = permit_my\x0cnetworks,\t permit";
    let edit = connect(&configuration(main), Section::Data, OURS, Place::First, &[]).unwrap();
    assert!(edit.after.ends_with(", permit_my\x0cnetworks, permit"), "{edit:?}");
}

#[test]
fn a_list_with_an_open_brace_is_not_added_to() {
    // Postfix would take what is added for a part of the braced word, and ask nobody.
    let main = "smtpd_data_restrictions = check_policy_service { inet:127.0.0.1:99, timeout = 20s";
    for place in [Place::First, Place::Last] {
        let error = connect(&configuration(main), Section::Data, OURS, place, &[]).unwrap_err();
        assert!(matches!(&error, EditError::Faulty(fault) if fault.line == Some(1)), "{error}");
    }
}

#[test]
fn an_ok_of_ours_never_stands_before_all_that_keeps_others_from_relaying() {
    let refused = |main: &str, section, place| match connect(
        &configuration(main),
        section,
        OURS,
        place,
        &["127.0.0.1:4000".to_owned(), "unix:/other".to_owned()],
    ) {
        Err(EditError::OpensRelay { instead, .. }) => Some(instead),
        Ok(_) => None,
        Err(error) => panic!("{main}: {error}"),
    };
    let none = "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = ";
    for (main, section, place, instead) in [
        // The only guard stands in the same list.
        (
            format!("{none}permit_mynetworks, reject_unauth_destination"),
            Section::Recipient,
            Place::First,
            Some("put it last"),
        ),
        (format!("{none}permit_mynetworks, reject_unauth_destination"), Section::Recipient, Place::Last, None),
        (
            format!("{none}$mine\nmine = reject_unauth_destination"),
            Section::Recipient,
            Place::First,
            Some("put it last"),
        ),
        // Last is before a final word, which is the only guard.
        (
            format!("{none}permit_mynetworks, reject"),
            Section::Recipient,
            Place::First,
            Some("smtpd_relay_restrictions"),
        ),
        (format!("{none}permit_mynetworks, reject"), Section::Recipient, Place::Last, Some("smtpd_relay_restrictions")),
        (format!("{none}defer_if_permit, reject"), Section::Recipient, Place::Last, None),
        // The other list guards, unless an OK of ours skips that too.
        (format!("{none}reject_unauth_destination"), Section::Relay, Place::First, None),
        (
            format!("{none}check_policy_service inet:127.0.0.1:4000, reject_unauth_destination"),
            Section::Relay,
            Place::First,
            Some("smtpd_recipient_restrictions"),
        ),
        (
            format!("{none}check_policy_service {{ unix:/other, timeout=5s }}, reject_unauth_destination"),
            Section::Relay,
            Place::First,
            Some("smtpd_recipient_restrictions"),
        ),
        (
            format!("{none}check_policy_service inet:127.0.0.1:10023, reject_unauth_destination"),
            Section::Relay,
            Place::First,
            None,
        ),
        // Postfix's own default guards.
        ("compatibility_level = 3.6".to_owned(), Section::Recipient, Place::First, None),
        ("compatibility_level = 3.6".to_owned(), Section::Relay, Place::First, Some("put it last")),
        // Other lists have no say about relaying.
        (format!("{none}reject_unauth_destination"), Section::Sender, Place::First, None),
    ] {
        let found = refused(&main, section, place);
        assert_eq!(found.is_some(), instead.is_some(), "{main}: {place:?}: {found:?}");
        assert!(found.unwrap_or_default().contains(instead.unwrap_or_default()), "{main}");
    }
}

#[test]
fn what_is_not_seen_as_asking_is_not_taken_out() {
    // A malformed argument: Postfix refuses it, and it may not go in silence with the one that is ours.
    let odd = "check_policy_service { inet:127.0.0.1:3579, timeout = 20s }5";
    let main = format!("smtpd_data_restrictions = check_policy_service inet:127.0.0.1:3579, {odd}, permit");
    assert_eq!(disconnect(&configuration(&main), Section::Data, OURS).unwrap().after, format!("{odd}, permit"));
}

#[test]
fn classes_that_name_each_other_many_times_are_a_fault_and_not_a_hang() {
    let main = "smtpd_restriction_classes = ours\nsmtpd_data_restrictions = ours\n\
                ours = ours, check_policy_service inet:127.0.0.1:99, ours, ours, ours, ours, ours";
    let error = connect(&configuration(main), Section::Data, OURS, Place::First, &[]).unwrap_err();
    assert!(matches!(&error, EditError::Faulty(fault) if fault.message.contains("classes")), "{error}");
}
