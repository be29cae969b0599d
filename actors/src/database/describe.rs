//! Which product, and which version of it, answers.

use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, Statement};

/// What answers at the database's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `SQLite`, `MySQL`, `MariaDB` or `PostgreSQL`.
    pub product: &'static str,
    /// As the server says it: `10.11.14`, `8.0.36`, `15.14`.
    pub version: String,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.version)
    }
}

pub(super) async fn describe(pool: &DatabaseConnection) -> Result<Description, DbErr> {
    let backend = pool.get_database_backend();
    let question = match backend {
        DatabaseBackend::Sqlite => "SELECT sqlite_version()",
        DatabaseBackend::MySql => "SELECT CAST(VERSION() AS CHAR)",
        _ => "SELECT current_setting('server_version')",
    };
    let row = pool.query_one_raw(Statement::from_string(backend, question)).await?;
    let said: String =
        row.ok_or_else(|| DbErr::RecordNotFound("the server's version".to_owned()))?.try_get_by_index(0)?;
    Ok(read(backend, &said))
}

fn read(backend: DatabaseBackend, said: &str) -> Description {
    // "15.14 (Debian 15.14-0+deb12u1)", "10.11.14-MariaDB-0+deb12u2", "5.5.5-10.3.9-MariaDB"
    let number = |text: &str| text.split([' ', '-']).next().unwrap_or_default().to_owned();
    match backend {
        DatabaseBackend::Sqlite => Description { product: "SQLite", version: said.to_owned() },
        // An old replication trick: MariaDB may put this before its own number.
        DatabaseBackend::MySql if said.contains("MariaDB") => {
            Description { product: "MariaDB", version: number(said.trim_start_matches("5.5.5-")) }
        }
        DatabaseBackend::MySql => Description { product: "MySQL", version: number(said) },
        _ => Description { product: "PostgreSQL", version: number(said) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mariadb_is_told_from_mysql() {
        let said = |text| read(DatabaseBackend::MySql, text).to_string();
        assert_eq!(said("10.11.14-MariaDB-0+deb12u2"), "MariaDB 10.11.14");
        assert_eq!(said("5.5.5-10.3.9-MariaDB"), "MariaDB 10.3.9");
        assert_eq!(said("8.0.36"), "MySQL 8.0.36");
        assert_eq!(read(DatabaseBackend::Postgres, "15.14 (Debian 15.14-0)").to_string(), "PostgreSQL 15.14");
    }
}
