//! The tables as an operator names them, and how a row reads.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Bwl;
use super::super::tables::{GlobalRow, RecipientRow, SaslRow};
use super::super::until::Until;
use crate::columns;
use crate::operating::{Record, Sheet};

/// A table of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Table {
    /// `bwl_global`
    Global,
    /// `bwl_domain`
    Domain,
    /// `bwl_account`
    Account,
    /// `bwl_global_sasl`
    Sasl,
}

// The last is the one that a table may lack.
const GLOBAL: &[&str] = &[
    "is_active",
    "source",
    "destination",
    "status",
    "sasl_users_to_skip",
    "limit_rule_to_sasl_users",
    "description",
    "who",
    "stamp",
    "expires",
];
const RULES_FOR: &[&str] = &["is_active", "rules_for", "source", "status", "description", "who", "stamp", "expires"];
const SASL: &[&str] = &["is_active", "sasl_user", "description", "who", "stamp", "expires"];

impl Table {
    /// In the order in which they decide.
    pub(super) const ALL: [Self; 4] = [Self::Sasl, Self::Global, Self::Domain, Self::Account];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Domain => "domain",
            Self::Account => "account",
            Self::Sasl => "sasl",
        }
    }

    /// Its name in the database.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Global => "bwl_global",
            Self::Domain => "bwl_domain",
            Self::Account => "bwl_account",
            Self::Sasl => "bwl_global_sasl",
        }
    }

    /// Whether its rows can be given an end.
    pub(super) fn can_expire(self, bwl: &Bwl) -> bool {
        bwl.followed.iter().find(|followed| followed.table() == self.table()).is_some_and(|followed| followed.has("expires"))
    }

    pub(super) fn sheet(self, bwl: &Bwl) -> Sheet {
        let columns = match self {
            Self::Global => GLOBAL,
            Self::Domain | Self::Account => RULES_FOR,
            Self::Sasl => SASL,
        };
        let lacking = usize::from(!self.can_expire(bwl));
        Sheet { table: self.table(), columns: &columns[..columns.len() - lacking] }
    }

    /// The columns that a filter looks into.
    pub(super) fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Global => {
                &["source", "destination", "sasl_users_to_skip", "limit_rule_to_sasl_users", "description"]
            }
            Self::Domain | Self::Account => &["rules_for", "source", "description"],
            Self::Sasl => &["sasl_user", "description"],
        }
    }

    /// What the module says of the row if it were active: nothing, or why it can't use it.
    pub(super) fn fault(self, row: &Record) -> Option<String> {
        let is_active = Some(1);
        let read = match self {
            Self::Global => global_row(row, is_active).read().map(drop),
            Self::Domain => recipient_row(row, is_active).read_for_domain().map(drop),
            Self::Account => recipient_row(row, is_active).read_for_account().map(drop),
            Self::Sasl => sasl_row(row, is_active).read().map(drop),
        };
        read.err().map(|fault| fault.to_string())
    }

    /// The row, for the operator.
    pub(super) fn show(self, row: &Record, bwl: &Bwl) -> Value {
        let mut shown = json!({
            "rule": Name { table: self, id: row.id }.to_string(),
            "active": columns::is_active(row.number("is_active")),
            "fault": self.fault(row),
            "stamp": row.number("stamp"),
            "expires": row.number("expires"),
            "expired": is_over(row, bwl),
        });
        let shown_above = |column: &str| matches!(column, "is_active" | "stamp" | "expires");
        for &column in self.sheet(bwl).columns.iter().filter(|column| !shown_above(column)) {
            shown[column] = row.text(column).into();
        }
        shown
    }
}

/// Whether the row has ended.
pub(super) fn is_over(row: &Record, bwl: &Bwl) -> bool {
    Until::of(row.number("expires")).is_over(&bwl.context.clock)
}

/// A row of `bwl_global`, as the module reads it.
pub(super) fn global_row(row: &Record, is_active: Option<i64>) -> GlobalRow {
    GlobalRow {
        id: row.id,
        is_active,
        source: row.owned("source"),
        destination: row.owned("destination"),
        status: row.owned("status"),
        sasl_users_to_skip: row.owned("sasl_users_to_skip"),
        limit_rule_to_sasl_users: row.owned("limit_rule_to_sasl_users"),
        expires: row.number("expires"),
    }
}

/// A row of `bwl_domain` or `bwl_account`, as the module reads it.
pub(super) fn recipient_row(row: &Record, is_active: Option<i64>) -> RecipientRow {
    RecipientRow {
        id: row.id,
        is_active,
        rules_for: row.owned("rules_for"),
        source: row.owned("source"),
        status: row.owned("status"),
        expires: row.number("expires"),
    }
}

/// A row of `bwl_global_sasl`, as the module reads it.
pub(super) fn sasl_row(row: &Record, is_active: Option<i64>) -> SaslRow {
    SaslRow { id: row.id, is_active, sasl_user: row.owned("sasl_user"), expires: row.number("expires") }
}

/// A rule as an operator names it: `global:17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) table: Table,
    pub(super) id: i64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.table.name(), self.id)
    }
}

impl FromStr for Name {
    type Err = String;

    /// `global:17`, and as the log names it, `bwl_global 17` or `bwl_global:17`.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (table, id) = text.split_once([':', ' '])?;
            let table = Table::ALL.into_iter().find(|known| known.name() == table || known.table() == table)?;
            Some(Self { table, id: id.parse().ok()? })
        };
        read().ok_or_else(|| {
            format!("{text:?} names no rule: expected for example global:17, domain:4, account:9 or sasl:2")
        })
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
