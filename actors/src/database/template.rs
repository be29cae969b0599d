//! A statement as the administrator wrote it, with its placeholders made into bound parameters.
//!
//! A value never becomes part of SQL text: each placeholder (`#name#`) is a parameter of the prepared
//! statement. Where that can't be (a placeholder inside a longer quoted text) the statement is refused
//! when the configuration is read.

use sea_orm::DatabaseBackend;

/// What stands for a value, by name.
pub type Names<P> = [(&'static str, P)];

/// A statement with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<P> {
    /// One more than `placeholders`, which stand between them.
    texts: Vec<String>,
    placeholders: Vec<P>,
}

impl<P: Copy> Template<P> {
    /// Reads a statement in which `names` are known.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(statement: &str, names: &Names<P>) -> Result<Self, String> {
        let mut template = Self { texts: vec![String::new()], placeholders: Vec::new() };
        let statement = statement.trim().trim_end_matches(';').trim_end();
        if statement.is_empty() {
            return Err("the statement is empty".to_owned());
        }
        let mut rest = statement;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let taken = match first {
                '\'' | '"' | '`' => quoted(first, rest, before, names)?,
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => rest.find("*/").ok_or("a comment is not closed")? + 2,
                '#' => placeholder(rest, names)?,
                '?' => return Err("'?' can't be used outside quotes: it stands for a parameter".to_owned()),
                '$' if !is_word(before) && rest[1..].starts_with(|c: char| is_word(c) || c == '$') => {
                    return Err("'$' can't begin a word: it stands for a parameter or a quote".to_owned());
                }
                ';' => return Err("one statement in each text: ';' begins another".to_owned()),
                other => other.len_utf8(),
            };
            let (text, tail) = rest.split_at(taken);
            // What became a placeholder has put an empty text behind itself, and is not text.
            if !template.took_placeholder(text, names) {
                template.push(text);
            }
            before = text.chars().next_back().unwrap_or(' ');
            rest = tail;
        }
        Ok(template)
    }

    /// Takes `text` as a placeholder, if it is one, bare or as the whole of a quoted text.
    fn took_placeholder(&mut self, text: &str, names: &Names<P>) -> bool {
        let bare = text.trim_matches(['\'', '"']);
        let known =
            names.iter().find(|(name, _)| bare.strip_prefix('#').and_then(|t| t.strip_suffix('#')) == Some(name));
        let Some((_, placeholder)) = known else { return false };
        self.placeholders.push(*placeholder);
        self.texts.push(String::new());
        true
    }

    fn push(&mut self, text: &str) {
        self.texts.last_mut().expect("there is one text more than placeholders").push_str(text);
    }

    /// What stands for the values, in the order of the marks.
    pub fn placeholders(&self) -> &[P] {
        &self.placeholders
    }

    /// The SQL, with the database's marks for parameters.
    pub fn sql(&self, backend: DatabaseBackend) -> String {
        let mut sql = self.texts[0].clone();
        for (number, text) in (1..).zip(&self.texts[1..]) {
            match backend {
                DatabaseBackend::Postgres => sql.push_str(&format!("${number}")),
                _ => sql.push('?'),
            }
            sql.push_str(text);
        }
        sql
    }
}

/// The length of the quoted text that `rest` begins with; `before` is the character before it.
fn quoted<P>(quote: char, rest: &str, before: char, names: &Names<P>) -> Result<usize, String> {
    let inside = &rest[1..];
    let end = inside.find(quote).ok_or_else(|| format!("a {quote} is not closed"))?;
    let (inside, after) = (&inside[..end], &inside[end + 1..]);
    if inside.ends_with('\\') {
        return Err(format!("a backslash before {quote} reads differently on each database: write {quote}{quote}"));
    }
    if let Some((name, _)) = names.iter().find(|(name, _)| inside.contains(&format!("#{name}#"))) {
        // A doubled quote is a quote in a text that goes on.
        let goes_on = before == quote || after.starts_with(quote);
        if quote == '`' || goes_on || inside != format!("#{name}#") {
            return Err(format!("#{name}# inside a quoted text can't be bound: join texts with CONCAT() or ||"));
        }
    }
    Ok(end + 2)
}

