//! What each element of the original's configuration means here.

use std::net::SocketAddr;

use actors::networks::Networks;
use roxmltree::Document;

use super::values::{add_module, address, period, url};
use super::write::write;
use super::xml::{Element, Report};
use super::{Finding, Imported};

/// Attributes a request may have by default here; the original's limit is 40.
const ATTRIBUTES: u32 = 256;

/// What was understood, section by section.
#[derive(Default)]
pub(super) struct Meant {
    pub(super) user: Option<String>,
    pub(super) syslog: bool,
    pub(super) max_attributes: Option<u32>,
    pub(super) listeners: Vec<Listener>,
    pub(super) database: Option<String>,
    pub(super) local_domains: Vec<String>,
    pub(super) deny_unknown: Option<bool>,
    pub(super) slm: Option<(Option<String>, Option<bool>)>,
    pub(super) quota: Option<Quota>,
}

pub(super) struct Listener {
    pub(super) address: String,
    /// Who may connect, where the address can be reached from the internet.
    pub(super) allow: Option<Networks>,
    pub(super) modules: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

pub(super) struct Quota {
    pub(super) counts: bool,
    pub(super) if_no_match: &'static str,
    pub(super) periods: Vec<Period>,
}

pub(super) struct Period {
    pub(super) label: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) limits: Vec<(&'static str, i64)>,
}

/// Converts the text of a file.
///
/// # Errors
/// All that can't be understood.
pub(super) fn convert(xml: &str) -> Result<Imported, Vec<Finding>> {
    let report = Report::default();
    let document = Document::parse(xml)
        .map_err(|error| vec![Finding { line: error.pos().row, what: format!("is no XML: {error}") }])?;
    let root = Element::root(&document, &report);
    let mut importer = Importer { report: &report, meant: Meant::default(), notes: Notes::default(), seen: 0 };
    importer.root(root);
    let Importer { meant, mut notes, .. } = importer;
    let faults = report.faults.take();
    if !faults.is_empty() {
        return Err(faults);
    }
    let toml = write(&meant, &mut notes);
    let mut findings = report.findings.take();
    findings.extend(notes.added);
    findings.sort_by_key(|finding| finding.line);
    Ok(Imported { toml, findings })
}

/// The findings of each section.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) server: Vec<Finding>,
    pub(super) log: Vec<Finding>,
    pub(super) database: Vec<Finding>,
    pub(super) postfix: Vec<Finding>,
    pub(super) bwl: Vec<Finding>,
    pub(super) slm: Vec<Finding>,
    pub(super) mquota: Vec<Finding>,
    pub(super) rest: Vec<Finding>,
    /// Found while writing.
    pub(super) added: Vec<Finding>,
}

struct Importer<'a> {
    report: &'a Report,
    meant: Meant,
    notes: Notes,
    /// How many findings are in a section already.
    seen: usize,
}

impl<'a> Importer<'a> {
    /// The findings since the last call: they belong to the section that was just read.
    fn new_findings(&mut self) -> Vec<Finding> {
        let findings = self.report.findings.borrow();
        let new = findings[self.seen..].to_vec();
        self.seen = findings.len();
        new
    }

    fn root(&mut self, root: Element<'a>) {
        if root.name() != "valvula" {
            root.fault("is not the outermost element of a configuration of Valvula: expected <valvula>");
            return;
        }
        for part in root.knows(&[]).children() {
            match part.name() {
                "global-settings" | "global" => self.global(part.knows(&[])),
                "general" => self.general(part.knows(&[])),
                "database" => self.database(part.knows(&[])),
                "enviroment" | "environment" => self.environment(part.knows(&[])),
                "modules" => self.modules(part.knows(&[])),
                _ => {
                    part.unknown();
                    let new = self.new_findings();
                    self.notes.rest.extend(new);
                }
            }
        }
        if self.meant.listeners.is_empty() {
            root.find("has no <listen>: a daemon without a [[listener]] does not start");
        }
        let new = self.new_findings();
        self.notes.rest.extend(new);
    }

