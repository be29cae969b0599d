//! What is said over the control socket: one JSON object a line, a request and its answer in turn.
//!
//! ```text
//! {"v":1,"command":"restart","target":"submission"}
//! {"v":1,"ok":{"restarted":"submission"}}
//! {"v":1,"error":{"code":"not-found","message":"..."}}
//! ```
//!
//! `v` is the version of the protocol. A daemon refuses another version, and a command or key that it does
//! not know, by name: an older daemon never does half of what a newer tool asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of the protocol.
pub const VERSION: u64 = 1;
/// Bytes of a request or an answer, line end included.
pub const MAX_LINE: usize = 4 * 1024 * 1024;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// The statistics ([`actors::stats::report::Report`]).
    Stats,
    /// The listeners of the statistics.
    Listeners,
    /// Restart one supervisor.
    Restart {
        /// A listener, a module, `stats`, `postfix` or `store`.
        target: String,
    },
    /// Stop accepting on a listener.
    Suspend {
        /// Its name.
        listener: String,
    },
    /// Accept again on a listener.
    Resume {
        /// Its name.
        listener: String,
    },
    /// Read the configuration again.
    Reload,
    /// Put the program that is installed now in this one's place.
    Upgrade,
    /// Say what a listener would answer to a request, without any effect.
    Explain {
        /// Its name; absent: the only one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listener: Option<String>,
        /// The request's attributes, by Postfix's names.
        request: BTreeMap<String, String>,
    },
    /// Something that concerns a module's own tables or counters: see [`actors::operate`].
    Operate {
        /// The module's name or, when several have it, their kind.
        module: String,
        /// What it is about: `rule`.
        object: String,
        /// What is to be done: `add`.
        verb: String,
        /// With what.
        arguments: Map<String, Value>,
    },
    /// Say or change what is logged.
    LogLevel {
        /// The new level; absent: only say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<String>,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is no request.
    BadRequest,
    /// The request is of another version of the protocol.
    Version,
    /// Who asks may not.
    NotAllowed,
    /// There is nothing of that name.
    NotFound,
    /// It can't be meant so.
    Invalid,
    /// It is there already.
    Exists,
    /// A database did not answer.
    CouldNotAsk,
    /// It was tried and did not work.
    Failed,
    /// Any kind that a newer daemon knows.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// A refusal of that kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What comes of a command.
pub type Reply = Result<Value, Refusal>;

/// The line that asks for `command`, without its end.
pub fn encode_command(command: &Command) -> String {
    let mut object = match serde_json::to_value(command) {
        Ok(Value::Object(object)) => object,
        _ => unreachable!("a command is written as an object"),
    };
    object.insert("v".to_owned(), VERSION.into());
    Value::Object(object).to_string()
}

/// Reads a request.
pub fn decode_command(line: &[u8]) -> Result<Command, Refusal> {
    let bad = |message: String| Refusal::new(Code::BadRequest, message);
    let mut object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| bad(format!("not a JSON object: {error}")))?;
    check_version(&mut object)?;
    serde_json::from_value(Value::Object(object)).map_err(|error| bad(error.to_string()))
}

/// The line that answers with `reply`, without its end.
pub fn encode_reply(reply: &Reply) -> String {
    match reply {
        Ok(value) => serde_json::json!({ "v": VERSION, "ok": value }),
        Err(refusal) => serde_json::json!({ "v": VERSION, "error": refusal }),
    }
    .to_string()
}

/// Reads an answer.
pub fn decode_reply(line: &[u8]) -> Reply {
    let bad = |message: String| Refusal::new(Code::BadRequest, message);
    let mut object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| bad(format!("the answer is no JSON object: {error}")))?;
    check_version(&mut object)?;
    match (object.remove("ok"), object.remove("error")) {
        (Some(value), None) => Ok(value),
        (None, Some(error)) => Err(serde_json::from_value(error).unwrap_or_else(|error| bad(error.to_string()))),
        _ => Err(bad("the answer is neither ok nor an error".to_owned())),
    }
}

fn check_version(object: &mut Map<String, Value>) -> Result<(), Refusal> {
    match object.remove("v") {
        Some(version) if version == VERSION => Ok(()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |version| version.to_string());
            let message = format!("control protocol version {found}: this program speaks version {VERSION}");
            Err(Refusal::new(Code::Version, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_documented_and_read_back() {
        for (command, line) in [
            (Command::Stats, r#"{"command":"stats","v":1}"#),
            (Command::Restart { target: "a \"b\"".into() }, r#"{"command":"restart","target":"a \"b\"","v":1}"#),
            (Command::LogLevel { level: None }, r#"{"command":"log-level","v":1}"#),
            (Command::LogLevel { level: Some("debug".into()) }, r#"{"command":"log-level","level":"debug","v":1}"#),
        ] {
            assert_eq!(encode_command(&command), line);
            assert_eq!(decode_command(line.as_bytes()), Ok(command));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (line, code, says) in [
            ("", Code::BadRequest, "not a JSON object"),
            ("[]", Code::BadRequest, "not a JSON object"),
            (r#"{"command":"stats"}"#, Code::Version, "version none"),
            (r#"{"v":2,"command":"stats"}"#, Code::Version, "version 2"),
            (r#"{"v":1,"command":"explode"}"#, Code::BadRequest, "explode"),
            (r#"{"v":1,"command":"restart"}"#, Code::BadRequest, "target"),
            (r#"{"v":1,"command":"suspend","listener":"a","force":true}"#, Code::BadRequest, "force"),
        ] {
            let refusal = decode_command(line.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code, "{line}");
            assert!(refusal.message.contains(says), "{line}: {refusal}");
        }
    }

    #[test]
    fn replies_are_read_back() {
        for reply in [Ok(serde_json::json!({"a": [1]})), Ok(Value::Null), Err(Refusal::new(Code::NotFound, "no x"))] {
            assert_eq!(decode_reply(encode_reply(&reply).as_bytes()), reply);
        }
        let newer = br#"{"v":1,"error":{"code":"too-late","message":"m"}}"#;
        assert_eq!(decode_reply(newer).unwrap_err().code, Code::Other);
    }
}
