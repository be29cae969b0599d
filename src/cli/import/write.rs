//! The configuration that was understood, as TOML.

use super::Finding;
use super::convert::{Meant, Notes};
use super::output::Toml;

/// The whole text; what is found while writing goes to the notes.
pub(super) fn write(meant: &Meant, notes: &mut Notes) -> String {
    let mut toml = Toml::new(&[
        "Made from the configuration of the original Valvula by `valvulactl import valvula`.",
        "What has no counterpart here stands as a comment with the line it was read from.",
        "Its database is taken over as it is: rows stay, columns and indexes that are missing are added.",
    ]);
    toml.remarks(&notes.rest);
    if meant.user.is_some() || !notes.server.is_empty() {
        toml.section("[server]", &notes.server);
        meant.user.iter().for_each(|user| toml.text("user", user));
    }
    if meant.syslog || !notes.log.is_empty() {
        toml.section("[log]", &notes.log);
        toml.text("target", if meant.syslog { "syslog" } else { "auto" });
    }
    if meant.database.is_some() || !notes.database.is_empty() {
        toml.section("[database]", &notes.database);
        meant.database.iter().for_each(|url| toml.text("url", url));
    }
    if !meant.local_domains.is_empty() || !notes.postfix.is_empty() {
        toml.section("[postfix]", &notes.postfix);
        toml.value("autodetect", true);
        if !meant.local_domains.is_empty() {
            toml.texts("local_domains", &meant.local_domains);
        }
    }
    let counts = meant.quota.as_ref().is_none_or(|quota| quota.counts);
    for listener in &meant.listeners {
        toml.section("[[listener]]", &listener.findings);
        toml.text("address", &listener.address);
        if let Some(allow) = &listener.allow {
            toml.texts("allow", &allow.to_string().split(", ").map(str::to_owned).collect::<Vec<_>>());
        }
        let mut chain: Vec<_> = listener.modules.iter().filter(|name| counts || *name != "mquota").cloned().collect();
        if chain.is_empty() {
            chain.push("test".to_owned());
        }
        toml.texts("modules", &chain);
        meant.max_attributes.iter().for_each(|limit| toml.value("max_attributes", limit));
    }
    if meant.deny_unknown.is_some() || !notes.bwl.is_empty() {
        toml.section("[module.bwl]", &notes.bwl);
        meant.deny_unknown.iter().for_each(|deny| toml.value("deny_unknown_local_mail_from", deny));
    }
    if let Some((mode, empty)) = &meant.slm {
        toml.section("[module.slm]", &notes.slm);
        mode.iter().for_each(|mode| toml.text("mode", mode));
        empty.iter().for_each(|allow| toml.value("allow_empty_mail_from", allow));
    }
    write_quota(meant, notes, &mut toml);
    toml.finish()
}

fn write_quota(meant: &Meant, notes: &mut Notes, toml: &mut Toml) {
    let runs = meant.listeners.iter().any(|listener| listener.modules.iter().any(|name| name == "mquota"));
    let Some(quota) = meant.quota.as_ref() else {
        if runs {
            let what = "mquota runs, and no <default-sending-quota> says what its limits are: no limit".to_owned();
            let finding = Finding { line: 1, what };
            toml.section("[module.mquota]", std::slice::from_ref(&finding));
            notes.added.push(finding);
            toml.text("if_no_match", "no-limit");
        }
        return;
    };
    toml.section("[module.mquota]", &notes.mquota);
    let no_period = quota.periods.is_empty() && quota.if_no_match == "first";
    toml.text("if_no_match", if no_period { "no-limit" } else { quota.if_no_match });
    for period in &quota.periods {
        toml.section("[[module.mquota.period]]", &[]);
        toml.text("label", &period.label);
        toml.text("from", &period.from);
        toml.text("to", &period.to);
        period.limits.iter().for_each(|(key, limit)| toml.value(key, limit));
    }
}
