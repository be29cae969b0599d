//! Lists of names. Lists with tables, and what Postfix makes of the same lists, are in `tests/`.

use super::*;

async fn verdict(list: &str, subdomains: Subdomains, name: &str) -> Verdict {
    let mut reading = Reading::default();
    let list = MatchList::parse("p", list, subdomains, &tables(), &mut reading);
    list.matches(&[name.as_bytes().to_vec()], &mut Evidence::default()).await
}

#[tokio::test]
async fn the_first_match_decides() {
    for (list, name, expected) in [
        ("", "a.example", Verdict::No),
        ("a.example b.example", "b.example", Verdict::Yes),
        ("A.Example,b.example", "a.example", Verdict::Yes),
        ("!a.example a.example", "a.example", Verdict::No),
        ("a.example !a.example", "a.example", Verdict::Yes),
        ("!!a.example", "a.example", Verdict::Yes),
        ("{a.example}", "a.example", Verdict::No),
        ("a.example # b.example", "b.example", Verdict::No),
        ("bücher.example", "xn--bcher-kva.example", Verdict::Yes),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", Verdict::Yes),
        ("example", "a.example", Verdict::No),
        (".example", "a.example", Verdict::No),
    ] {
        assert_eq!(verdict(list, Subdomains::None, name).await, expected, "{list:?} {name}");
    }
}

#[tokio::test]
async fn subdomains_match_where_the_parameter_takes_them() {
    for (subdomains, list, name, expected) in [
        (Subdomains::Parent, "example.com", "a.b.example.com", Verdict::Yes),
        (Subdomains::Parent, "example.com", "example.com", Verdict::Yes),
        (Subdomains::Parent, "example.com", "anexample.com", Verdict::No),
        (Subdomains::Parent, "!b.example.com example.com", "a.b.example.com", Verdict::No),
        (Subdomains::DotParent, "example.com", "a.example.com", Verdict::No),
        (Subdomains::DotParent, ".example.com", "a.example.com", Verdict::Yes),
        (Subdomains::DotParent, ".example.com", "example.com", Verdict::No),
    ] {
        assert_eq!(verdict(list, subdomains, name).await, expected, "{list:?} {name}");
    }
}

#[tokio::test]
async fn a_file_stands_for_the_patterns_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (outer, inner) = (dir.path().join("outer"), dir.path().join("inner"));
    std::fs::write(&outer, format!("# comment\na.example b.example\n!{}\n", inner.display())).unwrap();
    std::fs::write(&inner, "c.example\n").unwrap();
    let list = format!("{} c.example", outer.display());
    for (name, expected) in [("a.example", Verdict::Yes), ("b.example", Verdict::Yes), ("c.example", Verdict::No)] {
        assert_eq!(verdict(&list, Subdomains::None, name).await, expected, "{name}");
    }
    let mut reading = Reading::default();
    MatchList::parse("p", &list, Subdomains::None, &tables(), &mut reading);
    assert_eq!(reading.files, BTreeSet::from([outer, inner]));
}

#[tokio::test]
async fn a_pattern_that_could_not_be_asked_is_no_no() {
    let broken = "/nonexistent/list";
    for (list, expected) in [
        (broken.to_owned(), Verdict::CouldNotAsk),
        (format!("a.example {broken}"), Verdict::Yes),
        // Whatever the file says, the answer is yes.
        (format!("{broken} a.example"), Verdict::Yes),
        (format!("!{broken} a.example"), Verdict::CouldNotAsk),
        (format!("{broken} !a.example"), Verdict::CouldNotAsk),
        (format!("!{broken} !a.example"), Verdict::No),
        (format!("!{broken}"), Verdict::No),
    ] {
        assert_eq!(verdict(&list, Subdomains::None, "a.example").await, expected, "{list}");
    }
    let mut reading = Reading::default();
    MatchList::parse("p", broken, Subdomains::None, &tables(), &mut reading);
    assert_eq!(reading.faults.len(), 1);
}

#[test]
fn words_are_separated_by_commas_and_white_space() {
    assert_eq!(split_list(" a,b\tc,, d\n"), ["a", "b", "c", "d"]);
    assert_eq!(split_list("inline:{ a = b, c } x"), ["inline:{ a = b, c }", "x"]);
    assert_eq!(split_list("{a {b c} d} e}"), ["{a {b c} d}", "e}"]);
    assert_eq!(split_list("a {b"), ["a", "{b"]);
    assert!(split_list(" ,\t").is_empty());
    for (list, unclosed) in [("a {b", true), ("{a {b} c, d", true), ("{a} }{b}", false), ("a} b", false), ("", false)] {
        assert_eq!(is_unclosed(list), unclosed, "{list}");
    }
}

fn tables() -> Tables {
    Tables::new("/nonexistent".into(), std::time::Duration::from_secs(1), 1, true)
}
