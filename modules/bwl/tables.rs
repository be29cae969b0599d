//! The four tables in memory, and how their rows are read.

use std::sync::Arc;

use actors::module::{ModuleContext, StartError};
use actors::watch::{BadRow, Column, Followed, Row};
use libvalvula::{AddressKey, AddressRule};

use super::status::Status;
use super::until::Until;
use crate::rules::{ReadRow, Rule, RuleTable};
use crate::columns;

/// What is kept of a row besides what it is found by.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) status: Status,
    /// From when on the row is passed over.
    pub(super) until: Until,
    /// SASL users for whom the row is passed over.
    pub(super) skip: Option<Arc<[AddressKey]>>,
}

/// The rows that hold.
#[derive(Default, Clone)]
pub(super) struct Tables {
    /// `bwl_global_sasl`: found by the SASL user alone.
    pub(super) blocked: RuleTable<Until>,
    /// `bwl_global`.
    pub(super) global: RuleTable<Entry>,
    /// `bwl_domain`: `rules_for` is the destination.
    pub(super) domain: RuleTable<Entry>,
    /// `bwl_account`: `rules_for` is the destination.
    pub(super) account: RuleTable<Entry>,
}

impl Tables {
    /// Loads the four tables and has them followed for as long as what is returned is held.
    pub(super) async fn follow(&self, context: &ModuleContext) -> Result<[Followed; 4], StartError> {
        let (domain, account): (ReadRow<_>, ReadRow<_>) = (
            |row| RecipientRow::of(row)?.read_for_domain(),
            |row| RecipientRow::of(row)?.read_for_account(),
        );
        Ok([
            self.blocked.follow(context, "bwl_global_sasl", SaslRow::COLUMNS, |row| SaslRow::of(row)?.read()).await?,
            self.global.follow(context, "bwl_global", GlobalRow::COLUMNS, |row| GlobalRow::of(row)?.read()).await?,
            self.domain.follow(context, "bwl_domain", RecipientRow::COLUMNS, domain).await?,
            self.account.follow(context, "bwl_account", RecipientRow::COLUMNS, account).await?,
        ])
    }
}

/// The original's tables have no such column, and it can't be added where the database user may not alter them.
const EXPIRES: Column = Column::integer("expires").optional();

/// What a row comes to: a rule, nothing (not active), or a fault that is logged once.
pub(super) type Read<P> = Result<Option<Rule<P>>, BadRow>;

/// A row of `bwl_global`, columns as they are.
#[derive(Debug, Clone, Default)]
pub(super) struct GlobalRow {
    pub(super) id: i64,
    pub(super) is_active: Option<i64>,
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) status: Option<String>,
    pub(super) sasl_users_to_skip: Option<String>,
    pub(super) limit_rule_to_sasl_users: Option<String>,
    pub(super) expires: Option<i64>,
}

impl GlobalRow {
    pub(super) const COLUMNS: &[Column] = &[
        Column::integer("is_active"),
        Column::text("source"),
        Column::text("destination"),
        Column::text("status"),
        Column::text("sasl_users_to_skip"),
        Column::text("limit_rule_to_sasl_users"),
        EXPIRES,
    ];

    pub(super) fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            source: row.text("source")?,
            destination: row.text("destination")?,
            status: row.text("status")?,
            sasl_users_to_skip: row.text("sasl_users_to_skip")?,
            limit_rule_to_sasl_users: row.text("limit_rule_to_sasl_users")?,
            expires: row.integer("expires")?,
        })
    }

    pub(super) fn read(&self) -> Read<Entry> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        let limited: Vec<_> = columns::users(self.limit_rule_to_sasl_users.as_deref());
        let skip: Vec<_> = columns::users(self.sasl_users_to_skip.as_deref());
        Ok(Some(Rule {
            id: self.id,
            source: columns::address_rule("source", self.source.as_deref())?,
            destination: columns::address_rule("destination", self.destination.as_deref())?,
            users: (!limited.is_empty()).then_some(limited),
            payload: Entry {
                status: status(self.status.as_deref())?,
                until: Until::of(self.expires),
                skip: (!skip.is_empty()).then(|| skip.into()),
            },
        }))
    }
}

/// A row of `bwl_domain` or `bwl_account`.
#[derive(Debug, Clone, Default)]
pub(super) struct RecipientRow {
    pub(super) id: i64,
    pub(super) is_active: Option<i64>,
    pub(super) rules_for: Option<String>,
    pub(super) source: Option<String>,
    pub(super) status: Option<String>,
    pub(super) expires: Option<i64>,
}

impl RecipientRow {
    pub(super) const COLUMNS: &[Column] = &[
        Column::integer("is_active"),
        Column::text("rules_for"),
        Column::text("source"),
        Column::text("status"),
        EXPIRES,
    ];

    pub(super) fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            rules_for: row.text("rules_for")?,
            source: row.text("source")?,
            status: row.text("status")?,
            expires: row.integer("expires")?,
        })
    }

    /// As a row of `bwl_domain`: `rules_for` is a domain.
    pub(super) fn read_for_domain(&self) -> Read<Entry> {
        self.read(|rules_for| match rules_for.contains('@') {
            true => Err(BadRow::new(format!("rules_for {rules_for:?} is no domain"))),
            false => Ok(AddressRule::Domain(libvalvula::domain_key(rules_for.as_bytes()).into())),
        })
    }

    /// As a row of `bwl_account`: `rules_for` is an address.
    pub(super) fn read_for_account(&self) -> Read<Entry> {
        self.read(|rules_for| match AddressKey::new(rules_for.as_bytes()) {
            key if key.has_domain() => Ok(AddressRule::Address(key)),
            _ => Err(BadRow::new(format!("rules_for {rules_for:?} is no address"))),
        })
    }

    fn read(&self, destination: impl Fn(&str) -> Result<AddressRule, BadRow>) -> Read<Entry> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        let destination = match columns::name(self.rules_for.as_deref()) {
            None => return Err(BadRow::new("rules_for is empty: it holds for no recipient")),
            Some(rules_for) => destination(rules_for)?,
        };
        Ok(Some(Rule {
            id: self.id,
            source: columns::address_rule("source", self.source.as_deref())?,
            destination,
            users: None,
            payload: Entry { status: status(self.status.as_deref())?, until: Until::of(self.expires), skip: None },
        }))
    }
}

/// A row of `bwl_global_sasl`.
#[derive(Debug, Clone, Default)]
pub(super) struct SaslRow {
    pub(super) id: i64,
    pub(super) is_active: Option<i64>,
    pub(super) sasl_user: Option<String>,
    pub(super) expires: Option<i64>,
}

impl SaslRow {
    pub(super) const COLUMNS: &[Column] = &[Column::integer("is_active"), Column::text("sasl_user"), EXPIRES];

    pub(super) fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            sasl_user: row.text("sasl_user")?,
            expires: row.integer("expires")?,
        })
    }

    pub(super) fn read(&self) -> Read<Until> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        match columns::name(self.sasl_user.as_deref()) {
            None => Err(BadRow::new("sasl_user is empty: it blocks nobody")),
            Some(user) => Ok(Some(Rule {
                id: self.id,
                source: AddressRule::Everything,
                destination: AddressRule::Everything,
                users: Some(vec![AddressKey::new(user.as_bytes())]),
                payload: Until::of(self.expires),
            })),
        }
    }
}

fn status(column: Option<&str>) -> Result<Status, BadRow> {
    let word = column.unwrap_or_default();
    Status::parse(word)
        .ok_or_else(|| BadRow::new(format!("status {word:?} is not known: expected ok, reject, discard or filter-discard")))
}
