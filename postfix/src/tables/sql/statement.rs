//! The administrator's query as a statement with bound values.
//!
//! A query puts the key into quotes: `WHERE address = '%s'`, `LIKE '%%@%d'`. The whole quoted text becomes
//! one bound value, put together from what stands in the quotes and from the key. Where a placeholder stands
//! elsewhere, or where we could misread what the server will read, there is no statement, and `postmap` is
//! asked.

use super::Backend;
use super::template::{Key, Part, Piece, Template};

/// A statement and what its values are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    text: String,
    values: Vec<Vec<Piece>>,
}

/// One thing of a query: a character of its text, or a placeholder.
#[derive(Clone, Copy)]
enum Token {
    Char(char),
    Key(Part),
}

impl Statement {
    /// `None`: we are not sure.
    pub fn new(template: &Template, backend: Backend) -> Option<Self> {
        let mut tokens = Vec::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => tokens.extend(text.chars().map(Token::Char)),
                Piece::Key(part) => tokens.push(Token::Key(*part)),
                Piece::Value(_) => return None,
            }
        }
        let words: String = tokens.iter().map(|token| if let Token::Char(c) = token { *c } else { ' ' }).collect();
        let first = words.split_whitespace().next()?.to_ascii_lowercase();
        if !matches!(first.trim_start_matches('('), "select" | "with") {
            return None;
        }
        Scanner { tokens: &tokens, at: 0, backend, statement: Self { text: String::new(), values: Vec::new() } }.scan()
    }

    /// The SQL text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values for `key`.
    pub fn values(&self, key: &Key<'_>) -> Vec<String> {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Key(part) | Piece::Value(part) => key.part(*part).to_owned(),
        };
        self.values.iter().map(|pieces| pieces.iter().map(text).collect()).collect()
    }
}

struct Scanner<'a> {
    tokens: &'a [Token],
    at: usize,
    backend: Backend,
    statement: Statement,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn follows(&self, expected: char) -> bool {
        matches!(self.peek(), Some(Token::Char(c)) if c == expected)
    }

    fn scan(mut self) -> Option<Statement> {
        while let Some(token) = self.peek() {
            let Token::Char(c) = token else { return None };
            self.at += 1;
            match c {
                '\'' => self.quoted('\'')?,
                '"' if self.backend == Backend::MySql => self.quoted('"')?,
                '"' | '`' => self.identifier(c)?,
                '-' if self.follows('-') => return None,
                '/' if self.follows('*') => return None,
                '#' | '?' if self.backend == Backend::MySql => return None,
                '?' | ':' | '@' | '$' if self.backend == Backend::Sqlite => return None,
                '$' | '\\' | ';' | '\0' => return None,
                c => self.statement.text.push(c),
            }
        }
        Some(self.statement)
    }

    /// A quoted name, which is copied. A placeholder in it cannot be bound.
    fn identifier(&mut self, quote: char) -> Option<()> {
        self.statement.text.push(quote);
        loop {
            let Token::Char(c) = self.peek()? else { return None };
            self.at += 1;
            self.statement.text.push(c);
            if c == quote {
                return Some(());
            }
        }
    }

    /// A quoted text: copied, or bound when a placeholder is in it.
    fn quoted(&mut self, quote: char) -> Option<()> {
        let prefixed = self.statement.text.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '&');
        let mut raw = String::from(quote);
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut bound = false;
        let mut escapes = false;
        loop {
            let token = self.peek()?;
            self.at += 1;
            match token {
                Token::Key(part) => {
                    bound = true;
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    pieces.push(Piece::Key(part));
                }
                Token::Char(c) if c == quote => {
                    raw.push(c);
                    if !self.follows(quote) {
                        break;
                    }
                    self.at += 1;
                    raw.push(c);
                    literal.push(c);
                }
                // An escape in MySQL; elsewhere it could be one, with a prefix or by a setting.
                Token::Char('\\') => {
                    escapes = true;
                    raw.push('\\');
                    if self.backend == Backend::MySql
                        && let Some(Token::Char(next)) = self.peek()
                    {
                        raw.push(next);
                        self.at += 1;
                    }
                }
                Token::Char(c) => {
                    raw.push(c);
                    literal.push(c);
                }
            }
        }
        if !bound {
            self.statement.text.push_str(&raw);
            return Some(());
        }
        if prefixed || escapes {
            return None;
        }
        pieces.push(Piece::Text(literal));
        self.statement.values.push(pieces);
        match self.backend {
            Backend::MySql | Backend::Sqlite => self.statement.text.push('?'),
            Backend::Postgres => self.statement.text.push_str(&format!("${}", self.statement.values.len())),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::Needs;
    use super::*;

    fn statement(query: &str, backend: Backend) -> Option<Statement> {
        Statement::new(&Template::parse(query, true, &mut Needs::default()).unwrap(), backend)
    }

    fn values(query: &str, key: &str) -> (String, Vec<String>) {
        let statement = statement(query, Backend::Postgres).unwrap();
        (statement.text().to_owned(), statement.values(&Key::new(key)))
    }

    #[test]
    fn quoted_placeholders_are_bound() {
        assert_eq!(
            values("SELECT goto FROM alias WHERE address='%s' AND active = '1'", "o'b@x"),
            ("SELECT goto FROM alias WHERE address=$1 AND active = '1'".into(), vec!["o'b@x".into()])
        );
        assert_eq!(
            values("SELECT concat('%u', '@', a) FROM t WHERE b = '%d' AND c LIKE '%%it''s %1%%'", "u@a.b"),
            (
                "SELECT concat($1, '@', a) FROM t WHERE b = $2 AND c LIKE $3".into(),
                vec!["u".into(), "a.b".into(), "%it's b%".into()]
            )
        );
        assert_eq!(statement("SELECT \"%u\" FROM `a`", Backend::MySql).unwrap().text(), "SELECT ? FROM `a`");
        assert_eq!(
            statement("SELECT 'a\\'%%' FROM a WHERE b='%s'", Backend::MySql).unwrap().text(),
            "SELECT 'a\\'%' FROM a WHERE b=?"
        );
    }

    #[test]
    fn what_cannot_be_bound_is_no_statement() {
        for query in [
            "SELECT a FROM t WHERE id = %u",
            "SELECT a FROM t WHERE b = '%s' -- '%s'",
            "SELECT a /* '%s' */ FROM t",
            "SELECT a FROM `%d` WHERE b = '%s'",
            "SELECT a FROM t WHERE b = x'%s'",
            "SELECT a FROM t WHERE b = '\\%%%s'",
            "CALL f('%s')",
            "SELECT 1; SELECT '%s'",
            "SELECT a FROM t WHERE b = '%s",
            "SELECT '%s''%u' || %d",
        ] {
            for backend in [Backend::MySql, Backend::Postgres, Backend::Sqlite] {
                assert_eq!(statement(query, backend), None, "{query} {backend:?}");
            }
        }
        assert_eq!(statement("SELECT \"%u\" FROM a", Backend::Postgres), None);
        assert_eq!(statement("SELECT a FROM t WHERE b = ? AND c = '%s'", Backend::MySql), None);
        assert_eq!(statement("SELECT a FROM t WHERE b = $1 AND c = '%s'", Backend::Postgres), None);
    }
}
