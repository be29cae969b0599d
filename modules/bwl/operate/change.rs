//! Rows added, removed, switched on and off. What is refused here is what the module could not use, and
//! what can hardly be meant: a second rule that never decides, a rule for every mail without saying so.

use actors::operate::Refused;
use libvalvula::AddressRule;
use sea_orm::sea_query::Condition;
use sea_orm::Value as Bound;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Bwl;
use super::super::tables::{GlobalRow, RecipientRow, SaslRow};
use super::sheets::{Name, Table, is_over};
use crate::columns;
use crate::operating::{Record, name, note, one_of};

/// A rule to be added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    table: Table,
    #[serde(default)]
    source: String,
    #[serde(default)]
    destination: String,
    /// The domain or account that the rule is for.
    #[serde(default)]
    rules_for: String,
    /// The SASL user to be blocked.
    #[serde(default)]
    sasl_user: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    skip_users: Vec<String>,
    #[serde(default)]
    only_users: Vec<String>,
    #[serde(default)]
    note: String,
    #[serde(default)]
    who: String,
    #[serde(default)]
    disabled: bool,
    /// Unix time from which on it does not hold; absent: it holds for good.
    #[serde(default)]
    expires: Option<i64>,
    /// A rule for every mail is meant.
    #[serde(default)]
    everything: bool,
}

/// What a rule is found by, and its status: two rows with the same are one rule.
#[derive(Debug, PartialEq)]
struct Essence {
    source: AddressRule,
    destination: AddressRule,
    only: Option<Vec<libvalvula::AddressKey>>,
    skip: Option<Vec<libvalvula::AddressKey>>,
}

impl Add {
    fn row(&self) -> (GlobalRow, RecipientRow, SaslRow) {
        let (is_active, id) = (Some(1), 0);
        let users = |users: &[String]| Some(users.join(","));
        (
            GlobalRow {
                id,
                is_active,
                source: Some(self.source.clone()),
                destination: Some(self.destination.clone()),
                status: Some(self.status.clone()),
                sasl_users_to_skip: users(&self.skip_users),
                limit_rule_to_sasl_users: users(&self.only_users),
                expires: None,
            },
            RecipientRow {
                id,
                is_active,
                rules_for: Some(self.rules_for.clone()),
                source: Some(self.source.clone()),
                status: Some(self.status.clone()),
                expires: None,
            },
            SaslRow { id, is_active, sasl_user: Some(self.sasl_user.clone()), expires: None },
        )
    }

    /// What the module makes of it.
    fn essence(&self) -> Result<Essence, Refused> {
        let (global, recipient, sasl) = self.row();
        essence(self.table, &global, &recipient, &sasl)
    }

    fn check(&self, bwl: &Bwl) -> Result<(), Refused> {
        if let Some(expires) = self.expires {
            if !self.table.can_expire(bwl) {
                let table = self.table.table();
                let what = format!("table {table} lacks the column expires, and the database user may not add it (ALTER)");
                return Err(Refused::Invalid(what));
            }
            if expires <= now(bwl) {
                return Err(Refused::Invalid(format!("expires: {expires} is past")));
            }
        }
        for (what, text) in [
            ("source", &self.source),
            ("destination", &self.destination),
            ("rules_for", &self.rules_for),
            ("sasl_user", &self.sasl_user),
            ("who", &self.who),
        ] {
            name(what, text)?;
        }
        for user in self.skip_users.iter().chain(&self.only_users) {
            name("SASL user", user)?;
            if columns::users(Some(user)).len() != 1 {
                return Err(Refused::Invalid(format!("{user:?} is not one SASL user")));
            }
        }
        let all = self.table == Table::Global && self.source.is_empty() && self.destination.is_empty();
        if all && !self.everything {
            let what = "neither source nor destination: the rule would hold for every mail; say so if it is meant";
            return Err(Refused::invalid(what));
        }
        Ok(())
    }

    fn values(&self) -> Result<Vec<(&'static str, Bound)>, Refused> {
        let text = |text: &str| -> Bound { (!text.is_empty()).then(|| text.to_owned()).into() };
        let mut values: Vec<(&'static str, Bound)> = vec![
            ("is_active", i32::from(!self.disabled).into()),
            ("description", text(&note(&self.note)?)),
            ("who", text(&self.who)),
        ];
        match self.table {
            Table::Global => values.extend([
                ("source", text(&self.source)),
                ("destination", text(&self.destination)),
                ("status", text(&self.status)),
                ("sasl_users_to_skip", text(&self.skip_users.join(","))),
                ("limit_rule_to_sasl_users", text(&self.only_users.join(","))),
            ]),
            Table::Domain | Table::Account => values.extend([
                ("rules_for", text(self.rules_for.trim_ascii())),
                ("source", text(&self.source)),
                ("status", text(&self.status)),
            ]),
            Table::Sasl => values.push(("sasl_user", text(self.sasl_user.trim_ascii()))),
        }
        values.extend(self.expires.map(|expires| ("expires", expires.into())));
        Ok(values)
    }
}

fn essence(table: Table, global: &GlobalRow, recipient: &RecipientRow, sasl: &SaslRow) -> Result<Essence, Refused> {
    let unmeant = |fault: actors::watch::BadRow| Refused::invalid(fault);
    let (source, destination, only, skip) = match table {
        Table::Global => global.read().map_err(unmeant)?.map(|rule| {
            (rule.source, rule.destination, rule.users, rule.payload.skip.map(|skip| skip.to_vec()))
        }),
        Table::Domain => {
            recipient.read_for_domain().map_err(unmeant)?.map(|rule| (rule.source, rule.destination, None, None))
        }
        Table::Account => {
            recipient.read_for_account().map_err(unmeant)?.map(|rule| (rule.source, rule.destination, None, None))
        }
        Table::Sasl => sasl.read().map_err(unmeant)?.map(|rule| (rule.source, rule.destination, rule.users, None)),
    }
    .expect("it is read as an active row");
    Ok(Essence { source, destination, only, skip })
}