/// The length of the placeholder, or of the plain `#`, that `rest` begins with.
fn placeholder<P>(rest: &str, names: &Names<P>) -> Result<usize, String> {
    let word = rest[1..].find(|c: char| !is_word(c) && c != '-').map_or("", |end| &rest[1..=end]);
    if word.is_empty() || !rest[1 + word.len()..].starts_with('#') {
        return Ok(1);
    }
    if !names.iter().any(|(name, _)| *name == word) {
        let names: Vec<_> = names.iter().map(|(name, _)| format!("#{name}#")).collect();
        return Err(format!("there is no placeholder #{word}#; expected one of {}", names.join(", ")));
    }
    Ok(word.len() + 2)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, u8); 4] = [("sasl_user", 1), ("mail-from", 2), ("rcpt-to", 3), ("size", 4)];

    fn marks(statement: &str) -> (String, String) {
        let template = Template::parse(statement, &NAMES).unwrap();
        (template.sql(DatabaseBackend::Sqlite), template.sql(DatabaseBackend::Postgres))
    }

    #[test]
    fn placeholders_become_bound_parameters_with_each_databases_marks() {
        let (plain, numbered) = marks("INSERT INTO seen VALUES (#sasl_user#, #mail-from#,#size#)");
        assert_eq!(plain, "INSERT INTO seen VALUES (?, ?,?)");
        assert_eq!(numbered, "INSERT INTO seen VALUES ($1, $2,$3)");
        assert_eq!(marks("DELETE FROM seen;").0, "DELETE FROM seen");
        let template = Template::parse("SELECT #size#, #sasl_user#, #size#", &NAMES).unwrap();
        assert_eq!(template.placeholders(), [4, 1, 4]);
    }

    #[test]
    fn a_placeholder_in_quotes_of_its_own_loses_them() {
        assert_eq!(
            marks("UPDATE t SET a = '#mail-from#', b = \"#rcpt-to#\" WHERE c = 'x'").0,
            "UPDATE t SET a = ?, b = ? WHERE c = 'x'"
        );
    }

    #[test]
    fn quoted_texts_comments_and_other_signs_stay_as_they_are() {
        for statement in [
            "SELECT 'it''s #1 ? ; $1 -- no', \"a;b\", `c?`",
            "SELECT a # b, a #> '{x}', # comment",
            "SELECT 1 -- what? #size# it's ;\n, 2 /* ; ? #size# ' */",
            "SELECT a$b, 5 $ 3",
            "SELECT 'é' || 'ü'",
        ] {
            assert_eq!(marks(statement), (statement.to_owned(), statement.to_owned()));
        }
    }

    #[test]
    fn what_can_not_be_bound_is_refused_with_its_reason() {
        for (statement, reason) in [
            ("", "empty"),
            (" ; ", "empty"),
            ("INSERT INTO t VALUES ('from #mail-from#')", "#mail-from# inside a quoted text"),
            ("INSERT INTO t VALUES ('#size#''s')", "#size# inside a quoted text"),
            ("INSERT INTO t VALUES ('a''#size#')", "#size# inside a quoted text"),
            ("INSERT INTO t VALUES (`#size#`)", "#size# inside a quoted text"),
            ("INSERT INTO t VALUES (#mailfrom#)", "no placeholder #mailfrom#; expected one of #sasl_user#"),
            ("INSERT INTO t VALUES (?)", "'?'"),
            ("INSERT INTO t VALUES ($1)", "'$'"),
            ("SELECT $$#size#$$", "'$'"),
            ("DELETE FROM a; DELETE FROM b", "one statement"),
            ("SELECT 'a", "not closed"),
            ("SELECT 1 /* a", "not closed"),
            (r"SELECT 'it\'s #size#'", "backslash"),
        ] {
            let told = Template::parse(statement, &NAMES).unwrap_err();
            assert!(told.contains(reason), "{statement}: {told}");
        }
    }
}
