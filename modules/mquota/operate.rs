//! What an operator does with sending quotas: see what is used, begin anew, and except users and domains.

use std::collections::HashMap;

use actors::counting::Limits;
use actors::counting::counter::{HOUR, MINUTE, RUN, UNLIMITED, WINDOWS};
use actors::operate::{Done, Order, Refused};
use libvalvula::{AddressKey, domain_key};
use sea_orm::Value as Bound;
use sea_orm::sea_query::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exceptions::names;
use super::{Mquota, now, quota};
use crate::columns;
use crate::operating::{self, MOST_ROWS, Record, Sheet};

const SHEET: Sheet = Sheet { table: "mquota_exception", columns: &["is_active", "sasl_user", "description"] };

/// The windows, by the names that configurations give their limits.
const WINDOW_NAMES: [(usize, &str); WINDOWS] = [(MINUTE, "minute"), (HOUR, "hour"), (RUN, "global")];

/// Carries out an order about `quota` or `quota-exception`.
pub(super) async fn carry_out(mquota: &Mquota, order: Order) -> Result<Done, Refused> {
    match order.words() {
        ("quota", "show") => Ok(Done::seen(show(mquota, &order.read()?).await)),
        ("quota", "reset") => reset(mquota, order.read()?).await.map(Done::seen),
        ("quota-exception", "list") => list(mquota, order.read()?).await.map(Done::seen),
        ("quota-exception", "add") => add(mquota, order.read()?).await.map(Done::changed),
        ("quota-exception", "remove") => remove(mquota, order.read()?).await.map(Done::changed),
        _ => Err(order.unknown()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// A user or a domain; absent: those who used most.
    name: Option<String>,
    /// So many of those who used most.
    top: Option<usize>,
}

/// What one account or domain has used of the windows that are open now.
type Used = HashMap<(bool, Box<[u8]>), [i64; WINDOWS]>;

/// What is used, by what the database has: other daemons charge the same accounts. While it is away, by
/// what this daemon knows, and the answer says so.
async fn show(mquota: &Mquota, which: &Which) -> Value {
    const TOP: usize = 20;
    let second = now(&mquota.context);
    let moment = mquota.moment(second);
    let windows = [moment.minute, moment.hour, moment.run];
    let wanted = which.name.as_deref().map(keys);
    // The run of an overlapping period stands in a counter of its own.
    let slots = if moment.slot == 0 { vec![0] } else { vec![0, moment.slot] };
    let stored_as = |(domain, name): &(bool, Box<[u8]>)| {
        let name = name.clone();
        slots.iter().map(move |slot| (2 * slot + u8::from(*domain), name.clone())).collect::<Vec<_>>()
    };
    let away = mquota.ledger.refresh(wanted.as_ref().map(|wanted| wanted.iter().flat_map(stored_as).collect())).await;
    let mut used = Used::new();
    // Whoever is asked for has a line even when nothing was sent.
    for (domain, name) in wanted.iter().flatten() {
        used.insert((*domain, name.clone()), [0; WINDOWS]);
    }
    mquota.ledger.each(|kind, name, counter| {
        let domain = kind % 2 == 1;
        let key = || (domain, Box::from(name));
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&key())) {
            return;
        }
        for (window, stretch) in windows.iter().enumerate() {
            // The run of an overlapping period stands in a counter of its own.
            if kind / 2 != if window == RUN { moment.slot } else { 0 } {
                continue;
            }
            let count = counter.tallies[window].used_in(stretch.from);
            if count > 0 {
                used.entry(key()).or_default()[window] = count;
            }
        }
    });
    let (account, domain) = quota::limits(&mquota.settings, &moment);
    let limits = |is_domain: bool| if is_domain { domain } else { account };
    let mut lines: Vec<_> = used.into_iter().collect();
    lines.sort_by(|((a_domain, a), a_used), ((b_domain, b), b_used)| {
        let share = |is_domain: &bool, used: &[i64; WINDOWS]| fullest(&limits(*is_domain), used);
        share(b_domain, b_used)
            .total_cmp(&share(a_domain, a_used))
            .then(b_used[RUN].cmp(&a_used[RUN]))
            .then(b_used[HOUR].cmp(&a_used[HOUR]))
            .then_with(|| a.cmp(b))
    });
    if wanted.is_none() {
        lines.truncate(which.top.unwrap_or(TOP).clamp(1, 1000));
    }
    let opens = |stretch: &super::period::Stretch| mquota.settings.calendar.show(stretch.until, second);
    let rows: Vec<_> = lines
        .iter()
        .flat_map(|((is_domain, name), used)| {
            WINDOW_NAMES.map(|(window, called)| {
                let limit = Some(limits(*is_domain)[window]).filter(|limit| *limit != UNLIMITED);
                let full = limit.is_some_and(|limit| used[window] >= limit);
                json!({
                    "name": String::from_utf8_lossy(name),
                    "side": if *is_domain { "domain" } else { "account" },
                    "window": called,
                    "used": used[window],
                    "limit": limit,
                    "full": full,
                    "opens": opens(&windows[window]),
                    "until": windows[window].until,
                })
            })
        })
        .collect();
    let period = moment.period.and_then(|index| mquota.settings.periods.get(index));
    json!({ "period": period.map(|period| &period.label), "windows": rows, "could_not_ask": away.err() })
}

