//! Lookup tables. The first line is `type key`, the rest the table.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use postfix::Tables;

use crate::input::{MemoryFile, first_line, text, wait};

/// Asking twice gives the same answer; a table of fixed keys has no regard to case; only an address is in a
/// table of networks; a union of a table and itself has what the table has. What postmap would have to be
/// asked is refused: no process is started.
pub fn tables(data: &[u8]) {
    thread_local! {
        static FILE: RefCell<MemoryFile> = RefCell::new(MemoryFile::new());
    }
    let (head, content) = first_line(data);
    let head = text(head);
    let Some((kind, key)) = head.split_once(' ') else { return };
    let written = text(content);
    let name = match kind {
        // The table is its own name: it must not lead to files, sockets or the system's users.
        "static" | "inline" | "unionmap" | "pipemap" => {
            let leads_out = ["/", "tcp:", "socketmap:", "unix:", "cdb:"].iter().any(|part| written.contains(part));
            if leads_out {
                return;
            }
            format!("{kind}:{written}")
        }
        "texthash" | "regexp" | "pcre" | "cidr" => {
            FILE.with_borrow_mut(|file| format!("{kind}:{}", file.holds(content).display()))
        }
        _ => return,
    };
    // Large counts are bounded by the size of a compiled expression, at milliseconds each.
    if content
        .split(|byte| *byte == b'{')
        .skip(1)
        .any(|count| count.iter().take_while(|b| b.is_ascii_digit()).count() > 1)
    {
        return;
    }
    let tables = Tables::new("/".into(), Duration::from_secs(5), 0, true);
    let table = tables.open(&name);
    assert_eq!(table.name(), name);
    let answer = wait(table.get(key.as_bytes()));
    assert_eq!(wait(table.get(key.as_bytes())), answer, "asked twice");
    if key.is_empty() {
        assert_eq!(answer, Ok(None));
    }
    if table.is_fixed() && key.is_ascii() && !table.is_asked_through_postmap() {
        assert_eq!(wait(table.get(key.to_ascii_uppercase().as_bytes())), answer, "in upper case");
    }
    if let Ok(Some(value)) = &answer {
        match kind {
            "cidr" => assert!(key.parse::<IpAddr>().is_ok(), "{key:?} is no address"),
            "texthash" | "inline" => assert!(value.len() <= written.len() && !(kind == "texthash" && value.is_empty())),
            _ => {}
        }
        if kind == "texthash" || kind == "cidr" {
            let both = tables.open(&format!("unionmap:{{{name}, {name}}}"));
            assert_eq!(wait(both.get(key.as_bytes())), Ok(Some([&value[..], b",", value].concat())));
        }
    }
    let counts = table.counts();
    assert_eq!(counts.children, if table.fault().is_some() { 0 } else { counts.children });
    assert!(counts.found + counts.not_found + counts.failed >= 2);
}
