//! Our reading of main.cf against the installed Postfix's, over generated files.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use postfix::{BuildDefaults, Configuration};
use support::Directory;

/// How many files are generated.
const ROUNDS: usize = 180;

/// A small generator of its own: the same files at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Parameters that are assigned. Those that only names may stand in are in `NAMES`.
const LISTS: &[&str] = &[
    "mydestination",
    "relay_domains",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
    "virtual_alias_maps",
    "virtual_mailbox_maps",
    "local_recipient_maps",
    "alias_maps",
    "recipient_canonical_maps",
    "canonical_maps",
    "relay_recipient_maps",
    "smtpd_sender_login_maps",
    "smtpd_recipient_restrictions",
    "smtpd_client_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_restriction_classes",
    "proxy_interfaces",
    "custom_a",
    "custom_b",
    "custom_c",
    "parent_domain_matches_subdomains",
    "transport_maps",
    "virtual_maps",
];
const NAMES: &[(&str, &[&str])] = &[
    ("myhostname", &["mx.example.com", "box", "example.org", "mail.$mydomain", "a.b.c.example"]),
    ("mydomain", &["example.com", "sub.example.net", "local"]),
    ("myorigin", &["$mydomain", "$myhostname", "origin.example"]),
    ("recipient_delimiter", &["+", "+-", "", "="]),
    ("compatibility_level", &["0", "1", "2", "3.6", "3.6.1", "9999"]),
    ("smtpd_delay_reject", &["yes", "no"]),
    ("default_process_limit", &["50", "100"]),
    ("inet_interfaces", &["all", "loopback-only", "127.0.0.1, [::1]", "127.0.0.1"]),
    ("inet_protocols", &["ipv4", "all"]),
    ("smtpd_policy_service_timeout", &["10s", "${stress?{5}:{30}}s"]),
    ("smtpd_policy_service_default_action", &["DUNNO", "451 4.3.5 later, $mydomain"]),
    ("default_database_type", &["hash", "lmdb"]),
    ("owner_request_special", &["no", "yes"]),
];
const WORDS: &[&str] = &[
    "a.example",
    "B.Example",
    "$myhostname",
    "localhost.$mydomain",
    "localhost",
    "$mydomain",
    "hash:/etc/postfix/x",
    "${default_database_type}:/etc/x",
    "$custom_a",
    "${custom_b}",
    "$(custom_c)",
    "$virtual_alias_maps",
    "$undefined",
    "${undefined:alt.example}",
    "${mydomain?{set}:{unset}}",
    "${undefined ? {set} : {unset}}",
    "${custom_a?yes}",
    "${{$mydomain} == {example.com} ? {same} : {other}}",
    "${{$myhostname}!={$mydomain}?{differ}}",
    "$$literal",
    "!x.example",
    "${{$compatibility_level} >=level {3.6} ? {new} : {old}}",
    "${{$default_process_limit} < {60} ? {few} : {many}}",
    "${{9} < {10}?{t}:{f}}",
    "${{a9} < {a10}?{t}:{f}}",
    "{ braced text }",
    "check_policy_service inet:127.0.0.1:10031",
    "permit_mynetworks",
    "${mydomain?${custom_a}}",
    "${custom_c?{$custom_c x}:{${mydomain}}}",
    "inline:{a=b, c=d}",
    "${{${{x}=={x}}}=={true}?{nested}:{flat}}",
    "$mydomain,$myhostname",
    "naïve.example",
    "$relay_domains",
    "/etc/list",
];
const SEPARATORS: &[&str] = &[" ", ", ", ",", "  ", "\n  ", "\n\t", "\n# comment\n  ", "\n\n  ", "\n   # indented\n "];