    fn global(&mut self, global: Element<'a>) {
        for setting in global.children() {
            let mut is_log = false;
            match setting.name() {
                "running" => self.running(setting.knows(&["user", "group", "enabled"])),
                "log-reporting" => {
                    is_log = true;
                    let setting = setting.knows(&["enabled", "use-syslog"]);
                    self.meant.syslog = setting.yes("use-syslog", false);
                    if !setting.yes("enabled", true) {
                        setting.find("enabled=\"no\": there is always a log here; level = \"error\" makes it short");
                    }
                }
                "signal" => setting.knows(&["action"]).find(
                    "has no counterpart: a crash inside a module is contained, and the service manager restarts the daemon",
                ),
                "request-line" => {
                    let setting = setting.knows(&["limit"]);
                    match setting.text("limit").map(str::parse::<u32>) {
                        Some(Ok(limit)) if limit <= ATTRIBUTES => {}
                        Some(Ok(limit)) => self.meant.max_attributes = Some(limit.min(10_000)),
                        _ => setting.find("is no number: the default holds"),
                    }
                }
                "debug-queries" => {
                    if setting.knows(&["debug"]).yes("debug", false) {
                        setting.find("has no counterpart here: start valvulad with --debug-queries");
                    }
                }
                _ => {
                    setting.unknown();
                    let new = self.new_findings();
                    self.notes.server.extend(new);
                    continue;
                }
            }
            setting.has_none();
            let new = self.new_findings();
            if is_log { self.notes.log.extend(new) } else { self.notes.server.extend(new) }
        }
    }

    fn running(&mut self, running: Element<'a>) {
        let (user, group) = (running.text("user"), running.text("group"));
        if !running.yes("enabled", false) {
            running.find("enabled=\"no\": the daemon stays who started it; set user to have it drop its rights");
            return;
        }
        if user != group && group.is_some() {
            let group = group.unwrap_or_default();
            running.find(format!("group={group:?} has no counterpart: the daemon has the groups of its user"));
        }
        self.meant.user = user.filter(|user| !user.is_empty()).map(str::to_owned);
    }

    fn general(&mut self, general: Element<'a>) {
        for listen in general.children() {
            if listen.name() != "listen" {
                listen.unknown();
                let new = self.new_findings();
                self.notes.rest.extend(new);
                continue;
            }
            let address = address(listen.knows(&["host", "port"]));
            let mut chain = Vec::new();
            for run in listen.children() {
                if run.name() == "run" { add_module(run.knows(&["module"]), &mut chain) } else { run.unknown() }
            }
            if chain.is_empty() {
                listen.find("runs nothing that is there: test, which has no opinion, stands in");
                chain.push("test".to_owned());
            }
            let is_public = |address: &String| {
                address.parse::<SocketAddr>().is_ok_and(|address| !Networks::private().enclose(address.ip()))
            };
            let allow = address.as_ref().filter(|address| is_public(address)).map(|_| Networks::private());
            if allow.is_some() {
                listen.find("can be reached from the internet, where anybody could ask: only this machine and private networks may; add your mail servers");
            }
            let findings = self.new_findings();
            let listener = |address| Listener { address, allow, modules: chain, findings };
            self.meant.listeners.extend(address.map(listener));
        }
    }

    fn database(&mut self, database: Element<'a>) {
        for config in database.children() {
            match config.name() {
                "config" if self.meant.database.is_some() => config.find("is a second database: left out"),
                "config" => {
                    let config = config.knows(&["driver", "dbname", "user", "password", "host", "port"]);
                    config.has_none();
                    self.meant.database = url(config);
                }
                _ => config.unknown(),
            }
        }
        let new = self.new_findings();
        self.notes.database.extend(new);
    }

