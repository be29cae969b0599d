//! What the oracle tests share: Postfix's own commands on a private configuration directory.

#![allow(dead_code, reason = "each test uses its part")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use postfix::{Table, Tables};

/// The program `name` of Postfix. Without it these tests prove nothing: they fail.
pub fn program(name: &str) -> PathBuf {
    postfix::find_program(name, None).unwrap_or_else(|| {
        panic!(
            "{name} is not installed, and this test compares with it: apt-get install postfix postfix-cdb \
             postfix-lmdb postfix-mysql postfix-pcre postfix-pgsql postfix-sqlite"
        )
    })
}

/// A private configuration directory.
pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn new(main: &str) -> Self {
        let directory = Self(tempfile::Builder::new().prefix("valvula-pf-").tempdir().expect("a directory"));
        // postmap gives up root for the owner of a table's file, and must still reach it.
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode is set");
        directory.write("main.cf", main);
        directory.write("master.cf", "smtp inet n - n - - smtpd\n");
        let modules = Path::new("/etc/postfix/dynamicmaps.cf");
        if modules.exists() {
            std::fs::copy(modules, directory.file("dynamicmaps.cf")).expect("the list of table types");
            std::os::unix::fs::symlink("/etc/postfix/dynamicmaps.cf.d", directory.file("dynamicmaps.cf.d"))
                .expect("a link");
        }
        directory
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file
    }

    /// `postconf -x -h`: the expanded values; `None` when Postfix refuses the configuration.
    pub fn postconf(&self, names: &[&str]) -> Option<Vec<String>> {
        let mut command = Command::new(program("postconf"));
        command.arg("-c").arg(self.path()).args(["-x", "-h"]).args(names).stdin(Stdio::null());
        let output = command.output().expect("postconf runs");
        let lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        (output.status.success() && lines.len() == names.len()).then_some(lines)
    }

    /// Makes an indexed table out of a text file.
    pub fn postmap(&self, table: &str) {
        let status =
            Command::new(program("postmap")).arg("-c").arg(self.path()).arg(table).status().expect("postmap runs");
        assert!(status.success(), "postmap {table}: {status}");
    }

    /// What `postmap -q` finds for each key: found or not. Keys that Postfix cannot be asked for panic.
    pub fn postmap_query(&self, table: &str, keys: &[&str]) -> Vec<Option<Vec<u8>>> {
        let mut command = Command::new(program("postmap"));
        command.arg("-c").arg(self.path()).args(["-q", "-", table]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("postmap runs");
        let mut input = child.stdin.take().expect("its input is piped");
        let text: Vec<u8> = keys.iter().flat_map(|key| [key.as_bytes(), b"\n"].concat()).collect();
        let writer = std::thread::spawn(move || input.write_all(&text));
        let output = child.wait_with_output().expect("postmap ends");
        writer.join().expect("the writer ends").expect("postmap reads all keys");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("fatal"), "postmap -q {table}: {errors}");
        let mut lines = output.stdout.split(|byte| *byte == b'\n').peekable();
        let mut values = Vec::new();
        for key in keys {
            let found = lines
                .peek()
                .and_then(|line| line.strip_prefix(key.as_bytes()))
                .and_then(|rest| rest.strip_prefix(b"\t"));
            values.push(found.map(<[u8]>::to_vec));
            if found.is_some() {
                lines.next();
            }
        }
        assert!(lines.next().is_none_or(<[u8]>::is_empty), "unread output of postmap -q {table}");
        values
    }

    /// Our tables of this configuration.
    pub fn tables(&self) -> Tables {
        let build = postfix::BuildDefaults::default();
        let configuration = postfix::Configuration::read(self.path(), "vm", build).expect("main.cf is good");
        let utf8 = configuration.main().flag("smtputf8_enable").expect("it is yes or no");
        Tables::new(self.path().to_owned(), Duration::from_secs(120), 8, utf8)
    }
}

/// Keys of every odd kind. None is repeated next to itself, none is empty.
pub const ODD_KEYS: &[&str] = &[
    "user@example.com",
    "USER@Example.COM",
    "user+ext@example.com",
    "user",
    "@example.com",
    "example.com",
    "EXAMPLE.com",
    "sub.example.com",
    "o'brien@example.com",
    "\"a b\"@example.com",
    "a b@example.com",
    "a\"b@example.com",
    "a\\b@example.com",
    "a\\'b@example.com",
    "100%@example.com",
    "%s@example.com",
    "%@example.com",
    "a%b@example.com",
    "_@example.com",
    "''@example.com",
    "' OR '1'='1",
    "'; DROP TABLE mailbox; --",
    "user@example.com' -- ",
    "josé@example.com",
    "JOSÉ@EXAMPLE.COM",
    "用户@例子.example",
    "user@@example.com",
    "user@inner@example.com",
    "user@",
    "@",
    "-",
    "--",
    "-q",
    "a",
    "user@example.com.",
    "user@.example.com",
    "user@a.b.c.d.example",
    "192.0.2.1",
    "192.0.2.255",
    "2001:db8::1",
    "10.0.0.1",
    "root",
    "nobody",
    "postmaster@example.com",
    "x@$mydomain",
    "${x}@example.com",
    "user@example.com user@example.org",
    "{user}@example.com",
    "#user@example.com",
    "user,other@example.com",
    "a*b@example.com",
    "a?b@example.com",
    "tab\there@example.com",
    "user@example.org",
    "missing@example.net",
];

/// Asks our reader for the same keys, and compares. Returns how many were compared.
pub async fn compare(directory: &Directory, spec: &str, keys: &[&str]) -> usize {
    let expected = directory.postmap_query(spec, keys);
    let table = directory.tables().open(spec);
    // All at once: a table that is asked through postmap starts a child for each.
    let found = futures_util::future::join_all(keys.iter().map(|key| table.get(key.as_bytes()))).await;
    for ((key, expected), found) in keys.iter().zip(expected).zip(found) {
        let found = found.unwrap_or_else(|error| panic!("{spec} {key:?}: {error}"));
        assert_eq!(
            found.as_deref().map(String::from_utf8_lossy),
            expected.as_deref().map(String::from_utf8_lossy),
            "{spec} {key:?}"
        );
    }
    keys.len()
}

/// Whether every look-up was answered without `postmap`.
pub fn is_native(table: &Table) -> bool {
    table.counts().children == 0
}
