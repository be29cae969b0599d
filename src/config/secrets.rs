//! Passwords that others on the machine can read: a warning, since the daemon itself works.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use actors::secret;
use actors::settings::Node;
use serde_json::Value;

use super::environment;

/// A line for each value with a password, and each file that holds one, that everybody can read.
pub(super) fn exposed(tree: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    walk(tree, "", &mut warnings);
    warnings
}

fn walk(node: &Node, path: &str, warnings: &mut Vec<String>) {
    match node {
        Node::Table { keys, .. } => {
            for (key, node) in keys {
                walk(node, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, warnings);
            }
        }
        Node::List { items, .. } => {
            for (index, node) in items.iter().enumerate() {
                walk(node, &format!("{path}[{index}]"), warnings);
            }
        }
        Node::Leaf { value: Value::String(text), origin, .. } => {
            let origin = origin.to_string();
            let file = if path.ends_with("_file") {
                secret::path_of(text).ok()
            } else if has_password(text) && !environment::is_origin(&origin) {
                origin.rsplit_once(':').map(|(file, _)| PathBuf::from(file))
            } else {
                None
            };
            if let Some((file, mode)) = file.and_then(|file| mode(&file).map(|mode| (file, mode)))
                && mode & 0o004 != 0
            {
                let file = file.display();
                warnings.push(format!(
                    "{origin}: {path}: everybody on this machine can read the password in {file} (mode {mode:04o}): chmod o= {file}"
                ));
            }
        }
        Node::Leaf { .. } => {}
    }
}

/// `scheme://user:password@...`, as databases are named.
fn has_password(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let in_query = rest.split_once('?').is_some_and(|(_, query)| query.contains("password="));
    !scheme.is_empty() && (user.is_some_and(|user| user.contains(':')) || in_query)
}

fn mode(file: &Path) -> Option<u32> {
    std::fs::metadata(file).ok().map(|found| found.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_where_there_is_one() {
        for (text, has) in [
            ("mysql://user:secret@db.example.com/mail", true),
            ("postgres://user@db/mail?password=secret", true),
            ("postgres://user@db/mail", false),
            ("sqlite:///var/lib/a:b@c.db", false),
            ("SELECT 'a://b:c'", false),
            ("ann@example.com", false),
        ] {
            assert_eq!(has_password(text), has, "{text}");
        }
    }
}
