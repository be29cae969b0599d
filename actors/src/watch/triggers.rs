//! The triggers that note each change of a followed table, and the table they note it in.
//!
//! `valvula_change` holds the table's name and the row's id of each change; a row without an id says
//! that anything may have changed. The triggers run in the transaction that makes the change, whoever
//! makes it, so a change is seen when it is committed and not before. They write with the rights of who
//! made them: a panel needs no right on `valvula_change`.
//!
//! A row in which only columns changed that nobody follows is not noted where the follower says that such
//! columns are written all the time (a ticket's counters): a note for each charge would cost as much as the
//! charge. There the trigger names the followed columns, so these can be changed in type, or dropped, only
//! after it was dropped; where it does not matter it names none.
//!
//! They are looked at again from time to time: a table that was dropped and restored has lost them.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, RuntimeErr, SqliteTransactionMode, SqlxError,
    SqlxMySqlError, Statement, TransactionOptions, TransactionTrait as _,
};

use crate::watch::follower::{Column, quote};

/// Where changes are noted.
pub(super) const CHANGES: &str = "valvula_change";
/// How the triggers' names begin. Another text of a trigger gets another number.
const PREFIX: &str = "valvula1_";
/// How the names of those begin that look at columns; at the end stands what tells the columns apart.
const PICKY: &str = "valvula2_";
/// Rows changed by one statement from which on PostgreSQL's triggers note only that there were many.
const MANY: u32 = if cfg!(test) { 1_000 } else { 100_000 };

/// What was found and done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ensured {
    /// They were there.
    Present,
    /// They were made now.
    Made,
    /// They can't be made; what the database said.
    Refused(String),
}

/// A table that has triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noting {
    pub(super) table: &'static str,
    /// The only columns whose change is noted; `None`: any change.
    pub(super) only: Option<&'static [Column]>,
}

impl Noting {
    /// The name of the trigger of `kind`: `i`, `u`, `d`, `t`.
    fn name(&self, kind: &str) -> String {
        let table = self.table;
        match self.only {
            Some(columns) if kind == "u" => format!("{PICKY}{table}_u_{:08x}", tell_apart(columns)),
            _ => format!("{PREFIX}{table}_{kind}"),
        }
    }

    fn names(&self, backend: DatabaseBackend) -> Vec<String> {
        let kinds: &[&str] =
            if backend == DatabaseBackend::Postgres { &["i", "u", "d", "t"] } else { &["i", "u", "d"] };
        kinds.iter().map(|kind| self.name(kind)).collect()
    }

    /// Whether a trigger is one of another version's for UPDATE, which may note more than ours.
    fn is_outdated(&self, name: &str) -> bool {
        let known = [format!("{PREFIX}{}_u", self.table), format!("{PICKY}{}_u", self.table)];
        known
            .iter()
            .any(|known| name.strip_prefix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
            && name != self.name("u")
    }

    /// The condition that one of the columns has changed, byte for byte, whatever the columns' collation.
    fn condition(&self, backend: DatabaseBackend) -> Option<String> {
        let differs = |name: &str| {
            let name = quote(backend, name);
            match backend {
                DatabaseBackend::MySql => format!("NOT (CAST(OLD.{name} AS BINARY) <=> CAST(NEW.{name} AS BINARY))"),
                DatabaseBackend::Postgres => {
                    format!(
                        "CAST(OLD.{name} AS TEXT) COLLATE \"C\" IS DISTINCT FROM CAST(NEW.{name} AS TEXT) COLLATE \"C\""
                    )
                }
                _ => format!("OLD.{name} COLLATE BINARY IS NOT NEW.{name} COLLATE BINARY"),
            }
        };
        let columns = self.only?.iter().map(|column| differs(column.name()));
        Some(std::iter::once("OLD.id <> NEW.id".to_owned()).chain(columns).collect::<Vec<_>>().join(" OR "))
    }
}

/// A number that is another one for other columns: FNV-1a, which stays the same in every version.
fn tell_apart(columns: &[Column]) -> u32 {
    let bytes = columns.iter().flat_map(|column| column.name().bytes().chain([b',']));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Makes the triggers of a table if they are absent. At the start (`is_first`) those of other versions give
/// way to them; later not, since another daemon may be of that version.
pub(super) async fn ensure(pool: &DatabaseConnection, noting: Noting, is_first: bool) -> Result<Ensured, DbErr> {
    let backend = pool.get_database_backend();
    let found = found(pool, noting.table).await?;
    let outdated: Vec<_> = found.iter().filter(|name| is_first && noting.is_outdated(name)).cloned().collect();
    if outdated.is_empty() && present(pool, noting, &found).await? {
        return Ok(Ensured::Present);
    }
    let made = match backend {
        DatabaseBackend::MySql => make_mysql(pool, noting, &outdated).await,
        _ => make(pool, noting, &outdated).await,
    };
    match made {
        Ok(()) => Ok(Ensured::Made),
        // The database answered, and said no.
        Err(error) if is_answer(&error) => Ok(Ensured::Refused(error.to_string())),
        Err(error) => Err(error),
    }
}

fn is_answer(error: &DbErr) -> bool {
    matches!(
        error,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))
            if matches!(**error, SqlxError::Database(_))
    )
}

