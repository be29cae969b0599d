//! Parameters over defaults and services. What Postfix makes of the same is in `tests/oracle_main_cf.rs`.

use super::*;

fn configuration(main: &str, master: &str) -> Configuration {
    Configuration::parse(Path::new("/p"), main.as_bytes(), master.as_bytes(), "vm", BuildDefaults::default()).unwrap()
}

#[test]
fn the_machine_gives_the_default_of_myhostname_and_mydomain() {
    for (main, hostname, domain) in [
        ("", "vm.localdomain", "localdomain"),
        ("myhostname = mx.example.com", "mx.example.com", "example.com"),
        ("myhostname = example.com", "example.com", "com"),
        ("myhostname = box", "box", "localdomain"),
        ("mydomain = foo.example", "vm.foo.example", "foo.example"),
        ("x = example.org\nmyhostname = mail.$x", "mail.example.org", "example.org"),
        ("x = example.org\nmydomain = $x", "vm.example.org", "example.org"),
        ("myhostname = mail.$mydomain", "mail.", ""),
        ("mydomain = x$myhostname", "vm.x", "xvm.x"),
        ("myhostname =", "", "localdomain"),
    ] {
        let configuration = configuration(main, "");
        let view = configuration.main();
        assert_eq!(view.get("myhostname").unwrap(), hostname, "{main}");
        assert_eq!(view.get("mydomain").unwrap(), domain, "{main}");
    }
}

#[test]
fn a_service_overrides_main_cf_also_inside_other_values() {
    let configuration = configuration(
        "who = main\nmydestination = $who.example\nrelay_domains = $service_name",
        "submission inet n - n - - smtpd -o who=service -o { smtpd_delay_reject = no }\n",
    );
    assert_eq!(configuration.main().get("mydestination").unwrap(), "main.example");
    let service = configuration.service(configuration.master.service("submission").unwrap());
    assert_eq!(service.get("mydestination").unwrap(), "service.example");
    assert_eq!(service.get("relay_domains").unwrap(), "submission");
    assert_eq!(service.flag("smtpd_delay_reject"), Ok(false));
    assert_eq!(configuration.main().flag("smtpd_delay_reject"), Ok(true));
    assert_eq!(service.origin("who"), Origin::Written("/p/master.cf".into(), 1));
    assert_eq!(service.origin("myorigin"), Origin::Default);
}

#[test]
fn the_compatibility_level_changes_defaults() {
    for (level, relay) in [("0", "here"), ("1", "here"), ("2", ""), ("3.6", "")] {
        let configuration = configuration(&format!("compatibility_level={level}\nmydestination=here"), "");
        assert_eq!(configuration.main().get("relay_domains").unwrap(), relay, "{level}");
    }
}

#[test]
fn a_fault_of_a_value_has_file_and_line() {
    let configuration = configuration("\nmydestination = $mydestination\nsmtpd_delay_reject = maybe\n", "");
    let view = configuration.main();
    let fault = view.get("mydestination").unwrap_err();
    assert_eq!(fault.line, Some(2));
    assert!(fault.to_string().starts_with("/p/main.cf:2: mydestination: unreasonable nesting"), "{fault}");
    assert_eq!(view.flag("smtpd_delay_reject").unwrap_err().line, Some(3));
}

#[test]
fn an_absent_main_cf_is_not_a_faulty_one() {
    let dir = tempfile::tempdir().unwrap();
    let read = || Configuration::read(dir.path(), "vm", BuildDefaults::default());
    assert!(matches!(read(), Err(ReadError::Absent(path)) if path == dir.path().join("main.cf")));
    std::fs::write(dir.path().join("main.cf"), "oops\n").unwrap();
    std::fs::write(dir.path().join("master.cf"), "oops\n").unwrap();
    let Err(ReadError::Faulty(faults)) = read() else { panic!("faulty files were read") };
    assert_eq!(faults.len(), 2);
}

#[test]
fn times_have_units() {
    for (text, seconds) in [("10", 10), ("10s", 10), ("2m", 120), ("1h", 3600), ("1d", 86_400), ("1w", 604_800)] {
        assert_eq!(parse_time(text).map(|time| time.as_secs()), Some(seconds), "{text}");
    }
    for text in ["", "s", "1x", "1.5s", "-1"] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}
