//! Columns that several tables have, read in one way.

use actors::watch::BadRow;
use libvalvula::{AddressKey, AddressRule};

/// `is_active` and other columns that say yes or no: NULL and 0 are no.
pub fn is_active(column: Option<i64>) -> bool {
    column.is_some_and(|value| value != 0)
}

/// An address rule; NULL is the empty one.
///
/// # Errors
/// When it is too broad to be meant.
pub fn address_rule(column: &str, text: Option<&str>) -> Result<AddressRule, BadRow> {
    let text = text.unwrap_or_default();
    match AddressRule::parse(text) {
        AddressRule::Nothing => Err(BadRow::new(format!("{column} {text:?} is too broad to be meant"))),
        rule => Ok(rule),
    }
}

/// A column that holds one name; `None` for NULL and for nothing but white space.
pub fn name(text: Option<&str>) -> Option<&str> {
    text.map(str::trim_ascii).filter(|name| !name.is_empty())
}

/// The SASL users in a list split at `,` `;` blank, tab or newline.
pub fn users(column: Option<&str>) -> Vec<AddressKey> {
    column
        .unwrap_or_default()
        .split([',', ';', ' ', '\t', '\n', '\r'])
        .filter(|name| !name.is_empty())
        .map(|name| AddressKey::new(name.as_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_at_comma_semicolon_blank_tab_or_newline() {
        let names =
            ["ann", "ben@x.example", "carl", "dora", "eve", "fred"].map(|name| AddressKey::new(name.as_bytes()));
        assert_eq!(users(Some(" ann,Ben@X.example;carl dora\teve\r\nfred,; ")), names);
        assert!(users(None).is_empty());
        assert!(users(Some(" ,;\t\n")).is_empty());
    }

    #[test]
    fn null_is_not_active_and_no_rule_but_the_empty_one() {
        assert_eq!([None, Some(0), Some(1), Some(2), Some(-1)].map(is_active), [false, false, true, true, true]);
        assert_eq!(address_rule("source", None), Ok(AddressRule::Everything));
        for broad in ["*", "*.", "@", " "] {
            let fault = address_rule("source", Some(broad)).unwrap_err().to_string();
            assert!(fault.contains("source") && fault.contains(broad), "{fault}");
        }
    }
}
