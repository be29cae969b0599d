//! What an operator asks of a module's own tables and counters: rules, exceptions, quotas, tickets.
//!
//! The runtime knows nothing of what the words mean; it only carries them from the control socket to the
//! module that owns the tables, and tells apart what was refused from what could not be asked.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::module::Unavailable;

/// An order, for example to `add` a `rule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it is about: `rule`, `ticket-plan`.
    pub object: String,
    /// What is to be done: `list`, `add`.
    pub verb: String,
    /// With what.
    pub arguments: Map<String, Value>,
}

impl Order {
    /// Object and verb, to be matched.
    pub fn words(&self) -> (&str, &str) {
        (&self.object, &self.verb)
    }

    /// The arguments as what the module expects (`deny_unknown_fields` there, so that nothing that a newer
    /// tool asks for is passed over in silence).
    ///
    /// # Errors
    /// When they are something else.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Refused> {
        serde_json::from_value(Value::Object(self.arguments))
            .map_err(|error| Refused::Invalid(format!("{} {}: {error}", self.object, self.verb)))
    }

    /// The refusal of an order that the module does not know.
    pub fn unknown(&self) -> Refused {
        Refused::Invalid(format!("this module does not know how to {} {}", self.verb, self.object))
    }
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// For the operator.
    pub value: Value,
    /// Whether tables were changed, so that all modules of the kind must look at them again.
    pub changed: bool,
}

impl Done {
    /// Something was only looked at.
    pub fn seen(value: Value) -> Self {
        Self { value, changed: false }
    }

    /// Something was changed.
    pub fn changed(value: Value) -> Self {
        Self { value, changed: true }
    }
}

/// Why an order was not carried out. Nothing has changed then, except after [`Refused::CouldNotAsk`], where
/// it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The order can't be meant so.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing of that name or number.
    #[error("{0}")]
    NotFound(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// The database did not answer.
    #[error("{0}")]
    CouldNotAsk(String),
}

impl Refused {
    /// The order can't be meant so.
    pub fn invalid(why: impl std::fmt::Display) -> Self {
        Self::Invalid(why.to_string())
    }
}

impl From<sea_orm::DbErr> for Refused {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::CouldNotAsk(format!("database: {error}"))
    }
}

impl From<Unavailable> for Refused {
    fn from(unavailable: Unavailable) -> Self {
        Self::CouldNotAsk(unavailable.what.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        id: i64,
    }

    fn order(arguments: Value) -> Order {
        let Value::Object(arguments) = arguments else { panic!("no object") };
        Order { object: "rule".to_owned(), verb: "remove".to_owned(), arguments }
    }

    #[test]
    fn arguments_are_read_whole_or_refused_by_name() {
        assert_eq!(order(json!({"id": 7})).read::<Arguments>(), Ok(Arguments { id: 7 }));
        for (wrong, says) in
            [(json!({}), "id"), (json!({"id": "x"}), "invalid type"), (json!({"id": 1, "force": true}), "force")]
        {
            let refused = order(wrong).read::<Arguments>().unwrap_err().to_string();
            assert!(refused.starts_with("rule remove: ") && refused.contains(says), "{refused}");
        }
    }
}
