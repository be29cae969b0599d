//! Tables for people: columns as wide as they need to be, and nothing in a cell that drives a terminal.

use libvalvula::Printable;
use serde_json::Value;

/// A table with a line of headings; `empty` in its place when there is no row.
pub fn aligned(headings: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let rows: Vec<Vec<String>> = std::iter::once(headings.iter().map(|&heading| heading.to_owned()).collect())
        .chain(rows.iter().map(|row| row.iter().map(|cell| Printable::new(cell.as_bytes()).to_string()).collect()))
        .collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..headings.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A JSON value as a cell: texts as they are, nothing for null.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The rows of a list of objects, with these keys as columns.
pub fn rows(list: &Value, keys: &[&str]) -> Vec<Vec<String>> {
    let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().map(|row| keys.iter().map(|&key| cell(&row[key])).collect()).collect()
}

/// A unix time as people in this time zone read it; empty for null.
pub fn time(value: &Value) -> String {
    let Some(seconds) = value.as_i64() else { return cell(value) };
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            rows(&json!([{"a": 1, "b": "é"}, {"a": null, "b": "long one"}, {"a": 333_333, "b": ""}]), &["b", "a"]);
        assert_eq!(aligned(&["B", "A"], &rows, "none"), "B         A\né         1\nlong one\n          333333\n");
        assert_eq!(aligned(&["B"], &[], "none"), "none\n");
    }

    #[test]
    fn a_cell_is_one_line_of_plain_characters() {
        let rows = vec![vec!["a\u{1b}[2Jb\nc".to_owned()]];
        assert_eq!(aligned(&["A"], &rows, ""), "A\na\\x1b[2Jb\\x0ac\n");
    }
}
