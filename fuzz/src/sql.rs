//! Queries of `mysql:`, `pgsql:` and `sqlite:` tables. The first line is the key, the rest the query.

use crate::input::{first_line, text};

// As postfix/src/tables/sql/mod.rs has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    MySql,
    Postgres,
    Sqlite,
}

#[path = "../../postfix/src/tables/sql/statement.rs"]
mod statement;
#[path = "../../postfix/src/tables/sql/template.rs"]
mod template;

use statement::Statement;
use template::{Key, Needs, Template};

/// The text of a statement does not depend on the key, has a place for each of its values, and leaves no
/// quotation open.
pub fn sql(data: &[u8]) {
    let (key, query) = first_line(data);
    let (key, query) = (text(key), text(query));
    let mut needs = Needs::default();
    if let Ok(format) = Template::parse(&query, false, &mut needs) {
        let parts = Key::new(&key);
        if needs.satisfied_by(&parts)
            && let Some(result) = format.result(&key, &parts, &needs)
        {
            assert!(result.len() <= query.len() * (key.len() + 1));
        }
    }
    let mut needs = Needs::default();
    let Ok(template) = Template::parse(&query, true, &mut needs) else { return };
    for backend in [Backend::MySql, Backend::Postgres, Backend::Sqlite] {
        let Some(statement) = Statement::new(&template, backend) else { continue };
        let values = statement.values(&Key::new(&key));
        assert_eq!(values.len(), statement.values(&Key::new("a@b.c")).len());
        let places = places(statement.text(), backend);
        assert_eq!(places, Some(values.len()), "{backend:?}: {:?}", statement.text());
    }
}

/// How many values the server would expect; `None` when a quotation has no end. A reading of its own: by
/// state, character by character.
fn places(text: &str, backend: Backend) -> Option<usize> {
    let mut found = 0;
    let mut open: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match open {
            Some(_) if c == '\\' && backend == Backend::MySql && open != Some('`') => {
                characters.next();
            }
            Some(quote) if c == quote => open = None,
            Some(_) => {}
            None => match c {
                '\'' | '"' | '`' => open = Some(c),
                '?' if backend != Backend::Postgres => found += 1,
                '$' if backend == Backend::Postgres => found += 1,
                _ => {}
            },
        }
    }
    open.is_none().then_some(found)
}
