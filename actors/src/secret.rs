//! Secrets of the configuration: written in it, or in a file of their own.
//!
//! Beside a key `url` stands `url_file`: an absolute path, or the name of a systemd credential
//! (`LoadCredential=`, systemd.exec(5)), which is a file in `$CREDENTIALS_DIRECTORY`. What the file holds is
//! part of no message.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::settings::Section;

/// No secret is longer; protects from a wrong file named by mistake.
const LONGEST: u64 = 64 * 1024;

/// The secret at `key`, written there or in the file at `key_file`; and which of the two keys it was. What is
/// wrong is a fault of `section`.
pub fn secret(section: &mut Section, key: &str) -> Option<(String, String)> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    secret_in(section, key, directory.as_deref())
}

fn secret_in(section: &mut Section, key: &str, credentials: Option<&Path>) -> Option<(String, String)> {
    let key_file = format!("{key}_file");
    let (written, name): (Option<String>, Option<String>) = (section.value(key), section.value(&key_file));
    let Some(name) = name else { return written.map(|text| (text, key.to_owned())) };
    if written.is_some() {
        section.fault(&key_file, format!("stands beside {key}: expected one of the two"));
        return None;
    }
    match file_of(&name, credentials).and_then(|path| read(&path)) {
        Ok(text) => Some((text, key_file)),
        Err(fault) => {
            section.fault(&key_file, fault);
            None
        }
    }
}

/// The path that a value of `..._file` means: absolute, or a credential's name.
///
/// # Errors
/// It is neither, or there are no credentials.
pub fn path_of(name: &str) -> Result<PathBuf, String> {
    file_of(name, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
}

fn file_of(name: &str, credentials: Option<&Path>) -> Result<PathBuf, String> {
    if name.starts_with('/') {
        return Ok(name.into());
    }
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(format!("{name:?}: expected an absolute path, or the name of a systemd credential"));
    }
    match credentials {
        Some(directory) => Ok(directory.join(name)),
        None => Err(format!("{name:?} is the name of a systemd credential, and systemd has passed none")),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |what: &dyn std::fmt::Display| format!("{} can't be read: {what}", path.display());
    // Opening a pipe would wait for its writer.
    let is_file = std::fs::metadata(path).map_err(|error| failed(&error))?.is_file();
    if !is_file {
        return Err(failed(&"it is no regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(failed(&"it is longer than any secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not valid UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed(&"it is empty")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Faults, Node};
    use serde_json::Value;

    fn read_from(keys: &[(&str, &str)], credentials: Option<&Path>) -> (Option<(String, String)>, Vec<String>) {
        let faults = Faults::default();
        let leaf = |text: &str| Node::Leaf { value: Value::from(text), origin: "a.toml:1".into(), from_env: false };
        let keys = keys.iter().map(|(key, text)| ((*key).to_owned(), leaf(text))).collect();
        let mut section = Section::new("database", Node::Table { keys, origin: "a.toml".into() }, faults.clone());
        let found = secret_in(&mut section, "url", credentials);
        section.finish();
        (found, faults.take().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_secret_is_written_in_a_file_or_a_credential() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("url");
        std::fs::write(&path, "mysql://a:secret@b/c\n").expect("written");
        let secret = "mysql://a:secret@b/c".to_owned();
        let in_file = Some((secret.clone(), "url_file".to_owned()));
        assert_eq!(read_from(&[("url", &secret)], None), (Some((secret, "url".to_owned())), vec![]));
        assert_eq!(read_from(&[("url_file", path.to_str().expect("UTF-8"))], None), (in_file.clone(), vec![]));
        assert_eq!(read_from(&[("url_file", "url")], Some(directory.path())), (in_file, vec![]));
        assert_eq!(read_from(&[], None), (None, vec![]));
    }

    #[test]
    fn what_is_wrong_is_named_and_never_the_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bad");
        std::fs::write(&path, b"secret\xff").expect("written");
        let path = path.to_str().expect("UTF-8");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        std::fs::write(directory.path().join("empty"), "\n").expect("written");
        for (keys, says) in [
            (&[("url_file", path)][..], "not valid UTF-8"),
            (&[("url", "secret"), ("url_file", path)], "beside url"),
            (&[("url_file", "/nowhere/secret-file")], "/nowhere/secret-file can't be read"),
            (&[("url_file", "../bad")], "absolute path"),
            (&[("url_file", "pipe")], "no regular file"),
            (&[("url_file", "empty")], "is empty"),
            (&[("url_file", "")], "absolute path"),
        ] {
            let (found, faults) = read_from(keys, Some(directory.path()));
            assert_eq!((found, faults.len()), (None, 1), "{faults:?}");
            assert!(faults[0].starts_with("a.toml:1: database.url_file: ") && faults[0].contains(says), "{faults:?}");
            assert!(!faults[0].contains("secret\u{fffd}"), "{faults:?}");
        }
        let (found, faults) = read_from(&[("url_file", "url")], None);
        assert!(found.is_none() && faults[0].contains("passed none"), "{faults:?}");
    }
}
