//! Lines to systemd's journal, with each value as a field of its own (`VALVULA_LISTENER=`), in the
//! journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::batch::{Line, Value};
use super::line::severity;
use super::syslog::FACILITY;
use super::target::{Lost, Target};

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field: datagrams of some of these fit into a socket's default buffer.
const MAX_VALUE: usize = 16 * 1024;
/// Longest name of a field the journal takes.
const MAX_NAME: usize = 64;

/// The journal.
pub(super) struct Journald {
    path: PathBuf,
    socket: UnixDatagram,
    text: String,
    entry: Vec<u8>,
}

impl Journald {
    /// The journal behind the socket at `path`.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), socket: UnixDatagram::unbound()?, text: String::new(), entry: Vec::new() })
    }
}

impl Target for Journald {
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        self.text.clear();
        self.entry.clear();
        line.write_body(&mut self.text);
        field(&mut self.entry, "MESSAGE", &self.text);
        field(&mut self.entry, "PRIORITY", &severity(line.level).to_string());
        field(&mut self.entry, "SYSLOG_FACILITY", &FACILITY.to_string());
        field(&mut self.entry, "SYSLOG_IDENTIFIER", "valvulad");
        for (key, value) in line.fields() {
            let name = name(key);
            match value {
                Value::Text(text) => field(&mut self.entry, &name, text),
                other => field(&mut self.entry, &name, &other.to_string()),
            }
        }
        // Unconnected: a journal that was restarted is found by its path.
        self.socket.send_to(&self.entry, &self.path)?;
        Ok(())
    }
}

fn name(key: &str) -> String {
    let mut name = String::from("VALVULA_");
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }));
    name.truncate(MAX_NAME);
    name
}

/// The form with a length: a value may then hold anything.
fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(MAX_VALUE)];
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::batch::example;
    use super::*;

    /// The fields of an entry, in the order written.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (length, rest) = entry[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            fields.push((name, String::from_utf8(rest[..length].to_vec()).unwrap()));
            assert_eq!(rest[length], b'\n');
            entry = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn every_value_is_a_field_and_none_can_make_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut journald = Journald::new(&path).unwrap();
        let values = [("queue-id", Value::Text("1\nPRIORITY=0")), ("us", Value::Unsigned(7))];
        journald.write(&example("verdict", &values).first()).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let length = daemon.recv(&mut buffer).unwrap();
        let expected = [
            ("MESSAGE", "verdict queue-id=\"1\\nPRIORITY\\=0\" us=7".replace("\\=", "=")),
            ("PRIORITY", "4".to_owned()),
            ("SYSLOG_FACILITY", "2".to_owned()),
            ("SYSLOG_IDENTIFIER", "valvulad".to_owned()),
            ("VALVULA_QUEUE_ID", "1\nPRIORITY=0".to_owned()),
            ("VALVULA_US", "7".to_owned()),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(fields(&buffer[..length]), expected);
    }
}
