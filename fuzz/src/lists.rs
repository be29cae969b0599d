//! Match lists. The first line is the name that is looked for, the rest the list.

use std::time::Duration;

use libvalvula::domain_key;
use postfix::{Evidence, MatchList, Outcome, Reading, Subdomains, Tables, Verdict, split_list};

use crate::input::{Choices, first_line, text, wait};

/// A list says what a plain walk over its patterns says, and its evidence agrees with it.
pub fn lists(data: &[u8]) {
    let (name, value) = first_line(data);
    let value = text(value);
    // Files, sockets and the system's users are not asked while fuzzing.
    if ["/", "tcp:", "socketmap:", "unix:", "cdb:"].iter().any(|part| value.contains(part)) {
        return;
    }
    let names = [domain_key(name).into_owned()];
    let tables = Tables::new("/".into(), Duration::from_secs(5), 0, true);
    let mut choices = Choices::of(data);
    let subdomains = [Subdomains::None, Subdomains::Parent, Subdomains::DotParent][choices.below(3)];
    let mut reading = Reading::default();
    let list = MatchList::parse("list", &value, subdomains, &tables, &mut reading);
    assert!(reading.files.is_empty() && reading.faults.is_empty());
    let mut evidence = Evidence::default();
    let verdict = wait(list.matches(&names, &mut evidence));
    let failed = evidence.steps.iter().any(|step| matches!(step.outcome, Outcome::Failed(_)));
    assert!(failed || verdict != Verdict::CouldNotAsk, "undecided without a failure: {evidence:?}");
    match evidence.steps.last().map(|step| &step.outcome) {
        Some(Outcome::Has) => assert!(verdict != Verdict::No || failed),
        Some(Outcome::Excludes) => assert!(verdict != Verdict::Yes),
        _ => assert!(verdict != Verdict::Yes),
    }
    if !value.contains(':') {
        assert_eq!(verdict, walked(&value, &names[0], subdomains), "{subdomains:?}");
    }
}

/// The same of a list of names alone, pattern by pattern.
fn walked(value: &str, name: &[u8], subdomains: Subdomains) -> Verdict {
    for word in split_list(value) {
        if word.starts_with('#') {
            break;
        }
        let pattern = word.trim_start_matches('!');
        let negated = !(word.len() - pattern.len()).is_multiple_of(2);
        let pattern = domain_key(pattern.as_bytes());
        let ends = |pattern: &[u8]| name.len() > pattern.len() && name.ends_with(pattern);
        let hit = name == &pattern[..]
            || match subdomains {
                Subdomains::None => false,
                Subdomains::Parent => ends(&[b".", &pattern[..]].concat()),
                Subdomains::DotParent => pattern.starts_with(b".") && ends(&pattern),
            };
        if hit {
            return if negated { Verdict::No } else { Verdict::Yes };
        }
    }
    Verdict::No
}