/// Adds a rule.
pub(super) async fn add(bwl: &Bwl, add: Add) -> Result<Value, Refused> {
    add.check(bwl)?;
    let wanted = add.essence()?;
    refuse_double(bwl, &add, &wanted).await?;
    let mut values = add.values()?;
    values.push(("stamp", now(bwl).into()));
    let database = &bwl.context.database;
    let sheet = add.table.sheet(bwl);
    let id = sheet.insert(database, values).await?;
    let row = sheet.row(database, id).await?;
    Ok(row.map_or_else(|| json!({ "rule": Name { table: add.table, id }.to_string() }), |row| add.table.show(&row, bwl)))
}

fn now(bwl: &Bwl) -> i64 {
    let now = bwl.context.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Refuses a rule that is there, or that another one keeps from ever deciding.
async fn refuse_double(bwl: &Bwl, add: &Add, wanted: &Essence) -> Result<(), Refused> {
    let mut after = i64::MIN;
    loop {
        let rows = add.table.sheet(bwl).rows(&bwl.context.database, alike(add, wanted), after, 1000).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in &rows {
            let is_active = columns::is_active(row.number("is_active"));
            if is_over(row, bwl) || essence_of(add.table, row).ok().as_ref() != Some(wanted) {
                continue;
            }
            let rule = Name { table: add.table, id: row.id };
            let status = row.text("status").unwrap_or_default();
            if status.trim_ascii().eq_ignore_ascii_case(add.status.trim_ascii()) {
                let state = match (is_active, row.text("expires")) {
                    (false, _) => ", disabled: enable it",
                    (true, Some(_)) => ", for a time: remove it",
                    (true, None) => "",
                };
                return Err(Refused::Exists(format!("rule {rule} says the same{state}")));
            }
            if is_active && !add.disabled {
                let what = format!("rule {rule} is for the same mail and decides first ({status}): remove it or disable it");
                return Err(Refused::Exists(what));
            }
        }
    }
}

fn essence_of(table: Table, row: &Record) -> Result<Essence, Refused> {
    let is_active = Some(1);
    let rows = (
        super::sheets::global_row(row, is_active),
        super::sheets::recipient_row(row, is_active),
        super::sheets::sasl_row(row, is_active),
    );
    essence(table, &rows.0, &rows.1, &rows.2)
}

/// Rows that may be the same rule, found by their spelling.
fn alike(add: &Add, wanted: &Essence) -> Condition {
    let same = |column: &'static str, rule: &AddressRule, text: &str| {
        if matches!(rule, AddressRule::Everything) {
            return Condition::any().add(crate::operating::column_is_empty(column));
        }
        let plain = String::from_utf8_lossy(rule.text()).into_owned();
        let spellings = ["", "@", ".", "*."].map(|prefix| format!("{prefix}{plain}"));
        let given = text.trim_ascii().to_owned();
        one_of(column, &[&spellings[..], &[rule.to_string(), given]].concat())
    };
    match add.table {
        Table::Global => Condition::all()
            .add(same("source", &wanted.source, &add.source))
            .add(same("destination", &wanted.destination, &add.destination)),
        Table::Domain | Table::Account => Condition::all()
            .add(same("rules_for", &wanted.destination, &add.rules_for))
            .add(same("source", &wanted.source, &add.source)),
        Table::Sasl => Condition::all().add(one_of("sasl_user", &[add.sasl_user.trim_ascii().to_owned()])),
    }
}

/// Rules that are named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    rules: Vec<Name>,
}

impl Named {
    /// The rows; all of them are there, or nothing is done.
    async fn rows(&self, bwl: &Bwl) -> Result<Vec<(Name, Record)>, Refused> {
        let mut rows = Vec::with_capacity(self.rules.len());
        for &rule in &self.rules {
            let row = rule.table.sheet(bwl).row(&bwl.context.database, rule.id).await?;
            rows.push((rule, row.ok_or_else(|| Refused::NotFound(format!("there is no rule {rule}")))?));
        }
        Ok(rows)
    }
}

/// Removes rules.
pub(super) async fn remove(bwl: &Bwl, named: Named) -> Result<Value, Refused> {
    let mut removed = Vec::new();
    for (rule, row) in named.rows(bwl).await? {
        rule.table.sheet(bwl).delete(&bwl.context.database, row.id).await?;
        removed.push(rule.table.show(&row, bwl));
    }
    Ok(json!({ "removed": removed }))
}

/// Enables or disables rules.
pub(super) async fn switch(bwl: &Bwl, named: Named, on: bool) -> Result<Value, Refused> {
    let rows = named.rows(bwl).await?;
    if let Some((rule, fault)) = rows.iter().filter(|_| on).find_map(|(rule, row)| Some((rule, rule.table.fault(row)?))) {
        return Err(Refused::Invalid(format!("rule {rule} can't be used: {fault}")));
    }
    if let Some((rule, _)) = rows.iter().filter(|_| on).find(|(_, row)| is_over(row, bwl)) {
        return Err(Refused::Invalid(format!("rule {rule} has expired: remove it and add it anew")));
    }
    for (rule, row) in &rows {
        rule.table.sheet(bwl).update(&bwl.context.database, row.id, vec![("is_active", i32::from(on).into())]).await?;
    }
    let names: Vec<_> = rows.iter().map(|(rule, _)| rule.to_string()).collect();
    Ok(json!({ if on { "enabled" } else { "disabled" }: names }))
}