/// The names of the triggers that the table has.
async fn found(pool: &DatabaseConnection, table: &str) -> Result<Vec<String>, DbErr> {
    let backend = pool.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?",
        DatabaseBackend::MySql => {
            "SELECT CAST(TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = ?"
        }
        _ => {
            "SELECT CAST(tgname AS TEXT) FROM pg_catalog.pg_trigger \
             WHERE tgrelid = to_regclass(quote_ident($1)) AND tgenabled <> 'D'"
        }
    };
    let rows = pool.query_all_raw(Statement::from_sql_and_values(backend, sql, [table.into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

async fn present(pool: &DatabaseConnection, noting: Noting, found: &[String]) -> Result<bool, DbErr> {
    let backend = pool.get_database_backend();
    if !noting.names(backend).iter().all(|name| found.contains(name)) {
        return Ok(false);
    }
    // A restored backup may hold the triggers and not their table: then no change could be made at all.
    let asked = pool.query_one_raw(Statement::from_string(backend, format!("SELECT 1 FROM {CHANGES} LIMIT 1"))).await;
    match asked {
        Err(error) if is_answer(&error) => Ok(false),
        other => other.map(|_| true),
    }
}

/// SQLite and PostgreSQL: all or nothing, one daemon at a time.
async fn make(pool: &DatabaseConnection, noting: Noting, outdated: &[String]) -> Result<(), DbErr> {
    let backend = pool.get_database_backend();
    // SQLite's other writers are waited for at the beginning, or not at all.
    let mode = (backend == DatabaseBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
    let transaction = pool.begin_with_options(options).await?;
    let mut statements = match backend {
        DatabaseBackend::Sqlite => sqlite(noting),
        _ => {
            // Whoever holds the table for longer is not to be waited for: all others would wait behind us.
            transaction
                .execute_unprepared("SET LOCAL lock_timeout = '2s'; SELECT pg_advisory_xact_lock(8530211521)")
                .await?;
            postgres(noting)
        }
    };
    statements.extend(outdated.iter().map(|name| drop_trigger(backend, noting.table, name)));
    for statement in statements {
        transaction.execute_unprepared(&statement).await?;
    }
    transaction.commit().await
}

async fn make_mysql(pool: &DatabaseConnection, noting: Noting, outdated: &[String]) -> Result<(), DbErr> {
    // A transaction only so as to stay on one connection, whose patience is set.
    let connection = pool.begin().await?;
    let mut result = connection.execute_unprepared("SET SESSION lock_wait_timeout = 2").await.map(drop);
    // What is to go goes last: no change is left unnoted.
    let drops = outdated.iter().map(|name| drop_trigger(DatabaseBackend::MySql, noting.table, name));
    for statement in mysql(noting).into_iter().chain(drops) {
        if result.is_err() {
            break;
        }
        result = match connection.execute_unprepared(&statement).await {
            // Another daemon was faster.
            Err(error) if mysql_number(&error) == Some(1359) => Ok(()),
            other => other.map(drop),
        };
    }
    let restored = connection.execute_unprepared("SET SESSION lock_wait_timeout = 60").await;
    connection.commit().await?;
    result.and(restored.map(drop))
}

fn mysql_number(error: &DbErr) -> Option<u16> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return None;
    };
    let SqlxError::Database(error) = &**error else { return None };
    error.try_downcast_ref::<SqlxMySqlError>().map(SqlxMySqlError::number)
}

fn drop_trigger(backend: DatabaseBackend, table: &str, name: &str) -> String {
    let name = quote(backend, name);
    match backend {
        DatabaseBackend::Postgres => format!("DROP TRIGGER IF EXISTS {name} ON {}", quote(backend, table)),
        _ => format!("DROP TRIGGER IF EXISTS {name}"),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn sqlite(noting: Noting) -> Vec<String> {
    let (on, name) = (quote(DatabaseBackend::Sqlite, noting.table), literal(noting.table));
    let changed =
        noting.condition(DatabaseBackend::Sqlite).map(|changed| format!(" WHEN {changed}")).unwrap_or_default();
    let note = |id: &str, when: &str| {
        // Not unixepoch(): the client that makes the change may be older than that.
        format!(
            "INSERT INTO {CHANGES} (tbl, row_id, stamp) SELECT {name}, {id}, CAST(strftime('%s', 'now') AS INTEGER){when};"
        )
    };
    let trigger = |kind: &str, event: &str, when: &str, body: String| {
        let trigger = noting.name(kind);
        format!("CREATE TRIGGER IF NOT EXISTS \"{trigger}\" AFTER {event} ON {on}{when} BEGIN {body} END")
    };
    vec![
        // AUTOINCREMENT: a number is never used again, also when the last rows were pruned.
        format!(
            "CREATE TABLE IF NOT EXISTS {CHANGES} (id INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, \
             row_id INTEGER, stamp INTEGER NOT NULL)"
        ),
        trigger("i", "INSERT", "", note("NEW.id", "")),
        trigger("u", "UPDATE", &changed, note("NEW.id", "") + &note("OLD.id", " WHERE OLD.id <> NEW.id")),
        trigger("d", "DELETE", "", note("OLD.id", "")),
    ]
}

fn mysql(noting: Noting) -> Vec<String> {
    let (on, name) = (quote(DatabaseBackend::MySql, noting.table), literal(noting.table));
    // One row at a time by VALUES: INSERT ... SELECT would hold the counter's lock.
    let note = |id: &str, op: &str| {
        format!("INSERT INTO {CHANGES} (tbl, row_id, op, stamp) VALUES ({name}, {id}, '{op}', UNIX_TIMESTAMP())")
    };
    let trigger = |kind: &str, event: &str, body: String| {
        format!("CREATE TRIGGER `{}` AFTER {event} ON {on} FOR EACH ROW {body}", noting.name(kind))
    };
    let is = match noting.condition(DatabaseBackend::MySql) {
        None => note("NEW.id", "U"),
        Some(changed) => format!("IF {changed} THEN {}; END IF", note("NEW.id", "U")),
    };
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {CHANGES} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
             tbl VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL, row_id BIGINT NULL, op CHAR(1) CHARACTER SET utf8mb4 \
             NOT NULL, stamp BIGINT NOT NULL) ENGINE = InnoDB"
        ),
        trigger("i", "INSERT", note("NEW.id", "I")),
        trigger("u", "UPDATE", format!("BEGIN {is}; IF OLD.id <> NEW.id THEN {}; END IF; END", note("OLD.id", "D"))),
        trigger("d", "DELETE", note("OLD.id", "D")),
    ]
}

fn postgres(noting: Noting) -> Vec<String> {
    let on = quote(DatabaseBackend::Postgres, noting.table);
    let trigger = |kind: &str, event: &str, does: &str| {
        let name = quote(DatabaseBackend::Postgres, &noting.name(kind));
        [
            format!("DROP TRIGGER IF EXISTS {name} ON {on}"),
            format!("CREATE TRIGGER {name} AFTER {event} ON {on} {does}"),
        ]
    };
    let by_statement = |tables: &str| format!("{tables} FOR EACH STATEMENT EXECUTE FUNCTION valvula_note_change()");
    // With a condition it is tried for each row, before any function is called.
    let update = match noting.condition(DatabaseBackend::Postgres) {
        None => by_statement("REFERENCING OLD TABLE AS valvula_old NEW TABLE AS valvula_new"),
        Some(changed) => format!("FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION valvula_note_row()"),
    };
    // No number of its own: a sequence would change what lastval() gives to who makes the change.
    let mut statements = vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {CHANGES} (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), \
             tbl TEXT NOT NULL, row_id BIGINT, stamp BIGINT NOT NULL)"
        ),
        format!("ALTER TABLE {CHANGES} REPLICA IDENTITY FULL"),
        format!("CREATE INDEX IF NOT EXISTS {CHANGES}_xid ON {CHANGES} (xid)"),
        function(),
    ];
    if noting.only.is_some() {
        statements.push(row_function());
    }
    statements.extend(trigger("i", "INSERT", &by_statement("REFERENCING NEW TABLE AS valvula_new")));
    statements.extend(trigger("u", "UPDATE", &update));
    statements.extend(trigger("d", "DELETE", &by_statement("REFERENCING OLD TABLE AS valvula_old")));
    statements.extend(trigger("t", "TRUNCATE", &by_statement("")));
    statements
}

