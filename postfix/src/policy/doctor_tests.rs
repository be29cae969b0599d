//! Each problem, and a configuration without any.

use std::path::Path;

use super::*;
use crate::build::BuildDefaults;

fn findings(main: &str, master: &str) -> Vec<Problem> {
    let configuration =
        Configuration::parse(Path::new("/p"), main.as_bytes(), master.as_bytes(), "vm", BuildDefaults::default())
            .unwrap();
    let listener = Listener {
        name: "mx".into(),
        endpoint: "127.0.0.1:3579".into(),
        deadline: Duration::from_secs(10),
        max_connections: 100,
        need_recipient: vec!["bwl".into()],
        need_count: vec!["mquota".into()],
    };
    doctor(&configuration, None, &[listener])
        .unwrap()
        .into_iter()
        .map(|finding| {
            assert!(!finding.to_string().is_empty());
            finding.problem
        })
        .collect()
}

const QUIET: &str = "smtpd_policy_service_default_action = DUNNO\n";
const ASK: &str = "check_policy_service inet:127.0.0.1:3579";

#[test]
fn a_good_configuration_has_no_finding() {
    assert_eq!(findings(&format!("{QUIET}smtpd_recipient_restrictions = reject_unauth_destination, {ASK}"), ""), []);
}

#[test]
fn each_problem_is_found() {
    for (main, master, expected) in [
        ("", "", Problem::NotAsked),
        (
            "smtpd_recipient_restrictions = permit_mynetworks, ASK",
            "",
            Problem::NeverAskedAfter { restriction: "permit_mynetworks".into() },
        ),
        (
            "smtpd_sender_restrictions = ASK\nsmtpd_recipient_restrictions = ASK",
            "",
            Problem::AskedTwice { other: Section::Sender },
        ),
        ("smtpd_data_restrictions = ASK", "", Problem::NoRecipientHere { module: "bwl".into() }),
        (
            "smtpd_policy_service_timeout = 5\nsmtpd_recipient_restrictions = ASK",
            "",
            Problem::TimeoutBelowDeadline { timeout: 5, deadline: 10 },
        ),
        (
            "smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:3579, timeout=2s }",
            "",
            Problem::TimeoutBelowDeadline { timeout: 2, deadline: 10 },
        ),
        (
            "smtpd_recipient_restrictions = ASK",
            "smtp inet n - n - - smtpd\nsubmission inet n - n - 50 smtpd\n",
            Problem::TooManyProcesses { limit: 150, max_connections: 100 },
        ),
        (
            "",
            "submission inet n - n - 5 smtpd -o { smtpd_recipient_restrictions = permit_sasl_authenticated, ASK }\n",
            Problem::NeverAskedAfter { restriction: "permit_sasl_authenticated".into() },
        ),
    ] {
        let found = findings(&format!("{QUIET}{}", main.replace("ASK", ASK)), &master.replace("ASK", ASK));
        assert_eq!(found, [expected], "{main} {master}");
    }
    assert_eq!(findings(&format!("smtpd_recipient_restrictions = {ASK}"), ""), [Problem::NoDefaultAction]);
}

#[test]
fn a_service_whose_own_list_takes_the_place_of_the_one_that_asks_is_named() {
    let main = format!("{QUIET}smtpd_recipient_restrictions = reject_unauth_destination, {ASK}");
    let unasked = || vec![Problem::NotAskedByService { service: "submission/inet".into() }];
    for (options, expected) in [
        ("-o smtpd_recipient_restrictions=permit_sasl_authenticated,reject", unasked()),
        ("-o smtpd_client_restrictions=permit_sasl_authenticated,reject", vec![]),
        ("-o { smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:3579, reject }", vec![]),
        // It asks elsewhere.
        (
            "-o smtpd_recipient_restrictions=reject -o { smtpd_sender_restrictions = check_policy_service inet:127.0.0.1:3579 }",
            vec![],
        ),
    ] {
        let master = format!("smtp inet n - n - 20 smtpd\nsubmission inet n - n - 20 smtpd {options}\n");
        assert_eq!(findings(&main, &master), expected, "{options}");
    }
}

#[test]
fn a_module_that_needs_a_recipient_is_asked_for_one_somewhere() {
    let lacking = |module: &str| Problem::NoRecipientHere { module: module.into() };
    let early = format!("{QUIET}smtpd_delay_reject = no\nsmtpd_sender_restrictions = {ASK}\n");
    assert_eq!(findings(&early, ""), [lacking("bwl"), lacking("mquota")]);
    assert_eq!(findings(&format!("{early}smtpd_recipient_restrictions = {ASK}\n"), ""), []);
    // As the quotas' guide has it: charged by recipient, set right at the end of the message.
    let both = format!("{QUIET}smtpd_recipient_restrictions = {ASK}\nsmtpd_end_of_data_restrictions = {ASK}\n");
    assert_eq!(findings(&both, ""), []);
}

#[test]
fn endpoints() {
    for (theirs, ours, expected) in [
        ("inet:127.0.0.1:3579", "127.0.0.1:3579", true),
        ("inet:localhost:3579", "127.0.0.1:3579", true),
        ("inet:3579", "inet:127.0.0.1:3579", true),
        ("inet:[::1]:3579", "[::1]:3579", true),
        ("inet:127.0.0.1:3580", "127.0.0.1:3579", false),
        ("unix:valvula/policy", "unix:/var/spool/postfix/valvula/policy", true),
        ("unix:/valvula/policy", "unix:/var/spool/postfix/valvula/policy", true),
        ("unix:/run/policy", "unix:/run/policy", true),
        ("unix:/run/policy", "127.0.0.1:3579", false),
    ] {
        assert_eq!(is_same_endpoint(theirs, ours, "/var/spool/postfix"), expected, "{theirs} {ours}");
    }
}
