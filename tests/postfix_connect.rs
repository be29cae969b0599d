//! `valvulactl postfix connect` on main.cf files as they are found in the field: it writes what an administrator
//! would write, `postfix check` passes, nothing else changes, and a second time changes nothing.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use support::{Home, programs};

const OURS: &str = "check_policy_service inet:127.0.0.1:3579";

/// A main.cf, the orders, and the list that an administrator would write.
struct Case {
    what: &'static str,
    main: &'static str,
    section: &'static str,
    place: &'static str,
    list: &'static str,
}

const CASES: &[Case] = &[
    Case {
        what: "Debian's own: no recipient list, the relay list on one line",
        main: "# See /usr/share/postfix/main.cf.dist for a commented, more complete version\n\n\
            smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)\nbiff = no\nappend_dot_mydomain = no\n\
            readme_directory = no\ncompatibility_level = 3.6\n\n# TLS parameters\nsmtpd_tls_security_level=may\n\n\
            smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n\
            alias_maps = hash:/etc/aliases\nmydestination = $myhostname, localhost\nmynetworks = 127.0.0.0/8 [::1]/128\n",
        section: "recipient",
        place: "first",
        list: "OURS",
    },
    Case {
        what: "Debian's own, in the relay list after what keeps others from relaying",
        main: "compatibility_level = 3.6\n\
            smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n",
        section: "relay",
        place: "last",
        list: "permit_mynetworks permit_sasl_authenticated defer_unauth_destination, OURS",
    },
    Case {
        what: "a guide of the days before the relay list: one line, compatibility level 0",
        main: "smtpd_recipient_restrictions = permit_sasl_authenticated, permit_mynetworks, reject_unauth_destination\n\
            smtpd_sasl_auth_enable = yes\n",
        section: "recipient",
        place: "last",
        list: "permit_sasl_authenticated, permit_mynetworks, reject_unauth_destination, OURS",
    },
    Case {
        what: "several lines with comments in between, black lists and greylisting",
        main: "compatibility_level = 2\nsmtpd_helo_required = yes\nsmtpd_recipient_restrictions =\n  permit_mynetworks,\n\
            # users who have logged in\n  permit_sasl_authenticated,\n  reject_unauth_destination,\n\
            #  reject_unverified_recipient,\n\n  reject_rbl_client zen.spamhaus.org,\n\
            \tcheck_policy_service inet:127.0.0.1:10023\n# end\ndisable_vrfy_command = yes\n",
        section: "recipient",
        place: "first",
        list: "OURS, permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, \
            reject_rbl_client zen.spamhaus.org, check_policy_service inet:127.0.0.1:10023",
    },
    Case {
        what: "a panel with everything in tables and a final permit",
        main: "compatibility_level = 3.6\nvirtual_mailbox_domains = $virtual_mailbox_maps, inline:{a.example=1}\n\
            smtpd_recipient_restrictions =\n    reject_unknown_recipient_domain\n    reject_non_fqdn_recipient\n\
            \x20   reject_unlisted_recipient\n    check_policy_service inet:127.0.0.1:7777\n    permit_mynetworks\n\
            \x20   permit_sasl_authenticated\n    reject_unauth_destination\n    permit\n",
        section: "recipient",
        place: "last",
        list: "reject_unknown_recipient_domain reject_non_fqdn_recipient reject_unlisted_recipient \
            check_policy_service inet:127.0.0.1:7777 permit_mynetworks permit_sasl_authenticated \
            reject_unauth_destination, OURS, permit",
    },
    Case {
        what: "an empty list",
        main: "compatibility_level = 3.6\nsmtpd_sender_restrictions =\nsmtpd_helo_restrictions = \n",
        section: "sender",
        place: "first",
        list: "OURS",
    },
    Case {
        what: "an absent list",
        main: "compatibility_level = 3.6\nmynetworks_style = host\n",
        section: "end-of-data",
        place: "last",
        list: "OURS",
    },
    Case {
        what: "an empty recipient list and no relay list: what keeps others from relaying is added",
        main: "smtpd_recipient_restrictions =\n",
        section: "recipient",
        place: "first",
        list: "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, OURS",
    },
    Case {
        what: "lists in parameters of the administrator's own",
        main: "compatibility_level = 3.6\nmua_recipients = permit_sasl_authenticated, reject\n\
            mx_recipients =\n  reject_non_fqdn_recipient\n  reject_unauth_destination\n\
            smtpd_recipient_restrictions = $mx_recipients\n",
        section: "recipient",
        place: "first",
        list: "OURS, $mx_recipients",
    },
    Case {
        what: "set twice, and with settings in braces",
        main: "compatibility_level = 3.6\nsmtpd_client_restrictions = permit_mynetworks\n\
            smtpd_client_restrictions = check_policy_service { inet:127.0.0.1:10040, timeout=10s, default_action=DUNNO }\n\
            \x20 reject_unauth_pipelining\n",
        section: "client",
        place: "last",
        list: "check_policy_service { inet:127.0.0.1:10040, timeout=10s, default_action=DUNNO } \
            reject_unauth_pipelining, OURS",
    },
    Case {
        what: "a relay host that takes mail of its networks only",
        main: "compatibility_level = 3.6\nmydestination =\nrelayhost = [smtp.isp.example]:587\nmynetworks = 10.0.0.0/8\n\
            smtpd_relay_restrictions = permit_mynetworks, reject\n",
        section: "data",
        place: "first",
        list: "OURS",
    },
];

