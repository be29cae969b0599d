//! `[[module.mw.connection]]`: which statements run where.

use std::time::Duration;

use actors::database::DatabaseUrl;
use actors::secret::secret;
use actors::settings::Section;

use super::template::Template;

/// The module's settings.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) connections: Vec<Connection>,
}

/// One database, and what is run there.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) name: String,
    /// `None`: the daemon's own database.
    pub(super) url: Option<DatabaseUrl>,
    /// `None`: every listener that runs the module.
    pub(super) listeners: Option<Vec<String>>,
    pub(super) on_request: Vec<Template>,
    pub(super) every_hour: Vec<Template>,
    /// Requests that wait for their statements.
    pub(super) queue: usize,
    /// How long one statement may take.
    pub(super) timeout: Duration,
}

impl Settings {
    pub(super) fn read(section: &mut Section) -> Self {
        let mut connections: Vec<Connection> = Vec::new();
        for (number, mut table) in (1..).zip(section.tables("connection")) {
            let connection = Connection::read(&mut table, number);
            if connections.iter().any(|other| other.name == connection.name) {
                table.fault("name", format!("{:?} is the name of another connection", connection.name));
            }
            connections.push(connection);
            table.finish();
        }
        Self { connections }
    }
}

impl Connection {
    fn read(table: &mut Section, number: usize) -> Self {
        let url = secret(table, "url").and_then(|(url, key)| match url.parse() {
            Ok(url) => Some(url),
            Err(fault) => {
                table.fault(&key, fault);
                None
            }
        });
        let on_request = statements(table, "on_request");
        let every_hour = statements(table, "every_hour");
        if every_hour.iter().any(Template::has_placeholders) {
            table.fault("every_hour", "an hourly statement has no request whose values a placeholder could stand for");
        }
        if on_request.is_empty() && every_hour.is_empty() && !table.has("on_request") && !table.has("every_hour") {
            table.fault("", "expected statements in on_request or every_hour");
        }
        Self {
            name: table.or("name", format!("connection {number}")),
            url,
            listeners: table.value("listeners"),
            on_request,
            every_hour,
            queue: usize::try_from(table.number("queue", 10_000, 1..=1_000_000)).unwrap_or(10_000),
            timeout: table.duration("timeout", Duration::from_secs(30)),
        }
    }
}

fn statements(table: &mut Section, key: &str) -> Vec<Template> {
    let texts: Vec<String> = table.or(key, Vec::new());
    let mut templates = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        match Template::parse(text) {
            Ok(template) => templates.push(template),
            Err(fault) => table.fault(key, format!("statement {}: {fault}", number + 1)),
        }
    }
    templates
}
