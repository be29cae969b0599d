//! `%s`, `%u`, `%d` and their like, in queries and in result formats.
//!
//! A key or a result that lacks what a template asks for suppresses the query or the result: it is as if
//! nothing were found.

/// A template in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(pub Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// A part of the key.
    Key(Part),
    /// A part of the result.
    Value(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    User,
    Domain,
    /// `%1`: the last label of the domain, `%2` the one before it, and so on.
    Label(usize),
}

/// What the templates of a table ask of a key and of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    key_user: bool,
    key_domain: bool,
    value_user: bool,
    value_domain: bool,
    labels: usize,
}

/// A key, apart at its last `@`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub whole: &'a str,
    /// The local part; the whole key when it has no `@`.
    pub user: &'a str,
    pub domain: Option<&'a str>,
}

impl<'a> Key<'a> {
    pub fn new(whole: &'a str) -> Self {
        match whole.rsplit_once('@') {
            Some((user, domain)) => Self { whole, user, domain: Some(domain) },
            None => Self { whole, user: whole, domain: None },
        }
    }

    pub fn part(&self, part: Part) -> &'a str {
        match part {
            Part::Whole => self.whole,
            Part::User => self.user,
            Part::Domain => self.domain.unwrap_or_default(),
            Part::Label(number) => self.labels().nth(number - 1).unwrap_or_default(),
        }
    }

    /// The labels of the domain, the last one first. Dots without a label between them count as one.
    fn labels(&self) -> impl Iterator<Item = &'a str> {
        self.domain.unwrap_or_default().rsplit('.').filter(|label| !label.is_empty())
    }

    /// `@domain`, with nothing before.
    fn lacks_user(&self) -> bool {
        self.domain.is_some() && self.user.is_empty()
    }

    fn lacks_domain(&self) -> bool {
        self.domain.is_none_or(str::is_empty)
    }
}

impl Needs {
    /// Whether `key` has all that the templates ask of it.
    pub fn satisfied_by(&self, key: &Key<'_>) -> bool {
        if (self.key_domain && key.lacks_domain()) || (self.key_user && key.lacks_user()) {
            return false;
        }
        key.labels().count() >= self.labels
    }
}

impl Template {
    /// Parses a query or a result format.
    pub fn parse(text: &str, is_query: bool, needs: &mut Needs) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            let letter = chars.next();
            let of_key = is_query || letter.is_some_and(|letter| !letter.is_ascii_lowercase());
            let part = match letter.map(|letter| letter.to_ascii_lowercase()) {
                Some('%') => {
                    literal.push('%');
                    continue;
                }
                Some('s') => Part::Whole,
                Some('u') => {
                    *(if of_key { &mut needs.key_user } else { &mut needs.value_user }) = true;
                    Part::User
                }
                Some('d') => {
                    *(if of_key { &mut needs.key_domain } else { &mut needs.value_domain }) = true;
                    Part::Domain
                }
                Some(digit @ '1'..='9') => {
                    let number = usize::from(digit as u8 - b'0');
                    needs.key_domain = true;
                    needs.labels = needs.labels.max(number);
                    Part::Label(number)
                }
                Some(other) => return Err(format!("invalid template: %{other} in {text:?}")),
                None => return Err(format!("invalid template: it ends with %: {text:?}")),
            };
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
            pieces.push(if of_key { Piece::Key(part) } else { Piece::Value(part) });
        }
        pieces.push(Piece::Text(literal));
        Ok(Self(pieces))
    }

    /// The result that `value` makes; `None` when it is empty or lacks what is asked of it.
    pub fn result(&self, value: &str, key: &Key<'_>, needs: &Needs) -> Option<String> {
        let value = Key::new(value);
        let suppressed = value.whole.is_empty()
            || (needs.value_domain && value.lacks_domain())
            || (needs.value_user && value.lacks_user());
        if suppressed {
            return None;
        }
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Key(part) => key.part(*part).to_owned(),
            Piece::Value(part) => value.part(*part).to_owned(),
        };
        Some(self.0.iter().map(text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(format: &str, value: &str, key: &str) -> Option<String> {
        let mut needs = Needs::default();
        let template = Template::parse(format, false, &mut needs).unwrap();
        let key = Key::new(key);
        needs.satisfied_by(&key).then(|| template.result(value, &key, &needs)).flatten()
    }

    fn asks(query: &str, key: &str) -> bool {
        let mut needs = Needs::default();
        Template::parse(query, true, &mut needs).unwrap();
        needs.satisfied_by(&Key::new(key))
    }

    #[test]
    fn keys_that_lack_something_are_not_asked() {
        for (query, key, expected) in [
            ("%s", "", true),
            ("%s", "@d", true),
            ("%u", "user", true),
            ("%u", "@d", false),
            ("%u", "u@", true),
            ("%d", "user", false),
            ("%d", "u@", false),
            ("%D", "@d", true),
            ("%1", "u@d", true),
            ("%2", "u@d", false),
            ("%2", "u@a.b", true),
            ("%3", "u@a..b", false),
            ("%2", "u@b.", false),
            ("%2", "u@a..b.", true),
            ("%1", "a.b", false),
            ("%%", "x", true),
        ] {
            assert_eq!(asks(query, key), expected, "{query} {key}");
        }
    }

    #[test]
    fn results_are_made_of_value_and_key() {
        for (format, value, key, expected) in [
            ("%s", "v", "k", Some("v")),
            ("%s", "", "k", None),
            ("[%s] %S 100%%", "v", "k", Some("[v] k 100%")),
            ("%u at %d", "a@b", "k", Some("a at b")),
            ("%d", "ab", "k", None),
            ("%u", "ab", "k", Some("ab")),
            ("%u", "@b", "k", None),
            ("%U %D %1", "v", "u@a.b", Some("u a.b b")),
            ("%D", "v", "u", None),
        ] {
            assert_eq!(result(format, value, key).as_deref(), expected, "{format} {value} {key}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_a_fault() {
        for text in ["%x", "%0", "100%"] {
            assert!(Template::parse(text, true, &mut Needs::default()).is_err(), "{text}");
        }
    }
}
