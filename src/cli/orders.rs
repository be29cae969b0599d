//! Orders about modules' tables: the words of the command line, what they ask of the daemon, and how the
//! answer is shown. Values are checked by the module that owns the table.

use serde_json::{Map, Value};

use crate::control::protocol::Command;

/// A command for the daemon and how its answer is shown to people.
pub struct Plan {
    /// The command.
    pub command: Command,
    /// The answer as text.
    pub show: fn(&Value) -> String,
}

/// Asks `module` to `verb` an `object`; arguments that are null are left out.
pub fn plan(module: &str, object: &str, verb: &str, arguments: Value, show: fn(&Value) -> String) -> Plan {
    let arguments: Map<String, Value> = match arguments {
        Value::Object(arguments) => arguments.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    };
    let command =
        Command::Operate { module: module.to_owned(), object: object.to_owned(), verb: verb.to_owned(), arguments };
    Plan { command, show }
}

/// Who gives the order, for the `who` column: the person behind `sudo`, else the user of this process.
pub fn who() -> String {
    std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        user.map_or_else(|| "valvulactl".to_owned(), |user| user.name)
    })
}

/// Says that a list is not whole.
pub fn with_more(text: String, answer: &Value) -> String {
    if answer["more"] == true { text + "there are more: filter them (see --help)\n" } else { text }
}