/// The largest share of a limit that is used.
#[expect(clippy::cast_precision_loss, reason = "an order of lines for people")]
fn fullest(limits: &Limits, used: &[i64; WINDOWS]) -> f64 {
    let shares = limits.iter().zip(used).filter(|(limit, _)| **limit != UNLIMITED);
    shares.map(|(limit, used)| *used as f64 / (*limit).max(1) as f64).fold(0.0, f64::max)
}

/// The account or the domain that a name means: with an `@`, an account; without, either.
fn keys(name: &str) -> Vec<(bool, Box<[u8]>)> {
    let name = name.trim_ascii();
    let domain = |bare: &str| (true, domain_key(bare.as_bytes()).into());
    match name.strip_prefix('@') {
        Some(bare) => vec![domain(bare)],
        None if name.contains('@') => vec![(false, AddressKey::new(name.as_bytes()).as_bytes().into())],
        None => vec![(false, AddressKey::new(name.as_bytes()).as_bytes().into()), domain(name)],
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    name: String,
}

async fn reset(mquota: &Mquota, reset: Reset) -> Result<Value, Refused> {
    let mut names: Vec<_> = keys(&reset.name).into_iter().map(|(_, name)| name).filter(|name| !name.is_empty()).collect();
    names.dedup();
    let mut counters = 0;
    for name in names {
        counters += mquota.ledger.reset(&name).await.map_err(|error| Refused::CouldNotAsk(format!("database: {error}")))?;
    }
    match counters {
        0 => Err(Refused::NotFound(format!("nothing is counted for {}", reset.name))),
        _ => Ok(json!({ "name": reset.name, "counters": counters })),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    contains: Option<String>,
}

async fn list(mquota: &Mquota, filter: Filter) -> Result<Value, Refused> {
    let which = match &filter.contains {
        None => Condition::all(),
        Some(part) => operating::contains(&["sasl_user", "description"], part),
    };
    let mut rows = SHEET.rows(&mquota.context.database, which, i64::MIN, MOST_ROWS + 1).await?;
    let more = rows.len() as u64 > MOST_ROWS;
    rows.truncate(usize::try_from(MOST_ROWS).unwrap_or(usize::MAX));
    Ok(json!({ "exceptions": rows.iter().map(shown).collect::<Vec<_>>(), "more": more }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    sasl_user: String,
    note: Option<String>,
}

async fn add(mquota: &Mquota, add: Add) -> Result<Value, Refused> {
    let user = operating::name("SASL user or domain", add.sasl_user.trim_ascii())?;
    let wanted = names(&user);
    if wanted.is_empty() {
        return Err(Refused::Invalid(format!("{user:?} is neither a user nor a domain")));
    }
    let database = &mquota.context.database;
    let bare = user.trim_start_matches('@').to_owned();
    let alike = operating::one_of("sasl_user", &[user.clone(), format!("@{bare}"), bare]);
    for old in SHEET.rows(database, alike, i64::MIN, MOST_ROWS).await? {
        let same = names(old.text("sasl_user").unwrap_or_default().trim()) == wanted;
        if same && columns::is_active(old.number("is_active")) {
            return Err(Refused::Exists(format!("exception {} says the same", old.id)));
        }
    }
    let note: Option<String> = add.note.as_deref().map(operating::note).transpose()?;
    let values: Vec<(&'static str, Bound)> =
        vec![("is_active", 1.into()), ("sasl_user", user.into()), ("description", note.into())];
    let id = SHEET.insert(database, values).await?;
    let row = SHEET.row(database, id).await?;
    Ok(row.map_or_else(|| json!({ "id": id }), |row| shown(&row)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    ids: Vec<i64>,
}

async fn remove(mquota: &Mquota, named: Named) -> Result<Value, Refused> {
    let database = &mquota.context.database;
    let mut rows = Vec::with_capacity(named.ids.len());
    for &id in &named.ids {
        let row = SHEET.row(database, id).await?;
        rows.push(row.ok_or_else(|| Refused::NotFound(format!("there is no exception {id}")))?);
    }
    for row in &rows {
        SHEET.delete(database, row.id).await?;
    }
    Ok(json!({ "removed": rows.iter().map(shown).collect::<Vec<_>>() }))
}

fn shown(row: &Record) -> Value {
    let user = row.text("sasl_user").unwrap_or_default();
    json!({
        "id": row.id,
        "active": columns::is_active(row.number("is_active")),
        "sasl_user": row.text("sasl_user"),
        "description": row.text("description"),
        "fault": names(user.trim()).is_empty().then_some("it names nobody"),
    })
}
