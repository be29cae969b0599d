//! Match lists against postfix(5)'s rules written down as plainly as they can be: patterns are tried from left to
//! right, the first that matches decides. What a table that can't be asked would say is tried both ways: only what
//! comes out the same is an answer.

use std::fmt::Write as _;
use std::sync::OnceLock;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

/// A pattern as it is written, and what it matches.
#[derive(Debug, Clone)]
struct Written {
    exclamations: usize,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Name(String),
    /// `inline:` with these keys.
    Table(BTreeSet<String>),
    /// A file of names, each negated or not.
    File(Vec<(bool, String)>),
    /// A table that can't be opened.
    Broken,
}

/// Names of one to four labels out of few, so that they meet; some begin with a dot, some have capitals.
fn name() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "c", "B"]), 1..4).prop_map(|labels| labels.join("."))
}

fn pattern_name() -> impl Strategy<Value = String> {
    (any::<bool>(), name()).prop_map(|(dot, name)| if dot { format!(".{name}") } else { name })
}

fn written() -> impl Strategy<Value = Written> {
    let what = prop_oneof![
        4 => pattern_name().prop_map(What::Name),
        2 => btree_set(pattern_name(), 1..4).prop_map(What::Table),
        1 => vec((any::<bool>(), pattern_name()), 0..4).prop_map(What::File),
        1 => Just(What::Broken),
    ];
    (prop_oneof![3 => Just(0_usize), 2 => Just(1), 1 => Just(2)], what)
        .prop_map(|(exclamations, what)| Written { exclamations, what })
}

/// Does a name of a list match `name`? No regard to case.
fn same(pattern: &str, name: &str, subdomains: Subdomains) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    pattern == name
        || match subdomains {
            Subdomains::None => false,
            Subdomains::Parent => name.ends_with(&format!(".{pattern}")),
            Subdomains::DotParent => pattern.starts_with('.') && name.ends_with(&pattern),
        }
}

/// What the list says when the broken tables match as `broken` says, each in turn.
fn model(list: &[Written], name: &str, subdomains: Subdomains, broken: &[bool]) -> bool {
    let mut broken = broken.iter();
    for pattern in list {
        let negated = pattern.exclamations % 2 == 1;
        match &pattern.what {
            What::Name(text) if same(text, name, subdomains) => return !negated,
            What::Table(keys) if keys.iter().any(|key| same(key, name, subdomains)) => return !negated,
            What::File(names) => {
                if let Some((not, _)) = names.iter().find(|(_, text)| same(text, name, subdomains)) {
                    return !(negated ^ not);
                }
            }
            What::Broken if *broken.next().expect("one for each broken table") => return !negated,
            _ => {}
        }
    }
    false
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_list_says_what_postfix_5_says(
        list in vec(written(), 0..7),
        name in name(),
        subdomains in prop::sample::select(vec![Subdomains::None, Subdomains::Parent, Subdomains::DotParent]),
        commas in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for (number, pattern) in list.iter().enumerate() {
            text += if commas { ", " } else { " \t" };
            text += &"!".repeat(pattern.exclamations);
            match &pattern.what {
                What::Name(name) => text += name,
                What::Table(keys) => {
                    let keys: Vec<_> = keys.iter().map(|key| format!("{{ {key} = x }}")).collect();
                    write!(text, "inline:{{ {} }}", keys.join(", ")).unwrap();
                }
                What::File(names) => {
                    let file = directory.path().join(format!("f{number}"));
                    let lines = names.iter().map(|(not, name)| format!("{}{name}\n", if *not { "!" } else { "" }));
                    std::fs::write(&file, format!("# names\n{}", lines.collect::<String>())).unwrap();
                    write!(text, "{}", file.display()).unwrap();
                }
                // Each another one: what they would say has nothing to do with each other.
                What::Broken => write!(text, "texthash:/nonexistent/{number}").unwrap(),
            }
        }
        let tables = Tables::new("/nonexistent".into(), std::time::Duration::from_secs(10), 1, true);
        let parsed = MatchList::parse("p", &text, subdomains, &tables, &mut Reading::default());
        let key = domain_key(name.as_bytes()).into_owned();
        let mut evidence = Evidence::default();
        let said = runtime().block_on(parsed.matches(&[key], &mut evidence));

        let broken = list.iter().filter(|pattern| matches!(pattern.what, What::Broken)).count();
        let all: BTreeSet<bool> = (0..1_u32 << broken)
            .map(|bits| {
                let broken: Vec<bool> = (0..broken).map(|number| bits >> number & 1 == 1).collect();
                model(&list, &name, subdomains, &broken)
            })
            .collect();
        let expected = match (all.contains(&true), all.contains(&false)) {
            (true, false) => Verdict::Yes,
            (false, true) => Verdict::No,
            _ => Verdict::CouldNotAsk,
        };
        prop_assert_eq!(said, expected, "{}\n{}", text, evidence);
        let failed = evidence.failure().is_some();
        prop_assert!(said != Verdict::CouldNotAsk || failed, "it says what could not be asked: {}", text);
    }

    #[test]
    fn a_list_splits_into_its_words_whatever_they_are(
        words in vec("[a-z0-9.!/@_-]{1,8}|\\{[a-z ,=]{0,8}\\}|[a-z]{1,4}:\\{[a-z ,=]{0,6}\\}", 0..8),
        separators in vec(prop::sample::select(vec![",", " ", "\t", "\n", ", ", " , "]), 8),
    ) {
        let text: String = words.iter().zip(&separators).map(|(word, separator)| format!("{word}{separator}")).collect();
        prop_assert_eq!(split_list(&text), words);
    }
}
