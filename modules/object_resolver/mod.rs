//! mod-object-resolver: another source for the local questions, for servers whose domains and users are kept
//! by something else than Postfix's tables: Plesk.
//!
//! It decides no request. Its section alone switches it on, no chain need name it. A database that is
//! absent or can't be read is "could not ask", with one warning.

mod plesk;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use actors::module::{BoxFuture, Configured, Decide, Module, ModuleContext, ModuleType, Query, StartError};
use actors::postfix_config::Source;
use actors::settings::Section;
use slog::Logger;

use self::plesk::Plesk;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `object-resolver`, what is local by Plesk's database.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "object-resolver"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        let database = section.or("plesk_database", PathBuf::from("/var/spool/postfix/plesk/passwd.db"));
        if !database.is_absolute() {
            section.fault("plesk_database", format!("{} is not an absolute path", database.display()));
        }
        Box::new(Settings { database, recipient_delimiter: section.or("recipient_delimiter", "+".to_owned()) })
    }
}

struct Settings {
    database: PathBuf,
    /// Each of its characters begins an extension, which users of the database do not have.
    recipient_delimiter: String,
}

impl Configured for Settings {
    fn start(self: Box<Self>, _: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async { Ok(Arc::new(ObjectResolver) as Arc<dyn Module>) })
    }

    fn source(&self, log: &Logger) -> Option<Arc<dyn Source>> {
        Some(Arc::new(Plesk::new(self.database.clone(), self.recipient_delimiter.as_bytes(), log)))
    }
}

/// In a chain it has no opinion.
struct ObjectResolver;

impl Module for ObjectResolver {
    fn decide(self: Arc<Self>, _: Arc<Query>) -> Decide {
        Decide::DUNNO
    }
}
