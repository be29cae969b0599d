//! The triggers that note each change of a followed table, and the table they note it in.
//!
//! `valvula_change` holds the table's name and the row's id of each change; a row without an id says
//! that anything may have changed. The triggers run in the transaction that makes the change, whoever
//! makes it, so a change is seen when it is committed and not before. They write with the rights of who
//! made them: a panel needs no right on `valvula_change`.
//!
//! They are looked at again from time to time: a table that was dropped and restored has lost them.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, RuntimeErr, SqlxError, SqlxMySqlError, Statement,
    TransactionTrait as _,
};

use crate::watch::follower::quote;

/// Where changes are noted.
pub(super) const CHANGES: &str = "valvula_change";
/// How the triggers' names begin. Another text of a trigger gets another number.
const PREFIX: &str = "valvula1_";
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

/// Makes the triggers of `table` if they are absent.
pub(super) async fn ensure(pool: &DatabaseConnection, table: &str) -> Result<Ensured, DbErr> {
    let backend = pool.get_database_backend();
    if present(pool, table).await? {
        return Ok(Ensured::Present);
    }
    let made = match backend {
        DatabaseBackend::MySql => make_mysql(pool, table).await,
        _ => make(pool, table).await,
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

fn names(backend: DatabaseBackend, table: &str) -> Vec<String> {
    let kinds: &[&str] = if backend == DatabaseBackend::Postgres { &["i", "u", "d", "t"] } else { &["i", "u", "d"] };
    kinds.iter().map(|kind| format!("{PREFIX}{table}_{kind}")).collect()
}

async fn present(pool: &DatabaseConnection, table: &str) -> Result<bool, DbErr> {
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
    let found: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    if !names(backend, table).iter().all(|name| found.contains(name)) {
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
async fn make(pool: &DatabaseConnection, table: &str) -> Result<(), DbErr> {
    let transaction = pool.begin().await?;
    let statements = match pool.get_database_backend() {
        DatabaseBackend::Sqlite => sqlite(table),
        _ => {
            // Whoever holds the table for longer is not to be waited for: all others would wait behind us.
            transaction
                .execute_unprepared("SET LOCAL lock_timeout = '2s'; SELECT pg_advisory_xact_lock(8530211521)")
                .await?;
            postgres(table)
        }
    };
    for statement in statements {
        transaction.execute_unprepared(&statement).await?;
    }
    transaction.commit().await
}

async fn make_mysql(pool: &DatabaseConnection, table: &str) -> Result<(), DbErr> {
    // A transaction only so as to stay on one connection, whose patience is set.
    let connection = pool.begin().await?;
    let mut result = connection.execute_unprepared("SET SESSION lock_wait_timeout = 2").await.map(drop);
    for statement in mysql(table) {
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

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn sqlite(table: &str) -> Vec<String> {
    let (on, name) = (quote(DatabaseBackend::Sqlite, table), literal(table));
    let note = |id: &str, when: &str| {
        // Not unixepoch(): the client that makes the change may be older than that.
        format!(
            "INSERT INTO {CHANGES} (tbl, row_id, stamp) SELECT {name}, {id}, CAST(strftime('%s', 'now') AS INTEGER){when};"
        )
    };
    let trigger = |kind: &str, event: &str, body: String| {
        format!("CREATE TRIGGER IF NOT EXISTS \"{PREFIX}{table}_{kind}\" AFTER {event} ON {on} BEGIN {body} END")
    };
    vec![
        // AUTOINCREMENT: a number is never used again, also when the last rows were pruned.
        format!(
            "CREATE TABLE IF NOT EXISTS {CHANGES} (id INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, \
             row_id INTEGER, stamp INTEGER NOT NULL)"
        ),
        trigger("i", "INSERT", note("NEW.id", "")),
        trigger("u", "UPDATE", note("NEW.id", "") + &note("OLD.id", " WHERE OLD.id <> NEW.id")),
        trigger("d", "DELETE", note("OLD.id", "")),
    ]
}

fn mysql(table: &str) -> Vec<String> {
    let (on, name) = (quote(DatabaseBackend::MySql, table), literal(table));
    // One row at a time by VALUES: INSERT ... SELECT would hold the counter's lock.
    let note = |id: &str, op: &str| {
        format!("INSERT INTO {CHANGES} (tbl, row_id, op, stamp) VALUES ({name}, {id}, '{op}', UNIX_TIMESTAMP())")
    };
    let trigger = |kind: &str, event: &str, body: String| {
        format!("CREATE TRIGGER `{PREFIX}{table}_{kind}` AFTER {event} ON {on} FOR EACH ROW {body}")
    };
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {CHANGES} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
             tbl VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL, row_id BIGINT NULL, op CHAR(1) CHARACTER SET utf8mb4 \
             NOT NULL, stamp BIGINT NOT NULL) ENGINE = InnoDB"
        ),
        trigger("i", "INSERT", note("NEW.id", "I")),
        trigger(
            "u",
            "UPDATE",
            format!("BEGIN {}; IF OLD.id <> NEW.id THEN {}; END IF; END", note("NEW.id", "U"), note("OLD.id", "D")),
        ),
        trigger("d", "DELETE", note("OLD.id", "D")),
    ]
}

fn postgres(table: &str) -> Vec<String> {
    let on = quote(DatabaseBackend::Postgres, table);
    let trigger = |kind: &str, event: &str, tables: &str| {
        let name = quote(DatabaseBackend::Postgres, &format!("{PREFIX}{table}_{kind}"));
        [
            format!("DROP TRIGGER IF EXISTS {name} ON {on}"),
            format!(
                "CREATE TRIGGER {name} AFTER {event} ON {on} {tables} FOR EACH STATEMENT \
                 EXECUTE FUNCTION valvula_note_change()"
            ),
        ]
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
    statements.extend(trigger("i", "INSERT", "REFERENCING NEW TABLE AS valvula_new"));
    statements.extend(trigger("u", "UPDATE", "REFERENCING OLD TABLE AS valvula_old NEW TABLE AS valvula_new"));
    statements.extend(trigger("d", "DELETE", "REFERENCING OLD TABLE AS valvula_old"));
    statements.extend(trigger("t", "TRUNCATE", ""));
    statements
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