const MASTER: &str =
    "smtp inet n - n - 50 smtpd\nsubmission inet n - n - 20 smtpd\n  -o syslog_name=postfix/submission\n";

/// A home whose Postfix has this main.cf, complete enough for `postfix check`.
fn home(main: &str, master: &str) -> Home {
    let home = Home::new(programs!());
    let directory = home.path("postfix");
    for name in ["q", "d"] {
        std::fs::create_dir_all(directory.join(name)).unwrap();
    }
    let own =
        format!("queue_directory = {0}/q\ndata_directory = {0}/d\nmyhostname = mx.example.com\n", directory.display());
    home.write("postfix/main.cf", format!("{own}{main}"));
    home.write("postfix/master.cf", master);
    for file in ["postfix-files", "post-install", "postfix-script"] {
        std::fs::copy(format!("/etc/postfix/{file}"), directory.join(file)).unwrap();
    }
    home.configure(&format!(
        "[postfix]\nconfig_directory = \"{}\"\n\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:3579\"\nmodules = [\"bwl\"]\n",
        directory.display()
    ));
    home
}

/// What Postfix's own `postconf` says with these flags.
fn postconf(home: &Home, flags: &[&str]) -> String {
    let output = Command::new("postconf").arg("-c").arg(home.path("postfix")).args(flags).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All parameters that are set, but for `parameter`.
fn others(home: &Home, parameter: &str) -> Vec<String> {
    postconf(home, &["-n"]).lines().filter(|line| !line.starts_with(parameter)).map(str::to_owned).collect()
}

fn comments(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.path("postfix/main.cf")).unwrap();
    text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn on_real_life_files_it_writes_what_an_administrator_would_and_only_once() {
    assert!(CASES.len() >= 10);
    for Case { what, main, section, place, list } in CASES {
        let home = home(main, MASTER);
        let parameter = format!("smtpd_{}_restrictions", section.replace('-', "_"));
        let (before, kept) = (others(&home, &parameter), comments(&home));
        let order = ["postfix", "connect", section, "mx", place];

        let done = home.valvulactl(&order).ok();
        let expected = list.replace("OURS", OURS);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&postconf(&home, &["-h", &parameter])), words(&expected), "{what}");
        assert!(
            words(&done.stdout).contains(&words(&format!("+ {parameter} = {expected}"))),
            "{what}: {}",
            done.stdout
        );
        assert_eq!(others(&home, &parameter), before, "{what}: nothing else changes");
        // Those inside of a value that is written anew are `postconf -e`'s own affair.
        let left = comments(&home);
        assert!(kept.iter().filter(|line| !left.contains(line)).count() <= 2, "{what}: {left:?}");

        let check = Command::new("postfix").arg("-c").arg(home.path("postfix")).arg("check").output().unwrap();
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success() && !said.contains("fatal"), "{what}: {said}");

        let written = std::fs::read(home.path("postfix/main.cf")).unwrap();
        let again = home.valvulactl(&order);
        assert_eq!(again.code, Some(1), "{what}: {again:?}");
        assert!(again.stderr.contains("already"), "{what}: {}", again.stderr);
        assert_eq!(std::fs::read(home.path("postfix/main.cf")).unwrap(), written, "{what}: twice changes nothing");
    }
}

