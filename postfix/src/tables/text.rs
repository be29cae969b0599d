//! Tables of plain text: `texthash:` files and `inline:{...}`.

use std::collections::HashMap;

use crate::expand::enclosed;
use crate::lines::{is_blank, logical_lines};
use crate::list::split_list;
use crate::maincf::split_assignment;

/// Brings a key to the form in which keys are compared.
type Folded<'a> = &'a dyn Fn(&str) -> String;
type Map = HashMap<Vec<u8>, Vec<u8>>;

/// A `texthash:` file: a key and its value on each logical line. The first of two equal keys counts; a
/// line without value is passed over, as Postfix does.
pub(super) fn texthash(text: &str, folded: Folded<'_>) -> Result<Map, String> {
    let mut map = Map::new();
    for line in logical_lines(text) {
        let line = line.text.trim_start_matches(is_blank);
        let Some(end) = key_end(line) else { continue };
        let value = line[end..].trim_matches(is_blank);
        if end > 0 && !value.is_empty() {
            map.entry(folded(&line[..end]).into_bytes()).or_insert_with(|| value.as_bytes().to_vec());
        }
    }
    Ok(map)
}

/// Where the key ends: at the first white space that is not quoted. `None`: a quote has no end.
fn key_end(line: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in line.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c if is_blank(c) && !quoted => return Some(index),
            _ => {}
        }
    }
    (!quoted).then_some(line.len())
}

/// `inline:{key=value, { key = value with spaces }}`.
pub(super) fn inline(name: &str, folded: Folded<'_>) -> Result<Map, String> {
    let bad = || format!("bad syntax: \"inline:{name}\"; expected \"inline:{{name=value...}}\"");
    let Some((inside, "")) = enclosed(name, b'{', b'}').filter(|_| name.starts_with('{')) else { return Err(bad()) };
    let mut map = Map::new();
    for entry in split_list(inside) {
        let entry = match enclosed(entry, b'{', b'}') {
            Some((inside, "")) if entry.starts_with('{') => inside,
            Some(_) if entry.starts_with('{') => return Err(bad()),
            _ => entry,
        };
        let (key, value) = split_assignment(entry).map_err(|why| format!("{}: {why}", bad()))?;
        map.insert(folded(key).into_bytes(), value.as_bytes().to_vec());
    }
    if map.is_empty() { Err(bad()) } else { Ok(map) }
}
