//! The runtime of a policy server.

pub mod clock;
pub mod counting;
pub mod local;
pub mod module;
pub mod settings;
pub mod stats;
pub mod database {
    //! The daemon's database (placeholder until it lands).
    /// The daemon's database. Cheap to clone.
    #[derive(Clone)]
    pub struct Database(pub sea_orm::DatabaseConnection);
}
