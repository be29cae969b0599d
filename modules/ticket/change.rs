//! The change of day and month: once per database, however many daemons share it.

use actors::database::Database;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sea_orm::{ConnectionTrait as _, DbErr};
use slog::{Logger, info};

use super::day;
use super::sql::Sql;

/// Does what is due at the change of day, unless another daemon has done it.
pub async fn change_day(
    database: &Database,
    sql: Sql,
    zone: &TimeZone,
    today: Date,
    log: &Logger,
) -> Result<(), DbErr> {
    let transaction = database.begin_to_write().await?;
    let rows = transaction.query_all_raw(sql.tracked()).await?;
    let tracked: Option<(Option<i64>, Option<i64>)> =
        rows.first().map(|row| Ok::<_, DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()?;
    let due = match tracked {
        None => day::Due::Note,
        Some((day, month)) => day::due(zone, today, day, month),
    };
    match due {
        day::Due::Nothing => transaction.rollback().await?,
        day::Due::Note => {
            transaction.execute_raw(sql.track(today, tracked.is_none())).await?;
            transaction.commit().await?;
        }
        day::Due::Change(change) => {
            for statement in sql.close(change) {
                transaction.execute_raw(statement).await?;
            }
            transaction.execute_raw(sql.track(today, false)).await?;
            transaction.commit().await?;
            info!(log, "a day of tickets ended"; "today" => %today, "month" => change.month_end.is_some());
        }
    }
    Ok(())
}
