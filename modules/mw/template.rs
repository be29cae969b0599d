//! What may stand for a value of the request in a statement, and the values, which are bound.

use actors::database::Template as Statement;
use actors::module::Query;
use libvalvula::Attribute;
use sea_orm::{DatabaseBackend, Value};

/// What stands for a value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    QueueId,
    Size,
    SaslUser,
    MailFrom,
    RcptCount,
    RcptTo,
    ClientAddress,
}

const NAMES: [(&str, Placeholder); 7] = [
    ("queue-id", Placeholder::QueueId),
    ("size", Placeholder::Size),
    ("sasl_user", Placeholder::SaslUser),
    ("mail-from", Placeholder::MailFrom),
    ("rcpt-count", Placeholder::RcptCount),
    ("rcpt-to", Placeholder::RcptTo),
    ("client-address", Placeholder::ClientAddress),
];

impl Placeholder {
    fn value(self, query: &Query) -> Value {
        match self {
            Self::QueueId => text(query.queue_id()),
            // Postfix's sizes fit; one that does not is no size.
            Self::Size => Value::from(i64::try_from(query.size()).unwrap_or(i64::MAX)),
            Self::SaslUser => text(query.sasl_username()),
            Self::MailFrom => text(query.sender()),
            Self::RcptCount => Value::from(i64::from(query.recipient_count())),
            Self::RcptTo => text(query.recipient()),
            Self::ClientAddress => text(query.value(Attribute::ClientAddress)),
        }
    }
}

/// Text as it is; bytes that are not UTF-8, which no text column takes, as `\xNN`.
fn text(bytes: &[u8]) -> Value {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Value::from(text)
}

/// A statement with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Statement<Placeholder>);

impl Template {
    /// Reads a statement; what is wrong with it, if it can't be one.
    pub(super) fn parse(statement: &str) -> Result<Self, String> {
        Statement::parse(statement, &NAMES).map(Self)
    }

    /// Whether it has a value of a request.
    pub(super) fn has_placeholders(&self) -> bool {
        !self.0.placeholders().is_empty()
    }

    /// The SQL, with the database's marks for parameters.
    pub(super) fn sql(&self, backend: DatabaseBackend) -> String {
        self.0.sql(backend)
    }

    /// The values, in the order of the marks.
    pub(super) fn values(&self, query: &Query) -> Vec<Value> {
        self.0.placeholders().iter().map(|placeholder| placeholder.value(query)).collect()
    }
}

#[cfg(test)]
mod tests {
    use libvalvula::Request;

    use super::*;
    use crate::testing::query;

    #[test]
    fn each_placeholder_has_its_value() {
        let query = query(
            Request::builder()
                .queue_id("4bX")
                .size(77)
                .sasl_username("ann")
                .sender("a'b\"c\\%@x.example")
                .recipient_count(3)
                .recipient(b"caf\xe9@y.example")
                .client_address("2001:db8::1"),
        );
        let template = Template::parse("VALUES (#queue-id#, #size#, #sasl_user#, #mail-from#, #rcpt-count#, #rcpt-to#, #client-address#)").unwrap();
        let text = |text: &str| Value::from(text.to_owned());
        assert_eq!(
            template.values(&query),
            [text("4bX"), Value::from(77_i64), text("ann"), text("a'b\"c\\%@x.example"), Value::from(3_i64), text("caf\\xe9@y.example"), text("2001:db8::1")]
        );
    }
}
