//! The Postfix-config actor: answers what is local, and remembers the answers.
//!
//! Workers look into the cache themselves; what it does not know goes as one message to the actor, which
//! asks the [`Source`]s on the system arbiter, once per question however many wait for the answer. While
//! a source is away the last known answer serves; without one the answer is "could not ask", never "no".

mod actor;
mod cache;
mod detected;
mod queries;
mod questions;
mod sources;

pub use actor::{LocalQuestions, LocalSettings};
pub use cache::CacheSettings;
pub use detected::{Detected, FollowGuard};
pub use queries::{Queries, QuerySettings};
pub use sources::{Owners, Source, Sources};
