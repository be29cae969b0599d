//! `slm_exception`: who may send as somebody else.

use actors::watch::{BadRow, Column, Row};
use libvalvula::{AddressKey, AddressRule};

use crate::columns;
use crate::rules::Rule;

/// What is kept of a row besides what it is found by.
#[derive(Debug, Clone)]
pub(super) struct Exception {
    /// A `mail_from` without a domain: the rule it is found by also finds senders with one.
    bare: Option<AddressKey>,
}

impl Exception {
    /// Whether the row that was found is for this sender.
    pub(super) fn is_for(&self, sender: &AddressKey) -> bool {
        self.bare.as_ref().is_none_or(|bare| bare == sender)
    }
}

/// A row, columns as they are.
#[derive(Debug, Clone, Default)]
pub(super) struct ExceptionRow {
    pub(super) id: i64,
    pub(super) is_active: Option<i64>,
    pub(super) mail_from: Option<String>,
    pub(super) sasl_username: Option<String>,
}

impl ExceptionRow {
    pub(super) const COLUMNS: &[Column] =
        &[Column::integer("is_active"), Column::text("mail_from"), Column::text("sasl_username")];

    pub(super) fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            mail_from: row.text("mail_from")?,
            sasl_username: row.text("sasl_username")?,
        })
    }

    /// The rule that finds it; `None` when it is not active.
    pub(super) fn read(&self) -> Result<Option<Rule<Exception>>, BadRow> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        let user = columns::name(self.sasl_username.as_deref())
            .ok_or_else(|| BadRow::new("sasl_username is empty: it is for nobody"))?;
        let (source, bare) = match columns::name(self.mail_from.as_deref()) {
            None => (AddressRule::Everything, None),
            Some(mail_from) => match AddressKey::new(mail_from.as_bytes()) {
                key if key.local_part().is_empty() => {
                    return Err(BadRow::new(format!("mail_from {mail_from:?} is no address")));
                }
                key if key.has_domain() => (AddressRule::Address(key), None),
                key => (AddressRule::LocalPart(key.local_part().into()), Some(key)),
            },
        };
        Ok(Some(Rule {
            id: self.id,
            source,
            destination: AddressRule::Everything,
            users: Some(vec![AddressKey::new(user.as_bytes())]),
            payload: Exception { bare },
        }))
    }
}
