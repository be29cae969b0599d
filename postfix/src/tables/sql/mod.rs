//! `mysql:`, `pgsql:` and `sqlite:` tables: mysql_table(5), pgsql_table(5), sqlite_table(5).
//!
//! The administrator's query is sent with the key as a bound value: what stands in a key is never part of
//! SQL text. A query that cannot be sent so (a placeholder outside quotes, comments, options of the client
//! library) is left to `postmap`.

mod connection;
mod hosts;
mod statement;
mod template;

use std::path::Path;
use std::sync::Arc;

use crate::answer::{Evidence, Verdict};
use crate::list::{MatchList, Reading, Subdomains};
use crate::maincf::MainCf;

use super::{Asked, TableError, Tables};
use connection::Servers;
use statement::Statement;
use template::{Key, Needs, Template};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    MySql,
    Postgres,
    Sqlite,
}

/// An open table.
#[derive(Debug)]
pub(super) struct SqlTable {
    backend: Backend,
    statement: Statement,
    result_format: Template,
    needs: Needs,
    /// `domain`: only addresses in these are looked for.
    domains: Option<MatchList>,
    expansion_limit: u64,
    servers: Arc<Servers>,
}

/// A table's file.
struct File(MainCf);

impl File {
    /// The value of `name`; empty when it is not set.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.value.as_str())
    }
}

/// Opens the table that the file `path` with `text` describes. `None`: `postmap` has to be asked.
pub(super) fn open(tables: &Tables, kind: &str, path: &str, text: &str) -> Result<Option<SqlTable>, String> {
    let backend = match kind {
        "mysql" => Backend::MySql,
        "pgsql" => Backend::Postgres,
        _ => Backend::Sqlite,
    };
    let parsed = MainCf::parse(Path::new(path), text.as_bytes())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let file = File(parsed);
    // Settings of the client library that we do not follow.
    let unknown = file.0.names().any(|name| {
        name.starts_with("tls_") || matches!(name, "option_file" | "option_group" | "charset" | "encoding")
    });
    if unknown || matches!(file.get("require_result_set"), "no") {
        return Ok(None);
    }
    let query = match file.get("query") {
        "" => legacy_query(backend, &file)
            .ok_or_else(|| format!("{path}: neither query nor the parameters of its old form"))?,
        query => query.to_owned(),
    };
    let mut needs = Needs::default();
    let template = Template::parse(&query, true, &mut needs).map_err(|why| format!("{path}: query: {why}"))?;
    let format = match file.get("result_format") {
        "" => "%s",
        format => format,
    };
    let result_format =
        Template::parse(format, false, &mut needs).map_err(|why| format!("{path}: result_format: {why}"))?;
    let Some(statement) = Statement::new(&template, backend) else { return Ok(None) };
    let Some(servers) = Servers::new(backend, path, &file)? else { return Ok(None) };
    let expansion_limit = match file.get("expansion_limit") {
        "" => 0,
        number => number.parse().map_err(|_| format!("{path}: expansion_limit: {number:?} is not a number"))?,
    };
    let domains = match file.get("domain") {
        "" => None,
        list => Some(MatchList::parse("domain", list, Subdomains::None, tables, &mut Reading::default())),
    };
    Ok(Some(SqlTable {
        backend,
        statement,
        result_format,
        needs,
        domains,
        expansion_limit,
        servers: Arc::new(servers),
    }))
}

/// The query of the form before Postfix 2.2: `select_field`, `table`, `where_field`,
/// `additional_conditions`; for PostgreSQL also `select_function`.
fn legacy_query(backend: Backend, file: &File) -> Option<String> {
    let function = file.get("select_function");
    if backend == Backend::Postgres && !function.is_empty() {
        return Some(format!("SELECT {function}('%s')"));
    }
    let (field, table, condition) = (file.get("select_field"), file.get("table"), file.get("where_field"));
    if [field, table, condition].contains(&"") {
        return None;
    }
    Some(format!("SELECT {field} FROM {table} WHERE {condition} = '%s' {}", file.get("additional_conditions")))
}

impl SqlTable {
    /// The value of `key`, which is in lower case.
    pub async fn get(&self, key: &str) -> Result<Asked, TableError> {
        let parts = Key::new(key);
        if let Some(domains) = &self.domains {
            // Only addresses with a local part are looked for, and only in these domains.
            let Some(domain) = parts.domain.filter(|_| !parts.user.is_empty()) else { return Ok(Asked::Known(None)) };
            let mut evidence = Evidence::default();
            match Box::pin(domains.matches(&[domain.as_bytes().to_vec()], &mut evidence)).await {
                Verdict::Yes => {}
                Verdict::No => return Ok(Asked::Known(None)),
                Verdict::CouldNotAsk => return Err(TableError(evidence.to_string())),
            }
        }
        if !self.needs.satisfied_by(&parts) {
            return Ok(Asked::Known(None));
        }
        // Before 3.8 Postfix told PostgreSQL that its bytes are Latin-1.
        if self.backend == Backend::Postgres && !key.is_ascii() {
            return Ok(Asked::NotSure);
        }
        let values = self.statement.values(&parts);
        let rows = match self.servers.query(self.statement.text(), &values).await {
            Ok(Some(rows)) => rows,
            Ok(None) => return Ok(Asked::NotSure),
            // What the client library makes of other characters depends on how it is set up.
            Err(_) if !key.is_ascii() => return Ok(Asked::NotSure),
            Err(error) => return Err(error),
        };
        let mut results = Vec::new();
        for value in rows.into_iter().flatten().flatten() {
            let text = String::from_utf8_lossy(&value);
            if let Some(result) = self.result_format.result(&text, &parts, &self.needs) {
                results.push(result);
                if self.expansion_limit > 0 && results.len() as u64 > self.expansion_limit {
                    return Err(TableError(format!("more than expansion_limit = {} results", self.expansion_limit)));
                }
            }
        }
        let joined = results.join(",");
        Ok(Asked::Known((!joined.is_empty()).then(|| joined.into_bytes())))
    }
}
