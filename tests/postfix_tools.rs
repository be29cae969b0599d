//! The tools that look into Postfix's configuration, on a private configuration directory.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use serde_json::Value;
use support::{Address, Connection, Home, Request, programs};

const MASTER: &str = "smtp inet n - n - 50 smtpd
submission inet n - n - 20 smtpd
  -o mydestination=submission.example
  -o { smtpd_client_restrictions = permit_sasl_authenticated, reject }
";

/// A home whose Postfix has this main.cf; two listeners, `mx` and `socket`.
fn home(main: &str) -> Home {
    let home = Home::new(programs!());
    home.write("postfix/main.cf", format!("compatibility_level = 3.6\nmyhostname = mx.example\n{main}"));
    home.write("postfix/master.cf", MASTER);
    let directory = home.path("postfix");
    home.configure(&format!(
        "[postfix]\nconfig_directory = \"{}\"\n\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:3579\"\nmodules = [\"bwl\", \"a-module-of-others\"]\n\n\
         [[listener]]\nname = \"socket\"\naddress = \"unix:/var/spool/postfix/valvula/policy\"\nmodules = [\"mquota\"]\n",
        directory.display()
    ));
    home
}

#[test]
fn lookup_says_yes_no_or_could_not_ask_and_why() {
    let home = home("mydestination = here.example\nvirtual_mailbox_domains = pcre:/nowhere/domains.pcre\n");
    let asked = |arguments: &[&str]| home.valvulactl(&[&["lookup"], arguments].concat());

    let yes = asked(&["here.example"]);
    assert_eq!((yes.code, yes.stderr.as_str()), (Some(0), ""));
    assert!(yes.stdout.starts_with("yes (mydestination has here.example)\n"), "{}", yes.stdout);

    let away = asked(&["elsewhere.example"]);
    assert_eq!(away.code, Some(75), "{away:?}");
    assert!(away.stdout.starts_with("could not ask (virtual_mailbox_domains: "), "{}", away.stdout);

    home.write("postfix/main.cf", "compatibility_level = 3.6\nmyhostname = mx.example\nmydestination = here.example\n");
    let no = asked(&["--json", "elsewhere.example"]);
    assert_eq!(no.code, Some(1), "{no:?}");
    let answer: Value = serde_json::from_str(&no.stdout).unwrap();
    assert_eq!(answer["verdict"], "no");
    assert_eq!(asked(&["here.example", "--service", "submission"]).code, Some(1));
    assert_eq!(asked(&["submission.example", "--service", "submission/inet"]).code, Some(0));
    assert_eq!(asked(&["submission.example"]).code, Some(1));

    let unknown = asked(&["here.example", "--service", "nosuch"]);
    assert_eq!(unknown.code, Some(75), "{unknown:?}");
    assert!(unknown.stdout.contains("there is no service \"nosuch\""), "{}", unknown.stdout);
}

