//! Configurations of the original, and what becomes of them.

use serde_json::{Value, json};

use super::convert::convert;
use super::xml::decode;

/// A TOML text as JSON.
pub(super) fn read(text: &str) -> Value {
    let file = ::config::File::from_str(text, ::config::FileFormat::Toml);
    let read = ::config::Config::builder().add_source(file).build().and_then(::config::Config::try_deserialize);
    read.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The configuration, and the findings as `LINE: TEXT`.
fn imported(xml: &str) -> (Value, String, Vec<String>) {
    let imported = match convert(xml) {
        Ok(imported) => imported,
        Err(faults) => panic!("{faults:?}"),
    };
    let findings: Vec<_> =
        imported.findings.iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect();
    for finding in &imported.findings {
        let comment = libvalvula::Printable::new(finding.to_string().as_bytes()).to_string();
        assert!(imported.toml.contains(&format!("# {comment}\n")), "{finding} is no comment in\n{}", imported.toml);
    }
    let table = read(&imported.toml);
    (table, imported.toml, findings)
}

const WHOLE: &str = r#"<?xml version="1.0"?>
<valvula> <!-- ours -->
  <global-settings>
    <running user="root" group="root" enabled="yes" />
    <log-reporting enabled="yes" use-syslog="yes" />
    <request-line limit="40" />
  </global-settings>
  <general>
    <listen host="127.0.0.1" port="3579">
      <run module="mod-bwl" />
      <run module="mod-slm" />
      <run module="mod-mquota" />
    </listen>
    <listen host="::1" port="3580"><run module="mod-test" /></listen>
  </general>
  <database>
    <config driver="mysql" dbname="val vula" user="val@ula" password="p'&quot;/%:ss" host="db.example" port="3307" />
  </database>
  <enviroment>
    <local-domains config="autodetect" />
    <sender-login-mismatch mode="full" allow-empty-mail-from="no" />
    <default-sending-quota status="full" if-no-match="reject">
      <limit label='day "shift"' from="9:00" to="21:00" status="full"
        minute-limit="50" hour-limit="250" global-limit="-1"
        domain-minute-limit="100" domain-hour-limit="0" domain-global-limit="1100" />
      <limit label="night" from="21:00" to="9:00" status="full" minute-limit="5" />
    </default-sending-quota>
    <mod-bwl disable-deny-unknown-local-mail-from="yes" debug="no" />
  </enviroment>
</valvula>"#;

#[test]
fn everything_that_has_a_counterpart_is_carried_over() {
    let (table, _, findings) = imported(WHOLE);
    assert!(findings.is_empty(), "{findings:?}");
    let expected = r#"
        [server]
        user = "root"
        [log]
        target = "syslog"
        [database]
        url = "mysql://val%40ula:p%27%22%2F%25%3Ass@db.example:3307/val%20vula"
        [[listener]]
        address = "127.0.0.1:3579"
        modules = ["bwl", "slm", "mquota"]
        [[listener]]
        address = "[::1]:3580"
        modules = ["test"]
        [module.bwl]
        deny_unknown_local_mail_from = false
        [module.slm]
        mode = "full"
        allow_empty_mail_from = false
        [module.mquota]
        if_no_match = "reject"
        [[module.mquota.period]]
        label = "day \"shift\""
        from = "09:00"
        to = "21:00"
        minute = 50
        hour = 250
        global = -1
        domain_minute = 100
        domain_hour = 0
        domain_global = 1100
        [[module.mquota.period]]
        label = "night"
        from = "21:00"
        to = "09:00"
        minute = 5
    "#;
    assert_eq!(table, read(expected));
}

#[test]
fn what_has_no_counterpart_is_a_comment_with_its_line() {
    let xml = r#"<valvula>
      <global-settings>
        <running user="valvula" group="mail" enabled="no" />
        <log-reporting enabled="no" use-syslog="no" />
        <signal action="reexec" />
        <request-line limit="1000" />
        <debug-queries debug="yes" />
        <colour of="mail"><deep /></colour>
      </global-settings>
      <general>
        <listen host="localhost" port="3579" backlog="5">
          <run module="mod-pquota" />
          <run module="mod-bwl" />
          <run module="mod-bwl" />
          <walk />
        </listen>
        <listen host="127.0.0.1" port="3580"><run module="mod-none" /></listen>
      </general>
      <database><config driver="sqlite" dbname="/x" /></database>
      <enviroment>
        <local-domains config="mysql:user:secret:database:host:SELECT 1" />
        <local-domains config="file:///etc/postfix/local_domains" />
        <sender-login-mismatch mode="fully" allow-empty-mail-from="perhaps" />
        <mod-ticket debug="yes" />
        <pq-quota />
      </enviroment>
      <modules><directory src="/etc/valvula/mods-enabled" /></modules>
      stray words
    </valvula>"#;
    let (table, text, findings) = imported(xml);
    let expected: &[(u32, &[&str])] = &[
        (3, &["running", "enabled=\"no\""]),
        (4, &["log-reporting"]),
        (5, &["signal", "no counterpart"]),
        (7, &["debug-queries"]),
        (8, &["colour", "not known", "all that is inside"]),
        (11, &["backlog=\"5\"", "not known"]),
        (12, &["mod-pquota", "no such module"]),
        (14, &["mod-bwl", "twice"]),
        (15, &["walk", "not known"]),
        (17, &["test, which has no opinion"]),
        (17, &["mod-none"]),
        (19, &["sqlite"]),
        (21, &["mysql:...", "no counterpart"]),
        (22, &["file:..."]),
        (23, &["fully", "not known"]),
        (23, &["perhaps"]),
        (24, &["debug"]),
        (25, &["pq-quota", "not known"]),
        (27, &["directory"]),
        (27, &["text inside <valvula>"]),
    ];
    let missing: Vec<_> = expected
        .iter()
        .filter(|(line, parts)| {
            !findings.iter().any(|finding| {
                finding.starts_with(&format!("{line}: ")) && parts.iter().all(|part| finding.contains(part))
            })
        })
        .collect();
    assert!(missing.is_empty() && findings.len() == expected.len(), "{missing:?} not in {findings:#?}");
    assert!(!text.contains("secret"), "a password in a comment: {text}");
    assert!(table["server"].get("user").is_none());
    let listeners = table["listener"].as_array().unwrap();
    assert_eq!(listeners[0]["address"].as_str(), Some("127.0.0.1:3579"));
    assert_eq!(listeners[0]["modules"], json!(["bwl"]));
    assert_eq!(listeners[0]["max_attributes"].as_i64(), Some(1000));
    assert_eq!(listeners[1]["modules"], json!(["test"]));
    assert_eq!(table["postfix"]["local_domains"], json!(["/etc/postfix/local_domains"]));
    assert!(table["module"]["slm"].get("mode").is_none() && table["database"].get("url").is_none());
}

#[test]
fn quotas_that_do_not_count_are_left_out() {
    let with = |quota: &str| {
        format!(
            "<valvula><general><listen host='127.0.0.1' port='1'><run module='mod-mquota'/></listen></general>\
             <enviroment>{quota}</enviroment></valvula>"
        )
    };
    let (table, _, findings) = imported(&with("<default-sending-quota status='off'/>"));
    assert_eq!(table["listener"][0]["modules"], json!(["test"]));
    assert!(findings[0].contains("nothing is counted"), "{findings:?}");

    let (table, _, findings) = imported(&with(""));
    assert_eq!(table["module"]["mquota"]["if_no_match"].as_str(), Some("no-limit"));
    assert!(findings[0].contains("no limit"), "{findings:?}");

    let (table, _, findings) = imported(&with(
        "<default-sending-quota status='full'><limit label='x' from='0:00' to='24:00' status='half'/></default-sending-quota>",
    ));
    assert_eq!(table["module"]["mquota"]["if_no_match"].as_str(), Some("no-limit"), "without a period");
    assert!(findings.iter().any(|finding| finding.contains("period is left out")), "{findings:?}");
}

#[test]
fn what_can_not_be_understood_is_refused_with_its_line() {
    for (xml, line, says) in [
        ("<valvula>\n<general></valvula>", 2, "is no XML"),
        ("not xml", 1, "is no XML"),
        ("<squid/>", 1, "expected <valvula>"),
        ("<valvula><general>\n<listen host='mail.example' port='1'/></general></valvula>", 2, "mail.example"),
        ("<valvula><general>\n\n<listen host='127.0.0.1' port='99999'/></general></valvula>", 3, "99999"),
        ("<valvula><general><listen host='127.0.0.1'/></general></valvula>", 1, "port"),
        (
            "<valvula><enviroment><default-sending-quota>\n<limit from='9' to='21:00'/></default-sending-quota></enviroment></valvula>",
            2,
            "09:00",
        ),
        (
            "<valvula><enviroment><default-sending-quota>\n<limit from='9:00' to='21:00' hour-limit='many'/></default-sending-quota></enviroment></valvula>",
            2,
            "many",
        ),
    ] {
        let faults = convert(xml).err().unwrap_or_else(|| panic!("{xml} is understood"));
        assert!(faults.iter().any(|fault| fault.line == line && fault.what.contains(says)), "{xml}: {faults:?}");
    }
}

#[test]
fn a_comment_can_not_become_a_key() {
    let (_, text, _) = imported("<valvula><x a='1&#10;[module.slm]&#10;mode = &quot;disabled&quot;'/><y/></valvula>");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with("# ")), "{text}");
}

#[test]
fn old_files_may_be_latin_1() {
    let utf8 = "\u{feff}<valvula/>".as_bytes();
    assert_eq!(decode(utf8).as_deref(), Ok("<valvula/>"));
    let latin1 = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><x a=\"\xe9\"/>";
    assert!(decode(latin1).is_ok_and(|text| text.contains("\"é\"")));
    assert!(decode(b"<x a=\"\xe9\"/>").is_err_and(|error| error.contains("byte 7")));
}
