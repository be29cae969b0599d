//! How addresses are compared, and the rules that match them.

mod domain;
mod key;
mod rule;

pub use self::domain::domain_key;
pub use self::key::AddressKey;
pub use self::rule::{AddressRule, Candidates, RuleForm};