#[test]
fn a_postconf_that_fails_is_told_and_main_cf_stays_as_it_was() {
    let home = home("compatibility_level = 3.6\n", MASTER);
    let tools = home.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let main = home.path("postfix/main.cf");
    let text = std::fs::read_to_string(&main).unwrap() + &format!("command_directory = {}\n", tools.display());
    std::fs::write(&main, &text).unwrap();
    let order = ["postfix", "connect", "data", "mx", "first"];
    for (script, code, told) in [
        ("echo 'postconf: fatal: open main.cf.tmp: Read-only file system' >&2; exit 1", 1, "Read-only file system"),
        ("kill -9 $$", 1, "postconf changed nothing"),
        // It says that all is well, and nothing was written.
        ("exit 0", 70, "after the edit"),
    ] {
        std::fs::write(tools.join("postconf"), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(tools.join("postconf"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let failed = home.valvulactl(&order);
        assert_eq!(failed.code, Some(code), "{script}: {failed:?}");
        assert!(failed.stderr.contains(told), "{script}: {}", failed.stderr);
        assert_eq!(std::fs::read_to_string(&main).unwrap(), text, "{script}");
    }
}

#[test]
fn services_that_set_the_list_themselves_are_named() {
    let master = "smtp inet n - n - 50 smtpd\nsubmission inet n - n - 20 smtpd\n\
        \x20 -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject\nsmtps inet n - n - 20 smtpd\n";
    let home = home("compatibility_level = 3.6\nsmtpd_policy_service_default_action = DUNNO\nalias_maps =\n", master);
    let done = home.valvulactl(&["postfix", "connect", "recipient", "mx", "first"]).ok();
    let named = "submission/inet of master.cf sets smtpd_recipient_restrictions itself";
    assert!(done.stdout.contains(named), "{}", done.stdout);
    assert!(!done.stdout.contains("smtps/inet"), "{}", done.stdout);

    let listeners = home.valvulactl(&["postfix", "listeners"]).ok().stdout;
    let line = listeners.lines().find(|line| line.contains("submission/inet")).unwrap_or_else(|| panic!("{listeners}"));
    assert!(line.contains("not by its own smtpd_recipient_restrictions"), "{listeners}");
    let json: Value = serde_json::from_str(&home.valvulactl(&["postfix", "listeners", "--json"]).ok().stdout).unwrap();
    assert_eq!(json[0]["not_asked_by"][0]["service"], "submission/inet", "{json}");

    let ill = home.valvulactl(&["postfix", "doctor"]);
    assert_eq!(ill.code, Some(1), "{ill:?}");
    assert!(ill.stdout.contains("submission/inet of master.cf sets this list itself"), "{}", ill.stdout);
}

#[test]
fn a_map_that_root_can_read_and_our_user_can_not_is_found() {
    let home = home("compatibility_level = 3.6\nalias_maps =\nlocal_recipient_maps =\n", MASTER);
    let map = home.path("domains");
    home.write("domains", "secret.example OK\n");
    std::fs::set_permissions(&map, std::fs::Permissions::from_mode(0o600)).unwrap();
    let main = home.path("postfix/main.cf");
    let text = std::fs::read_to_string(&main).unwrap();
    std::fs::write(&main, format!("{text}virtual_alias_domains = texthash:{}\n", map.display())).unwrap();
    // Both as root, and then as the daemon would run.
    let configure = |server: &str| {
        let section = home.server_section();
        home.configure(&format!(
            "{}\n{server}\n\n[postfix]\nconfig_directory = \"{}\"\n\n\
             [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:3579\"\nmodules = [\"bwl\"]\n",
            section.trim_end(),
            home.path("postfix").display()
        ));
    };
    let unreadable =
        |stdout: &str| stdout.contains(&format!("{}: ", map.display())) && stdout.contains("ermission denied");
    configure("");
    assert_eq!(home.valvulactl(&["lookup", "secret.example"]).code, Some(0));
    assert!(!unreadable(&home.valvulactl(&["postfix", "doctor"]).stdout));

    configure("user = \"nobody\"");
    let found = home.valvulactl(&["postfix", "doctor"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        unreadable(&found.stdout) && found.stdout.contains("let the user valvula runs as read it"),
        "{}",
        found.stdout
    );
    for asked in [home.valvulactl(&["lookup", "secret.example"]), home.valvulad(&["-l", "secret.example"])] {
        assert_eq!(asked.code, Some(75), "{asked:?}");
        assert!(
            asked.stdout.starts_with("could not ask (virtual_alias_domains: ") && unreadable(&asked.stdout),
            "{asked:?}"
        );
    }
    std::fs::set_permissions(&map, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(home.valvulactl(&["lookup", "secret.example"]).code, Some(0));
    assert!(!unreadable(&home.valvulactl(&["postfix", "doctor"]).stdout));
}
