//! The databases that a start has to bring up to date, and how a schema is read to compare it with another.

use support::{Engine, TestDatabase};

use crate::scene::{RULES, Scene};

/// What a daemon finds at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Empty,
    /// A schema of three steps.
    Older,
    /// The tables of the original Valvula: another engine and character set, fewer columns.
    Original,
}

impl Before {
    pub fn of(engine: Engine) -> &'static [Self] {
        match engine {
            Engine::MariaDb => &[Self::Empty, Self::Older, Self::Original],
            _ => &[Self::Empty, Self::Older],
        }
    }

    /// Rows that are in `bwl_global` before and after.
    pub fn rules(self) -> u32 {
        if self == Self::Empty { 0 } else { RULES }
    }

    /// Makes it so.
    pub fn prepare(self, scene: &Scene) {
        match self {
            Self::Empty => {}
            Self::Older => {
                assert_eq!(scene.home.start().stop(), 0);
                scene.fill();
                scene.database.sql(OLDER);
            }
            Self::Original => {
                scene.database.sql(ORIGINAL);
                scene.fill();
            }
        }
    }
}

const OLDER: &str = "
    DELETE FROM valvula_migration WHERE version >= 'm0004';
    DROP TABLE ticket_plan; DROP TABLE domain_ticket; DROP TABLE domain_ticket_history;
    DROP TABLE domain_month_ticket_history; DROP TABLE outgoing_ip; DROP TABLE time_tracking;
    DROP TABLE lmm_by_domain; DROP TABLE transport_global; DROP TABLE valvula_counter;
    ALTER TABLE bwl_global DROP COLUMN expires; ALTER TABLE bwl_domain DROP COLUMN expires;
    ALTER TABLE bwl_account DROP COLUMN expires; ALTER TABLE bwl_global_sasl DROP COLUMN expires;
";

const ORIGINAL: &str = "
    CREATE TABLE bwl_global (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, source VARCHAR(255),
        destination VARCHAR(20000), description VARCHAR(300), status VARCHAR(32), stamp INT, extra VARCHAR(50))
        ENGINE=MyISAM DEFAULT CHARSET=latin1;
    CREATE TABLE bwl_account (id INT AUTO_INCREMENT PRIMARY KEY, is_active INT, rules_for TEXT, source TEXT,
        status VARCHAR(32)) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_ticket (id INT AUTO_INCREMENT PRIMARY KEY, domain VARCHAR(255), sasl_user VARCHAR(255),
        total_used INT, ticket_plan_id INT) ENGINE=InnoDB DEFAULT CHARSET=latin1;
    CREATE TABLE domain_ticket_history (id INT AUTO_INCREMENT PRIMARY KEY, domain_ticket_id INT, stamp INT)
        ENGINE=MyISAM DEFAULT CHARSET=latin1;
    INSERT INTO bwl_account (id, rules_for) SELECT 7 * seq, CONCAT('ann', seq, '@example.com') FROM seq_1_to_2000;
    INSERT INTO domain_ticket (id, domain, total_used) SELECT seq + 100, CONCAT('d', seq, '.net'), 3 FROM seq_1_to_2000;
";

/// Steps that are noted as applied.
pub fn steps(database: &TestDatabase) -> usize {
    // No table: none.
    database.try_sql("SELECT count(*) FROM valvula_migration;").map_or(0, |count| count.parse().unwrap())
}

/// Tables, columns, indexes, triggers and steps.
pub fn schema(database: &TestDatabase) -> String {
    database.sql(match database.engine() {
        Engine::Sqlite => {
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name;
             SELECT version FROM valvula_migration ORDER BY version; PRAGMA integrity_check;"
        }
        Engine::MariaDb => {
            "SELECT table_name, engine, table_collation FROM information_schema.tables
                 WHERE table_schema = DATABASE() ORDER BY table_name;
             SELECT table_name, ordinal_position, column_name, column_type, is_nullable, column_default, extra,
                 collation_name FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, 2;
             SELECT table_name, index_name, seq_in_index, column_name FROM information_schema.statistics
                 WHERE table_schema = DATABASE() ORDER BY 1, 2, 3;
             SELECT trigger_name, event_manipulation, event_object_table, action_statement
                 FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1;
             SELECT version FROM valvula_migration ORDER BY version;"
        }
        Engine::Postgres => {
            "SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default
                 FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2;
             SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname;
             SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE connamespace = 'public'::regnamespace ORDER BY conrelid::regclass::text, conname;
             SELECT tgname, tgrelid::regclass FROM pg_trigger ORDER BY tgname;
             SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname;
             SELECT version FROM valvula_migration ORDER BY version;"
        }
    })
}
