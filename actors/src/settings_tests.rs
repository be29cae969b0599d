use super::*;

fn leaf(value: impl Into<Value>) -> Node {
    Node::Leaf { value: value.into(), origin: "a.toml".into(), from_env: false }
}

fn env(text: &str) -> Node {
    Node::Leaf { value: text.into(), origin: "environment VALVULA__X".into(), from_env: true }
}

fn section(keys: &[(&str, Node)]) -> (Section, Faults) {
    let faults = Faults::default();
    let keys = keys.iter().map(|(key, node)| ((*key).to_owned(), node.clone())).collect();
    (Section::new("module.x", Node::Table { keys, origin: "a.toml".into() }, faults.clone()), faults)
}

#[test]
fn every_fault_of_a_section_is_reported_with_file_and_key() {
    let (mut section, faults) = section(&[
        ("mode", leaf("ful")),
        ("limit", leaf("many")),
        ("wait", leaf("5 parsecs")),
        ("colour", leaf("red")),
    ]);
    assert_eq!(section.one_of("mode", 1, &[("full", 1), ("off", 2)]), 1);
    assert_eq!(section.number("limit", 7, 0..=10), 7);
    assert_eq!(section.duration("wait", Duration::from_secs(5)), Duration::from_secs(5));
    section.finish();
    let shown: Vec<_> = faults.take().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 4, "{shown:#?}");
    assert!(shown.iter().all(|fault| fault.starts_with("a.toml: module.x.")), "{shown:#?}");
    assert!(shown[0].contains("\"full\", \"off\""));
    assert!(shown[3].contains("colour: unknown key; expected one of limit, mode, wait"));
}

#[test]
fn a_number_is_not_taken_for_a_text_nor_a_text_for_a_number() {
    let (mut section, faults) = section(&[("a", leaf(5)), ("b", leaf("5"))]);
    assert_eq!(section.value::<String>("a"), None);
    assert_eq!(section.value::<i64>("b"), None);
    assert_eq!(faults.take().len(), 2);
}

#[test]
fn the_environment_speaks_text_and_is_understood_by_the_type_asked_for() {
    let (mut section, faults) =
        section(&[("n", env("5")), ("t", env("5")), ("b", env("true")), ("l", env(r#"["x"]"#))]);
    assert_eq!(section.value::<i64>("n"), Some(5));
    assert_eq!(section.value::<String>("t").as_deref(), Some("5"));
    assert_eq!(section.value::<bool>("b"), Some(true));
    assert_eq!(section.value::<Vec<String>>("l"), Some(vec!["x".to_owned()]));
    assert!(faults.is_empty());
}

#[test]
fn spans_of_time_are_read_with_their_units() {
    for (text, millis) in [("500ms", 500), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "5", "s", "-1s", "5x", "99999999999999999999s"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn an_array_of_tables_names_the_element_at_fault() {
    let period = Node::Table { keys: [("from".to_owned(), leaf(9))].into(), origin: "b.toml".into() };
    let (mut section, faults) = section(&[("period", Node::List { items: vec![period], origin: "b.toml".into() })]);
    for mut period in section.tables("period") {
        assert_eq!(period.value::<String>("from"), None);
    }
    assert!(faults.take()[0].to_string().starts_with("a.toml: module.x.period[0].from: "));
}
