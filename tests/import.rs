//! `valvulactl import valvula`: what it writes passes `valvulad --check-config`.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::fs::PermissionsExt as _;

use support::{Home, programs};

const CONFIGURATIONS: [&str; 4] = [
    // As an administrator of a single server has it.
    r#"<valvula>
  <global-settings>
    <running user="root" group="mail" enabled="yes" />
    <log-reporting enabled="yes" use-syslog="yes" />
    <signal action="reexec" />
  </global-settings>
  <general>
    <listen host="127.0.0.1" port="3579"><run module="mod-bwl" /><run module="mod-slm" /></listen>
    <listen host="127.0.0.1" port="3580"><run module="mod-mquota" /><run module="mod-lmm" /><run module="mod-transport" /></listen>
  </general>
  <database><config driver="mysql" dbname="valvula" user="valvula" password="it's 100%" host="localhost" port="" /></database>
  <enviroment>
    <local-domains config="autodetect" />
    <sender-login-mismatch mode="same-domain" allow-empty-mail-from="yes" />
    <default-sending-quota status="full" if-no-match="first" debug="yes">
      <limit label="day" from="9:00" to="21:00" status="full" minute-limit="50" hour-limit="250" global-limit="750"
             domain-minute-limit="100" domain-hour-limit="375" domain-global-limit="-1" />
      <limit label="night" from="21:00" to="9:00" status="full" minute-limit="15" />
    </default-sending-quota>
  </enviroment>
  <modules><directory src="/etc/valvula/mods-enabled" /></modules>
</valvula>"#,
    // Nothing but a listener, with what is not known.
    r#"<valvula><general><listen host="::1" port="9"><run module="mod-mine" /><tea /></listen></general></valvula>"#,
    // A quota that runs without limits.
    r#"<valvula><general><listen host="0.0.0.0" port="3579"><run module="mod-mquota" /></listen></general></valvula>"#,
    // Limits, and nobody who counts.
    r#"<valvula><general><listen host="127.0.0.1" port="7"><run module="mod-test" /></listen></general><enviroment>
      <default-sending-quota status="full" if-no-match="no-limit"><limit label="d" from="0:00" to="0:00" /></default-sending-quota>
      <local-domains config="file:///dev/null" /></enviroment></valvula>"#,
];

#[test]
fn what_is_written_passes_the_check() {
    for (number, xml) in CONFIGURATIONS.into_iter().enumerate() {
        let home = Home::new(programs!());
        home.write("original.conf", xml);
        let (from, to) = (home.path("original.conf"), home.path("imported.toml"));
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        let said = home.valvulactl(&["import", "valvula", from, "-o", to]).ok().stdout;
        assert!(said.contains("--check-config"), "{said}");
        let written = std::fs::read_to_string(to).unwrap();
        assert_eq!(home.valvulactl(&["import", "valvula", from]).ok().stdout, written, "printed as written");
        assert_eq!(std::fs::metadata(to).unwrap().permissions().mode() & 0o777, 0o640, "it may hold a password");
        home.write("valvula.toml", &written);
        let check = home.valvulad(&["--check-config"]);
        assert_eq!(check.code, Some(0), "{number}: {}\n{written}", check.stderr);
    }
}

#[test]
fn check_reports_with_lines_and_writes_nothing() {
    let home = Home::new(programs!());
    home.write("original.conf", CONFIGURATIONS[0]);
    let from = home.path("original.conf");
    let from = from.to_str().unwrap();
    let report = home.valvulactl(&["import", "valvula", from, "--check"]).ok().stdout;
    for part in [":3: <running>", ":5: <signal>", ":11: <config>", ":15: <default-sending-quota>", ":21: <directory>"] {
        assert!(report.lines().any(|line| line.starts_with(from) && line.contains(part)), "{part}: {report}");
    }
    assert!(!report.contains("[[listener]]"));
    let json = home.valvulactl(&["import", "valvula", from, "--check", "--json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), report.lines().count());
    assert!(json.get("toml").is_none());
}

#[test]
fn what_can_not_be_imported_is_refused() {
    let home = Home::new(programs!());
    home.write("broken.conf", "<valvula><general>\n<listen host='mail.example' port='x'/></general></valvula>");
    home.write("there.toml", "kept");
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let output = home.valvulactl(&[&["import", "valvula"][..], arguments].concat());
        assert_eq!(output.code, Some(code), "{arguments:?}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(says), "{arguments:?}: {}", output.stderr);
    };
    refused(&[&path("broken.conf"), "-o", &path("new.toml")], 1, "line 2: <listen> host=\"mail.example\"");
    assert!(!home.path("new.toml").exists());
    refused(&[&path("absent.conf")], 1, "absent.conf");
    refused(&[&path("broken.conf"), "--check", "-o", "x"], 64, "--check");
    refused(&[], 64, "FILE");
    home.write("good.conf", CONFIGURATIONS[1]);
    refused(&[&path("good.conf"), "-o", &path("there.toml")], 1, "there.toml");
    assert_eq!(std::fs::read_to_string(home.path("there.toml")).unwrap(), "kept");
}
