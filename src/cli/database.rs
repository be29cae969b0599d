//! `-b`: is the database usable, which one is it, and which version has its schema?

use std::time::Duration;

use actors::database::{self, Database};
use slog::{Discard, Logger, o};

use super::exit::{Exit, Failure};

/// A server that does not answer by then is not usable.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found, or why the database is not usable. Changes nothing: an SQLite file that is not there is
/// made by the daemon at its first start, for the user it runs as.
pub async fn check(mut settings: database::Settings) -> Result<String, Failure> {
    settings.start_timeout = settings.start_timeout.min(PATIENCE);
    let no = |message: String| Failure::new(Exit::No, message);
    let url = settings.url.to_string();
    if let Some(file) = settings.url.file().filter(|file| !file.exists()) {
        return Err(no(format!("{url}: {} is not there yet; the daemon makes it at its first start", file.display())));
    }
    let database = Database::open(settings, Logger::root(Discard, o!())).map_err(|error| no(error.to_string()))?;
    database.connect_with_backoff().await.map_err(|error| no(error.to_string()))?;
    let found = database.describe().await.map_err(|error| no(format!("{url}: {error}")))?;
    let connection = database.connection();
    let status = database
        .run(|_| async move { migrations::status(&connection).await })
        .await
        .map_err(|error| no(format!("{url}: {found}, but its schema can't be read: {error}")))?;
    database.close().await;
    if !status.unknown.is_empty() {
        return Err(no(format!(
            "{url}: {found}, schema version {}: newer than this program, which knows versions up to {} (unknown: {})",
            status.database,
            status.program,
            status.unknown.join(", ")
        )));
    }
    let state = match status.pending.len() {
        0 => "up to date".to_owned(),
        pending => format!("{pending} steps to version {} are applied at the next start", status.program),
    };
    Ok(format!("{url}: {found}, schema version {}, {state}", status.database))
}
