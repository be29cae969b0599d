//! Connecting a policy service to main.cf files as they are found in the field: `postconf -e` writes what the
//! edit says, `postfix check` passes, and what was in the file stays.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod support;

use std::process::Command;

use postfix::policy::{EditError, Place, Section, connect, disconnect};
use postfix::{BuildDefaults, Configuration, split_list};
use support::{Directory, program};

const OURS: &str = "inet:127.0.0.1:3579";

/// main.cf texts, the section, the place, and what an administrator would write.
const CASES: &[(&str, Section, Place, &str)] = &[
    // Debian's main.cf has no recipient list.
    (
        "compatibility_level = 3.6\nsmtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n",
        Section::Recipient,
        Place::First,
        "check_policy_service inet:127.0.0.1:3579",
    ),
    // One line.
    (
        "smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination\n",
        Section::Recipient,
        Place::Last,
        "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, check_policy_service inet:127.0.0.1:3579",
    ),
    // Several lines.
    (
        "compatibility_level = 2\nsmtpd_recipient_restrictions =\n    permit_mynetworks,\n    reject_unauth_destination,\n    reject_rbl_client zen.spamhaus.org\n",
        Section::Recipient,
        Place::First,
        "check_policy_service inet:127.0.0.1:3579, permit_mynetworks, reject_unauth_destination, reject_rbl_client zen.spamhaus.org",
    ),
    // Comments between, no commas, a final permit.
    (
        "smtpd_recipient_restrictions =\n  permit_mynetworks\n# our own\n  reject_unauth_destination\n\n  permit\n",
        Section::Recipient,
        Place::Last,
        "permit_mynetworks reject_unauth_destination, check_policy_service inet:127.0.0.1:3579, permit",
    ),
    // Empty.
    (
        "compatibility_level = 3.6\nsmtpd_data_restrictions =\n",
        Section::Data,
        Place::First,
        "check_policy_service inet:127.0.0.1:3579",
    ),
    // Another policy service is there.
    (
        "smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policyd-spf\n",
        Section::Recipient,
        Place::Last,
        "reject_unauth_destination, check_policy_service unix:private/policyd-spf, check_policy_service inet:127.0.0.1:3579",
    ),
    // With settings in braces.
    (
        "smtpd_client_restrictions = check_policy_service { inet:127.0.0.1:10023, timeout=10s }, reject_unauth_pipelining\n",
        Section::Client,
        Place::First,
        "check_policy_service inet:127.0.0.1:3579, check_policy_service { inet:127.0.0.1:10023, timeout=10s }, reject_unauth_pipelining",
    ),
    // Through parameters of the administrator's own.
    (
        "compatibility_level = 2\nour_checks = reject_unauth_destination, permit_mynetworks\nsmtpd_recipient_restrictions = $our_checks\n",
        Section::Recipient,
        Place::First,
        "check_policy_service inet:127.0.0.1:3579, $our_checks",
    ),
    // Set twice: the last one counts.
    (
        "smtpd_sender_restrictions = reject_unknown_sender_domain\nsmtpd_sender_restrictions = permit_mynetworks, reject_non_fqdn_sender\n",
        Section::Sender,
        Place::Last,
        "permit_mynetworks, reject_non_fqdn_sender, check_policy_service inet:127.0.0.1:3579",
    ),
    // The relay list of an old compatibility level is empty by default, and must not stay so.
    (
        "compatibility_level = 0\n",
        Section::Relay,
        Place::Last,
        "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination, check_policy_service inet:127.0.0.1:3579",
    ),
    ("", Section::EndOfData, Place::Last, "check_policy_service inet:127.0.0.1:3579"),
];

fn read(directory: &Directory) -> Configuration {
    Configuration::read(directory.path(), "vm", BuildDefaults::default()).unwrap()
}

#[test]
fn what_an_administrator_would_write_is_written_once() {
    for (text, section, place, expected) in CASES {
        let directory = Directory::new(text);
        let (queue, data) = (directory.file("q"), directory.file("d"));
        std::fs::create_dir(&queue).unwrap();
        let own = format!(
            "queue_directory = {}\ndata_directory = {}\nmyhostname = mx.example.com\n",
            queue.display(),
            data.display()
        );
        directory.write("main.cf", format!("{own}{text}"));
        for file in ["postfix-files", "post-install", "postfix-script"] {
            std::fs::copy(format!("/etc/postfix/{file}"), directory.file(file)).unwrap();
        }
        std::fs::copy("/etc/postfix/master.cf", directory.file("master.cf")).unwrap();

        let edit = connect(&read(&directory), *section, OURS, *place, &[]).unwrap();
        assert_eq!(edit.after, *expected, "{text}");
        let mut postconf = Command::new(program("postconf"));
        assert!(postconf.arg("-c").arg(directory.path()).args(edit.arguments()).status().unwrap().success(), "{text}");
        let now = read(&directory);
        assert_eq!(split_list(&now.main().raw(edit.parameter).unwrap()), split_list(expected), "{text}");

        let mut check = Command::new(program("postfix"));
        let checked = check.arg("-c").arg(directory.path()).arg("check").output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success() && !said.contains("fatal"), "{text}: {said}");

        let again = connect(&now, *section, OURS, *place, &[]);
        assert!(matches!(again, Err(EditError::AlreadyConnected(..))), "{text}: {again:?}");
        // Out again, all that the administrator had written is there.
        match disconnect(&now, *section, OURS) {
            Ok(back) => {
                let before = edit.before.unwrap_or_default();
                let left = split_list(&back.after);
                assert!(split_list(&before).iter().all(|word| left.contains(word)), "{text}: {}", back.after);
                assert!(!left.contains(&OURS), "{text}: {}", back.after);
            }
            Err(error) => panic!("{text}: {error}"),
        }
    }
}
