//! master.cf: services, and the parameters that each sets for itself.
//!
//! A logical line is `name type private unpriv chroot wakeup maxproc command arguments...`; words are
//! separated by white space, `{ }` quotes. `-o name=value` and `-o { name = value }` set a parameter for
//! that service alone, the last one winning.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::expand::enclosed;
use crate::fault::Fault;
use crate::lines::{is_blank, logical_lines, text_of};
use crate::maincf::{Assignment, split_assignment};

/// A master.cf.
#[derive(Debug, Clone, Default)]
pub struct MasterCf {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its services, in its order.
    pub services: Vec<Service>,
}

/// A service of master.cf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The first field: a port, `address:port` or a socket's name.
    pub name: String,
    /// `inet`, `unix`, `fifo`, `pass` or `unix-dgram`.
    pub kind: String,
    /// Whether the command runs in a chroot: `y` or `n`; `-` is `None`, Postfix's default.
    pub chroot: Option<bool>,
    /// The most processes at a time; `None` for `-` (`default_process_limit`), 0 for no limit.
    pub process_limit: Option<u32>,
    /// The program: `smtpd`.
    pub command: String,
    /// The parameters it sets with `-o`, the last of a name last.
    pub overrides: Vec<(String, Assignment)>,
    /// The line it begins on.
    pub line: usize,
}

/// `name/type`, as `postconf -M` and `-P` call a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceName(pub String);

impl Service {
    /// `name/type`.
    pub fn id(&self) -> ServiceName {
        ServiceName(format!("{}/{}", self.name, self.kind))
    }

    /// The value that this service's own `-o` gives to `name`.
    pub fn get(&self, name: &str) -> Option<&Assignment> {
        self.overrides.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl MasterCf {
    /// Reads the text of `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut master = Self { path: path.to_owned(), services: Vec::new() };
        let mut faults = Vec::new();
        for line in logical_lines(&text_of(bytes)) {
            match parse_service(&line.text, line.number) {
                Ok(service) => master.services.push(service),
                Err(why) => faults.push(Fault::at(path, line.number, why)),
            }
        }
        if faults.is_empty() { Ok(master) } else { Err(faults) }
    }

    /// The service called `name` or `name/type`.
    pub fn service(&self, name: &str) -> Option<&Service> {
        match name.rsplit_once('/') {
            Some((name, kind)) => self.services.iter().find(|service| service.name == name && service.kind == kind),
            None => self.services.iter().find(|service| service.name == name),
        }
    }

    /// The services that run `smtpd`: the ones that ask policy servers.
    pub fn smtpd(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.command == "smtpd")
    }
}

fn parse_service(text: &str, line: usize) -> Result<Service, String> {
    let words = words(text)?;
    let [name, kind, _private, _unpriv, chroot, _wakeup, limit, command, arguments @ ..] = words.as_slice() else {
        return Err(format!("bad field count: expected at least 8 fields, found {}", words.len()));
    };
    if !matches!(kind.as_str(), "inet" | "unix" | "fifo" | "pass" | "unix-dgram") {
        return Err(format!("bad transport type {kind:?}: expected inet, unix, fifo, pass or unix-dgram"));
    }
    let chroot = match chroot.as_str() {
        "-" => None,
        "y" => Some(true),
        "n" => Some(false),
        other => return Err(format!("bad chroot field {other:?}: expected y, n or -")),
    };
    let process_limit = match limit.as_str() {
        "-" => None,
        number => Some(number.parse().map_err(|_| format!("bad process limit {number:?}: expected a number or -"))?),
    };
    Ok(Service {
        name: name.clone(),
        kind: kind.clone(),
        chroot,
        process_limit,
        command: command.clone(),
        overrides: overrides(arguments, line)?,
        line,
    })
}

/// The `-o` of an argument list. It ends at the first word that is no option, as getopt(3) does.
fn overrides(arguments: &[String], line: usize) -> Result<Vec<(String, Assignment)>, String> {
    let mut overrides = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') || word == "--" {
            break;
        }
        let Some(attached) = word.strip_prefix("-o") else { continue };
        let text = match attached {
            "" => rest.next().ok_or("-o without a parameter")?,
            attached => attached,
        };
        let text = text.trim_matches(is_blank);
        let text = match enclosed(text, b'{', b'}') {
            Some((inside, "")) if text.starts_with('{') => inside,
            _ => text,
        };
        let (name, value) = split_assignment(text).map_err(|why| format!("-o {text}: {why}"))?;
        overrides.push((name.to_owned(), Assignment { value: value.to_owned(), line }));
    }
    Ok(overrides)
}

/// Splits at white space; a word that begins with `{` ends at its `}` and may hold white space.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let end = if rest.starts_with('{') {
            let (_, after) = enclosed(rest, b'{', b'}').ok_or_else(|| format!("missing '}}' in {rest:?}"))?;
            if !after.is_empty() && !after.starts_with(is_blank) {
                return Err(format!("syntax error after '}}' in {rest:?}"));
            }
            rest.len() - after.len()
        } else {
            rest.find(is_blank).unwrap_or(rest.len())
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start_matches(is_blank);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MasterCf, Vec<Fault>> {
        MasterCf::parse(Path::new("master.cf"), text.as_bytes())
    }

    #[test]
    fn services_and_their_overrides() {
        let master = parse(
            "# comment\nsmtp      inet  n       -       y       -       -       smtpd\n\
             submission inet n - n - 20 smtpd\n  -o syslog_name=postfix/submission\n#  -o ignored=1\n\
             \x20 -o { smtpd_recipient_restrictions = permit_sasl_authenticated, reject } -v\n  -o smtpd_x=1 -osmtpd_x=2\n\
             pickup    unix  n       -       y       60      1       pickup\n",
        )
        .unwrap();
        assert_eq!(master.services.len(), 3);
        let submission = master.service("submission").unwrap();
        assert_eq!(submission, master.service("submission/inet").unwrap());
        assert_eq!(submission.get("smtpd_recipient_restrictions").unwrap().value, "permit_sasl_authenticated, reject");
        assert_eq!(submission.get("smtpd_x").unwrap().value, "2");
        assert_eq!(submission.get("ignored"), None);
        assert_eq!((submission.process_limit, submission.chroot), (Some(20), Some(false)));
        assert_eq!(master.smtpd().count(), 2);
        assert_eq!(master.service("smtp").unwrap().process_limit, None);
        assert!(master.service("submission/unix").is_none());
    }

    #[test]
    fn faults_have_their_lines() {
        let faults = parse("smtp inet n - y - -\nx foo n - y - - smtpd\nx inet n - y - many smtpd\ny inet n - y - - smtpd -o { a\nz inet n - y - - smtpd -o a\n").unwrap_err();
        let lines: Vec<_> = faults.iter().map(|fault| fault.line.unwrap()).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        assert!(faults[0].to_string().contains("master.cf:1: bad field count"));
    }
}