fn generate(random: &mut Random) -> String {
    let mut text = String::from(random.of(&["", "# head\n", "\n\n", "#\n  # indented\n"]));
    for _ in 0..3 + random.below(12) {
        let (name, value) = if random.below(3) == 0 {
            let (name, values) = NAMES[random.below(NAMES.len())];
            (name, random.of(values).to_owned())
        } else {
            let mut value = String::new();
            for _ in 0..random.below(6) {
                value.push_str(random.of(WORDS));
                value.push_str(random.of(SEPARATORS));
            }
            (random.of(LISTS), value)
        };
        let equals = random.of(&[" = ", "=", "\t=", "= ", " =\n  "]);
        text.push_str(&format!("{name}{equals}{value}"));
        text.truncate(text.trim_end().len());
        text.push_str(random.of(&["\n", "  \n", "\n\n", "\n# comment\n", "\n#comment = x\n"]));
    }
    // A reference to itself is a fault in whichever parameter is asked for: rare, but there.
    if random.below(20) == 0 {
        text.push_str(random.of(&["mydestination = $mydestination\n", "custom_a = $custom_b\ncustom_b = $custom_a\n"]));
    }
    if random.below(25) == 0 {
        let faults =
            ["a line without\n", "= x\n", "custom_c = ${\nvirtual_maps = $custom_c\n", "mydestination = ${{a}~{b}}\n"];
        text.push_str(random.of(&faults));
    }
    text
}

/// The parameters that we use, as `postconf` lists them.
fn asked() -> Vec<&'static str> {
    let known = postfix::known_parameters();
    // The directory, the compile-time paths and the process are not main.cf's.
    let own = ["config_directory", "service_name", "process_name"];
    known.filter(|name| !own.contains(name)).chain(["myhostname", "mydomain"]).collect()
}

/// `postconf` prints each run of white space as one blank.
fn squeezed(value: &str) -> String {
    value.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_parameter_we_use_is_what_postconf_says() {
    let build = BuildDefaults::ask(&support::program("postconf"), std::time::Duration::from_secs(20)).await;
    let names = asked();
    let hostname = postfix::machine_name();
    let mut random = Random(0x5eed_1234_abcd_0001);
    let directories: Vec<_> = (0..ROUNDS).map(|_| Directory::new(&generate(&mut random))).collect();
    let next = AtomicUsize::new(0);
    // Several at a time: starting postconf is nearly all that this test does.
    let theirs = Mutex::new(vec![None; ROUNDS]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((round, directory)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|round| Some((round, directories.get(round)?)))
                {
                    let values = directory.postconf(&names);
                    theirs.lock().unwrap()[round] = values;
                }
            });
        }
    });
    let (mut good, mut faulty, mut values) = (0, 0, 0);
    for (round, theirs) in theirs.into_inner().unwrap().into_iter().enumerate() {
        let directory = &directories[round];
        let text = std::fs::read_to_string(directory.file("main.cf")).unwrap();
        match (Configuration::read(directory.path(), &hostname, build.clone()), theirs) {
            (Ok(ours), Some(theirs)) => {
                for (name, theirs) in names.iter().zip(theirs) {
                    let ours = ours.main().get(name).unwrap_or_else(|fault| panic!("round {round}: {fault}\n{text}"));
                    assert_eq!(squeezed(&ours), squeezed(&theirs), "round {round}: {name}\n{text}");
                    values += 1;
                }
                good += 1;
            }
            (Ok(ours), None) => {
                let fault = names.iter().find_map(|name| ours.main().get(name).err());
                assert!(fault.is_some(), "round {round}: Postfix refuses, we do not\n{text}");
                faulty += 1;
            }
            (Err(_), None) => faulty += 1,
            (Err(error), Some(_)) => panic!("round {round}: Postfix accepts, we do not: {error}\n{text}"),
        }
    }
    assert!(good >= 150 && faulty >= 5, "{good} files equal in {values} values, {faulty} refused by both");
}

#[tokio::test]
async fn a_service_sees_its_overrides_as_postconf_does() {
    let directory = Directory::new("myhostname = mx.example.com\nwho = main\nmydestination = $who.example\n");
    directory.write(
        "master.cf",
        "smtp inet n - n - - smtpd\nsubmission inet n - n - 7 smtpd\n  -o who=sub -o { smtpd_recipient_restrictions = permit_sasl_authenticated, reject }\n  -o mydestination=$who.test\n",
    );
    let configuration = Configuration::read(directory.path(), "vm", BuildDefaults::default()).unwrap();
    let service = configuration.service(configuration.master.service("submission").unwrap());
    for parameter in ["smtpd_recipient_restrictions", "mydestination"] {
        let mut command = std::process::Command::new(support::program("postconf"));
        command.arg("-c").arg(directory.path()).args(["-P", "-x", "-h"]).arg(format!("submission/inet/{parameter}"));
        let output = command.output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(squeezed(&service.get(parameter).unwrap()), squeezed(&theirs), "{parameter}");
    }
}