/// Notes one row. Like the other, it runs with the rights, and in the schema, of who made it.
fn row_function() -> String {
    let note = |id: &str| {
        format!(
            "INSERT INTO {CHANGES} (tbl, row_id, stamp) \
             VALUES (TG_TABLE_NAME, {id}, extract(epoch FROM clock_timestamp())::bigint)"
        )
    };
    format!(
        "CREATE OR REPLACE FUNCTION valvula_note_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path FROM CURRENT AS $$ BEGIN {}; \
         IF OLD.id <> NEW.id THEN {}; END IF; RETURN NULL; END $$",
        note("NEW.id"),
        note("OLD.id"),
    )
}

/// One function for all tables. It runs with the rights, and in the schema, of who made it.
fn function() -> String {
    let branch = |ids: &str| {
        format!(
            "SELECT count(*) INTO number FROM (SELECT 1 FROM ({ids}) AS changed LIMIT {}) AS counted; \
             IF number <= {MANY} THEN INSERT INTO {CHANGES} (tbl, row_id, stamp) \
             SELECT TG_TABLE_NAME, changed.id, extract(epoch FROM clock_timestamp())::bigint FROM ({ids}) AS changed; \
             RETURN NULL; END IF;",
            MANY + 1
        )
    };
    format!(
        "CREATE OR REPLACE FUNCTION valvula_note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path FROM CURRENT AS $$ DECLARE number bigint; BEGIN \
         IF TG_OP = 'INSERT' THEN {} \
         ELSIF TG_OP = 'UPDATE' THEN {} \
         ELSIF TG_OP = 'DELETE' THEN {} END IF; \
         INSERT INTO {CHANGES} (tbl, row_id, stamp) \
         VALUES (TG_TABLE_NAME, NULL, extract(epoch FROM clock_timestamp())::bigint); RETURN NULL; END $$",
        branch("SELECT id FROM valvula_new"),
        branch("SELECT id FROM valvula_new UNION SELECT id FROM valvula_old"),
        branch("SELECT id FROM valvula_old"),
    )
}
