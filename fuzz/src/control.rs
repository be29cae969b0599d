//! Lines of the control socket.

#[path = "../../src/control/protocol.rs"]
#[allow(dead_code)] // the bound of a line is the socket's business
mod protocol;

use protocol::{Code, Refusal, decode_command, decode_reply, encode_command, encode_reply};

/// A command, a reply and a refusal that were understood are written as one line and read back as the same.
pub fn control(data: &[u8]) {
    match decode_command(data) {
        Ok(command) => {
            let line = encode_command(&command);
            assert!(!line.contains('\n'));
            let back = decode_command(line.as_bytes());
            assert!(back.is_ok());
            if !serde_json::from_slice(data).is_ok_and(|value| has_fraction(&value)) {
                assert_eq!(back, Ok(command));
            }
        }
        Err(refusal) => {
            assert!(matches!(refusal.code, Code::BadRequest | Code::Version), "{refusal:?}");
            is_carried(&Err(refusal));
        }
    }
    let reply = decode_reply(data);
    is_carried(&reply);
}

/// Whether it comes through the socket as it is. What was no reply is a refusal by now.
fn is_carried(reply: &Result<serde_json::Value, Refusal>) {
    let line = encode_reply(reply);
    assert!(!line.contains('\n'));
    let back = decode_reply(line.as_bytes());
    assert_eq!(back.is_ok(), reply.is_ok());
    if !reply.as_ref().is_ok_and(has_fraction) {
        assert_eq!(&back, reply);
    }
}

/// Whether there is a number that is not whole: serde_json reads those to within their last digit, which no
/// command and no reply of ours minds.
fn has_fraction(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(items) => items.iter().any(has_fraction),
        serde_json::Value::Object(keys) => keys.values().any(has_fraction),
        _ => false,
    }
}
