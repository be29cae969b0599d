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
            assert_eq!(decode_command(line.as_bytes()), Ok(command));
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
    assert_eq!(&decode_reply(line.as_bytes()), reply);
}
