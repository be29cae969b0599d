//! The tools that look into Postfix's configuration, on a private configuration directory.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use serde_json::Value;
use support::{Home, programs};

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
