//! What the values of attributes mean here: addresses, modules, the database, times and limits.

use std::net::IpAddr;

use super::convert::Period;
use super::xml::Element;

/// The keys of limits, there and here.
const LIMITS: [(&str, &str); 6] = [
    ("minute-limit", "minute"),
    ("hour-limit", "hour"),
    ("global-limit", "global"),
    ("domain-minute-limit", "domain_minute"),
    ("domain-hour-limit", "domain_hour"),
    ("domain-global-limit", "domain_global"),
];

/// The address of a listener.
pub(super) fn address(listen: Element<'_>) -> Option<String> {
    let host = listen.text("host").unwrap_or("0.0.0.0");
    let host: Option<IpAddr> = if host == "localhost" { Some([127, 0, 0, 1].into()) } else { host.parse().ok() };
    let port = listen.text("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    match (host, port) {
        (Some(host), Some(port)) => Some(std::net::SocketAddr::new(host, port).to_string()),
        (None, _) => {
            let host = listen.text("host").unwrap_or_default();
            listen.fault(format!("host={host:?} is no IP address: write the address in its place"));
            None
        }
        (_, None) => {
            listen.fault(format!("port={:?} is no port", listen.text("port").unwrap_or_default()));
            None
        }
    }
}

/// Puts the module of a `<run>` behind the chain.
pub(super) fn add_module(run: Element<'_>, chain: &mut Vec<String>) {
    run.has_none();
    let name = run.text("module").unwrap_or_default();
    let name = name.strip_prefix("mod-").unwrap_or(name);
    if modules::find(name).is_none() {
        run.find(format!(
            "module={:?}: there is no such module here: left out of the chain",
            run.text("module").unwrap_or_default()
        ));
    } else if chain.iter().any(|known| known == name) {
        run.find(format!("module=\"mod-{name}\" stands twice in the chain: it would charge twice, left out"));
    } else {
        chain.push(name.to_owned());
    }
}

/// The URL of a database; `None` when it has none here.
pub(super) fn url(config: Element<'_>) -> Option<String> {
    let driver = config.text("driver").unwrap_or("mysql");
    let name = config.text("dbname").unwrap_or_default();
    if driver != "mysql" || name.is_empty() {
        config.find(format!(
            "driver={driver:?} dbname={name:?} has no counterpart: set url; until then the embedded database, which is empty, is used"
        ));
        return None;
    }
    let part = |attribute: &str| escaped(config.text(attribute).unwrap_or_default());
    let host = config.text("host").filter(|host| !host.is_empty()).unwrap_or("localhost");
    let port = config.text("port").filter(|port| !port.is_empty()).map_or_else(String::new, |port| format!(":{port}"));
    if host == "localhost" {
        config.find(
            "host=\"localhost\": asked by TCP here; where the server has only its unix socket, add ?socket=/run/mysqld/mysqld.sock to url",
        );
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let login = match (part("user"), part("password")) {
        (user, _) if user.is_empty() => String::new(),
        (user, password) if password.is_empty() => format!("{user}@"),
        (user, password) => format!("{user}:{password}@"),
    };
    Some(format!("mysql://{login}{host}{port}/{}", escaped(name)))
}

/// Percent-encoded, but for what no part of a URL gives a meaning to.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The period of a `<limit>`; `None` when it is left out.
pub(super) fn period(limit: Element<'_>) -> Option<Period> {
    let mut known = vec!["label", "from", "to", "status"];
    known.extend(LIMITS.iter().map(|(there, _)| *there));
    let limit = limit.knows(&known);
    limit.has_none();
    if limit.text("status").is_some_and(|status| status != "full") {
        limit.find("status is not \"full\": the period is left out");
        return None;
    }
    let time = |name: &str| limit.text(name).and_then(clock);
    let (Some(from), Some(to)) = (time("from"), time("to")) else {
        let shown = |name: &str| limit.text(name).unwrap_or_default().to_owned();
        limit.fault(format!("from={:?} to={:?}: expected times such as 09:00", shown("from"), shown("to")));
        return None;
    };
    let mut limits = Vec::new();
    for (there, here) in LIMITS {
        match limit.text(there).map(|text| (text, text.parse::<i64>())) {
            None => {}
            Some((_, Ok(number))) if (0..=i64::from(u32::MAX)).contains(&number) => limits.push((here, number)),
            Some((_, Ok(number))) if number < 0 => limits.push((here, -1)),
            Some((text, _)) => {
                limit.fault(format!("{there}={text:?} is no limit: expected a number, -1 for none"));
            }
        }
    }
    let label = limit.text("label").unwrap_or_default().to_owned();
    Some(Period { label, from, to, limits })
}

/// `9:00` as `09:00`.
fn clock(text: &str) -> Option<String> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u8, u8) = (hour.parse().ok()?, minute.parse().ok()?);
    let valid = minute < 60 && (hour < 24 || (hour, minute) == (24, 0));
    valid.then(|| format!("{hour:02}:{minute:02}"))
}