    fn environment(&mut self, environment: Element<'a>) {
        for setting in environment.children() {
            let place: fn(&mut Notes) -> &mut Vec<Finding> = match setting.name() {
                "local-domains" => {
                    self.local_domains(setting.knows(&["config"]));
                    |notes| &mut notes.postfix
                }
                "sender-login-mismatch" => {
                    self.slm(setting.knows(&["mode", "allow-empty-mail-from", "debug"]));
                    |notes| &mut notes.slm
                }
                "default-sending-quota" => {
                    self.quota(setting.knows(&["status", "if-no-match", "debug"]));
                    |notes| &mut notes.mquota
                }
                "bwl" | "mod-bwl" => {
                    let bwl = setting.knows(&["debug", "disable-deny-unknown-local-mail-from"]);
                    debug(bwl);
                    bwl.has_none();
                    let disabled = bwl.yes("disable-deny-unknown-local-mail-from", false);
                    self.meant.deny_unknown = disabled.then_some(false);
                    |notes| &mut notes.bwl
                }
                "mod-lmm" | "mod-slm" | "mod-mquota" | "mod-ticket" | "mod-transport" | "mod-mw" => {
                    debug(setting.knows(&["debug"]));
                    setting.has_none();
                    |notes| &mut notes.rest
                }
                _ => {
                    setting.unknown();
                    |notes| &mut notes.rest
                }
            };
            let new = self.new_findings();
            place(&mut self.notes).extend(new);
        }
    }

    fn local_domains(&mut self, setting: Element<'a>) {
        let config = setting.text("config").unwrap_or_default();
        match config.split_once(':') {
            _ if config == "autodetect" => {}
            Some(("file", path)) => {
                let path = format!("/{}", path.trim_start_matches('/'));
                setting.find("config=\"file:...\": Postfix's own configuration is read besides (autodetect)");
                self.meant.local_domains.push(path);
            }
            Some((kind, _)) => setting.find(format!(
                "config=\"{kind}:...\" has no counterpart: Postfix's own configuration is read, its {kind}: tables too"
            )),
            None => setting.find(format!("config={config:?} is not known: Postfix's own configuration is read")),
        }
        setting.has_none();
    }

    fn slm(&mut self, setting: Element<'a>) {
        const MODES: [&str; 4] = ["full", "same-domain", "valid-mail-from", "disabled"];
        debug(setting);
        let mode = setting.text("mode");
        if let Some(word) = mode.filter(|mode| !MODES.contains(mode)) {
            setting.find(format!("mode={word:?} is not known: same-domain, the default, holds"));
        }
        let empty = setting.text("allow-empty-mail-from").map(|_| setting.yes("allow-empty-mail-from", true));
        self.meant.slm = Some((mode.filter(|mode| MODES.contains(mode)).map(str::to_owned), empty));
        setting.has_none();
    }

    fn quota(&mut self, setting: Element<'a>) {
        debug(setting);
        let counts = setting.text("status").is_none_or(|status| status == "full");
        if !counts {
            setting.find("status is not \"full\": nothing is counted; mquota is left out of the chains");
        }
        let if_no_match = match setting.text("if-no-match") {
            Some("no-limit") => "no-limit",
            Some("reject") => "reject",
            Some("first") | None => "first",
            Some(word) => {
                setting.find(format!("if-no-match={word:?} is not known: first holds"));
                "first"
            }
        };
        let mut periods = Vec::new();
        for limit in setting.children() {
            match limit.name() {
                "limit" => periods.extend(period(limit)),
                _ => limit.unknown(),
            }
        }
        self.meant.quota = Some(Quota { counts, if_no_match, periods });
    }

    fn modules(&mut self, modules: Element<'a>) {
        for part in modules.children() {
            match part.name() {
                "directory" => part
                    .knows(&["src"])
                    .find("has no counterpart: every module is part of the daemon, and runs where a listener names it"),
                _ => part.unknown(),
            }
        }
        let new = self.new_findings();
        self.notes.rest.extend(new);
    }
}

fn debug(setting: Element<'_>) {
    if setting.text("debug").is_some() && setting.yes("debug", false) {
        setting.find("debug=\"yes\" has no counterpart: see level in [log], and valvulactl explain");
    }
}