#[test]
fn a_configuration_with_a_fault_answers_nothing() {
    let home = home("mydestination = here.example\n");
    home.write("valvula.toml", "[postfix]\nautodetct = true\n");
    let refused = home.valvulactl(&["lookup", "here.example"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("postfix.autodetct"), "{}", refused.stderr);
}

const RECIPIENTS: &str =
    "smtpd_recipient_restrictions =\n    permit_mynetworks,\n# ours\n    reject_unauth_destination\n";

/// The value of a parameter, as Postfix itself reads it.
fn postconf(home: &Home, parameter: &str) -> String {
    let output =
        std::process::Command::new("postconf").arg("-c").arg(home.path("postfix")).args(["-h", parameter]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn sections_say_when_each_list_runs() {
    let home = home(RECIPIENTS);
    let text = home.valvulactl(&["postfix", "sections"]).ok().stdout;
    let line = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(
        line(&["recipient", "main.cf", "at each RCPT TO", "permit_mynetworks, reject_unauth_destination"]),
        "{text}"
    );
    assert!(line(&["client", "submission/inet", "permit_sasl_authenticated, reject"]), "{text}");
    let json = home.valvulactl(&["postfix", "sections", "--json"]).ok().stdout;
    let sections: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(sections.as_array().unwrap().len(), 9);
}

#[test]
fn connect_and_disconnect_edit_main_cf_once() {
    let home = home(&format!("{RECIPIENTS}queue_directory = /var/spool/postfix\n"));
    let list = || postconf(&home, "smtpd_recipient_restrictions");
    let untouched = std::fs::read(home.path("postfix/main.cf")).unwrap();
    let first = ["postfix", "connect", "recipient", "mx", "first"];

    let tried = home.valvulactl(&[&first[..], &["--dry-run"]].concat()).ok();
    assert!(
        tried.stdout.contains("+ smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:3579, permit_mynetworks, reject_unauth_destination\n"),
        "{}",
        tried.stdout
    );
    assert_eq!(std::fs::read(home.path("postfix/main.cf")).unwrap(), untouched);

    let done = home.valvulactl(&first).ok();
    assert!(done.stdout.contains("- smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n"));
    assert!(done.stdout.contains(" reload\n"), "{}", done.stdout);
    assert_eq!(list(), "check_policy_service inet:127.0.0.1:3579, permit_mynetworks, reject_unauth_destination");
    let text = home.valvulactl(&["postfix", "listeners"]).ok().stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["mx", "127.0.0.1:3579", "main.cf", "smtpd_recipient_restrictions"]);
    assert_eq!(rows[2], ["socket", "unix:/var/spool/postfix/valvula/policy", "-", "not", "asked"]);

    let again = home.valvulactl(&first);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("asks inet:127.0.0.1:3579 already"), "{}", again.stderr);

    home.valvulactl(&["postfix", "connect", "recipient", "socket", "last"]).ok();
    assert!(list().ends_with("reject_unauth_destination, check_policy_service unix:valvula/policy"), "{}", list());
    assert_eq!(home.valvulactl(&["postfix", "connect", "recipient", "socket", "last"]).code, Some(1));

    home.valvulactl(&["postfix", "disconnect", "recipient", "socket"]).ok();
    home.valvulactl(&["postfix", "disconnect", "recipient", "mx"]).ok();
    assert_eq!(list(), "permit_mynetworks, reject_unauth_destination");
    assert_eq!(home.valvulactl(&["postfix", "disconnect", "recipient", "mx"]).code, Some(1));
}

#[test]
fn what_can_not_be_meant_is_refused_and_changes_nothing() {
    let home = home(RECIPIENTS);
    let untouched = std::fs::read(home.path("postfix/main.cf")).unwrap();
    let unknown = home.valvulactl(&["postfix", "connect", "recipient", "elsewhere", "first"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("mx, socket"), "{}", unknown.stderr);
    assert_eq!(home.valvulactl(&["postfix", "connect", "nowhere", "mx", "first"]).code, Some(64));
    assert_eq!(home.valvulactl(&["postfix", "connect", "data", "mx", "middle"]).code, Some(64));
    let absent = home.valvulactl(&["postfix", "--config-directory", "/nowhere", "connect", "data", "mx", "first"]);
    assert_eq!(absent.code, Some(78), "{absent:?}");
    assert!(absent.stderr.contains("/nowhere/main.cf"), "{}", absent.stderr);
    assert_eq!(std::fs::read(home.path("postfix/main.cf")).unwrap(), untouched);
}

#[test]
fn what_would_open_a_relay_is_refused_and_the_last_guard_stays() {
    let home = home(
        "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
    );
    let untouched = std::fs::read(home.path("postfix/main.cf")).unwrap();
    let first = home.valvulactl(&["postfix", "connect", "recipient", "mx", "first"]);
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(
        first.stderr.contains("would let anybody relay") && first.stderr.contains("put it last"),
        "{}",
        first.stderr
    );
    assert_eq!(std::fs::read(home.path("postfix/main.cf")).unwrap(), untouched);
    home.valvulactl(&["postfix", "connect", "recipient", "mx", "last", "--dry-run"]).ok();
    home.write(
        "postfix/main.cf",
        "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n",
    );
    for place in ["first", "last"] {
        let refused = home.valvulactl(&["postfix", "connect", "recipient", "mx", place, "--dry-run"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("let smtpd_relay_restrictions hold reject_unauth_destination"),
            "{}",
            refused.stderr
        );
    }
    let with_relay_list = home.valvulactl(&["postfix", "connect", "relay", "mx", "last", "--dry-run"]).ok();
    assert!(!with_relay_list.stdout.contains("anybody"), "{}", with_relay_list.stdout);
    assert!(with_relay_list.stdout.contains("+ smtpd_relay_restrictions = check_policy_service inet:127.0.0.1:3579\n"));

    home.write(
        "postfix/main.cf",
        "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:3579\n",
    );
    let refused = home.valvulactl(&["postfix", "disconnect", "recipient", "mx"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("keep others from relaying"), "{}", refused.stderr);
    assert_eq!(postconf(&home, "smtpd_recipient_restrictions"), "check_policy_service inet:127.0.0.1:3579");
}

#[test]
fn doctor_names_faults_of_both_sides() {
    let home = home(
        "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service inet:127.0.0.1:3579\n",
    );
    let ill = home.valvulactl(&["postfix", "doctor", "--json"]);
    assert_eq!(ill.code, Some(1), "{ill:?}");
    let found: Value = serde_json::from_str(&ill.stdout).unwrap();
    let problems: Vec<_> = found["findings"].as_array().unwrap().iter().map(|one| one["problem"].clone()).collect();
    for problem in ["never-asked-after", "no-default-action", "not-asked"] {
        assert!(problems.contains(&problem.into()), "{problem}: {problems:?}");
    }
    let text = home.valvulactl(&["postfix", "doctor"]);
    assert_eq!((text.code, text.stdout.lines().count()), (Some(1), problems.len()), "{text:?}");

    home.write(
        "postfix/main.cf",
        "compatibility_level = 3.6\nmyhostname = mx.example\nalias_maps =\nlocal_recipient_maps =\n\
         queue_directory = /var/spool/postfix\nsmtpd_policy_service_default_action = DUNNO\n\
         smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:3579\n\
         smtpd_end_of_data_restrictions = check_policy_service unix:valvula/policy\n",
    );
    let healthy = home.valvulactl(&["postfix", "doctor"]);
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    assert!(healthy.stdout.starts_with("nothing found in "), "{}", healthy.stdout);
}

#[test]
fn the_statistics_count_each_table() {
    let home = home("");
    let domains = home.path("domains");
    home.write("domains", "box.example OK\n");
    home.write(
        "postfix/main.cf",
        format!(
            "compatibility_level = 3.6\nmyhostname = mx.example\nmydestination =\nalias_maps =\n\
             virtual_mailbox_domains = texthash:{0}\nvirtual_mailbox_maps = texthash:{0}.absent\n",
            domains.display()
        ),
    );
    let address: Address = support::loopback().into();
    home.configure(&format!(
        "[postfix]\nconfig_directory = \"{}\"\n\n[[listener]]\naddress = \"{address}\"\nmodules = [\"bwl\"]\n",
        home.path("postfix").display()
    ));
    let _daemon = home.start();
    // What can't be looked up is no "no": that answer is bwl's own affair, the counts are not.
    Connection::open(&address).unwrap().ask(&Request::rcpt("nobody@box.example", "ann@box.example")).unwrap();

    let stats: Value = serde_json::from_str(&home.valvulactl(&["stats", "--json"]).ok().stdout).unwrap();
    let facts = stats["parts"]["postfix"].as_array().unwrap();
    let count = |name: &str| {
        let fact = facts.iter().find(|fact| fact[0] == *name).unwrap_or_else(|| panic!("no {name} in {facts:?}"));
        fact[1].as_u64().unwrap()
    };
    assert!(count(&format!("texthash:{} found", domains.display())) >= 1);
    assert!(count(&format!("texthash:{}.absent failed", domains.display())) >= 1);
    assert_eq!(count(&format!("texthash:{} failed", domains.display())), 0);
    assert_eq!(count(&format!("texthash:{} postmap processes", domains.display())), 0);
    let text = home.valvulactl(&["stats"]).ok().stdout;
    assert!(text.contains(&format!("texthash:{} found", domains.display())), "{text}");
}
