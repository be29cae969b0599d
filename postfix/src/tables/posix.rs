//! POSIX extended regular expressions that mean the same to us as to Postfix.
//!
//! The expressions of tables are nearly always of a plain kind; those are translated, piece by piece, for
//! the regex crate. What differs or is not defined by POSIX (`\<`, `\w`, back-references, `a**`, `[[.x.]]`,
//! an empty alternative, a lone brace, bytes that are not ASCII) is not translated. A match is the same
//! whichever rule chooses among several; groups are not: where they are wanted, only expressions that can
//! match in one way are translated.

/// The same expression for the regex crate, or `None` when we are not sure.
pub(super) fn translate(pattern: &str, wants_groups: bool) -> Option<String> {
    if !pattern.is_ascii() || pattern.is_empty() {
        return None;
    }
    let mut translator = Translator { rest: pattern.as_bytes(), out: String::new(), one_way: true };
    translator.alternatives(0)?;
    if !translator.rest.is_empty() {
        return None;
    }
    let anchored = pattern.starts_with('^') && pattern.ends_with('$') && !pattern.ends_with("\\$");
    (!wants_groups || (translator.one_way && anchored)).then_some(translator.out)
}

struct Translator<'a> {
    rest: &'a [u8],
    out: String,
    /// Neither an alternative nor a repeated group was seen.
    one_way: bool,
}

const MAX_DEPTH: usize = 20;

impl Translator<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn literal(&mut self, byte: u8) {
        self.out.push_str(&regex::escape(&char::from(byte).to_string()));
    }

    fn alternatives(&mut self, depth: usize) -> Option<()> {
        self.sequence(depth)?;
        while self.peek() == Some(b'|') {
            self.next();
            self.out.push('|');
            self.one_way = false;
            self.sequence(depth)?;
        }
        Some(())
    }

    fn sequence(&mut self, depth: usize) -> Option<()> {
        let mut empty = true;
        if self.peek() == Some(b'^') {
            self.next();
            self.out.push('^');
            empty = false;
        }
        loop {
            match self.peek() {
                None | Some(b'|') => break,
                Some(b')') if depth > 0 => break,
                Some(b'$') => {
                    self.next();
                    self.out.push('$');
                    return matches!(self.peek(), None | Some(b'|' | b')')).then_some(());
                }
                Some(_) => {
                    let group = self.atom(depth)?;
                    self.repetition(group)?;
                    empty = false;
                }
            }
        }
        (!empty).then_some(())
    }

    /// One atom; whether it was a group.
    fn atom(&mut self, depth: usize) -> Option<bool> {
        match self.next()? {
            b'(' if depth < MAX_DEPTH => {
                self.out.push('(');
                self.alternatives(depth + 1)?;
                if self.next()? != b')' {
                    return None;
                }
                self.out.push(')');
                return Some(true);
            }
            b'[' => self.bracket()?,
            b'.' => self.out.push('.'),
            b'\\' => match self.next()? {
                byte @ (b'.' | b'*' | b'+' | b'?' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b'^' | b'$'
                | b'\\' | b'/' | b'@' | b'-') => self.literal(byte),
                _ => return None,
            },
            b'*' | b'+' | b'?' | b'{' | b'}' | b'(' | b')' | b'^' | 0..0x20 | 0x7f.. => return None,
            byte => self.literal(byte),
        }
        Some(false)
    }

    fn repetition(&mut self, group: bool) -> Option<()> {
        match self.peek() {
            Some(byte @ (b'*' | b'+' | b'?')) => {
                self.next();
                self.out.push(char::from(byte));
            }
            Some(b'{') => {
                let end = self.rest.iter().position(|byte| *byte == b'}')?;
                let bounds = std::str::from_utf8(&self.rest[1..end]).ok()?;
                let (low, high) = bounds.split_once(',').unwrap_or((bounds, bounds));
                let low: u32 = low.parse().ok()?;
                let high = if high.is_empty() { None } else { Some(high.parse::<u32>().ok()?) };
                if low > 255 || high.is_some_and(|high| high > 255 || high < low) {
                    return None;
                }
                self.out.push_str(&format!("{{{bounds}}}"));
                self.rest = &self.rest[end + 1..];
            }
            _ => return Some(()),
        }
        self.one_way &= !group;
        (!matches!(self.peek(), Some(b'*' | b'+' | b'?' | b'{'))).then_some(())
    }

    /// What stands between `[` and `]`.
    fn bracket(&mut self) -> Option<()> {
        self.out.push('[');
        if self.peek() == Some(b'^') {
            self.next();
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.next()? {
                b']' if !first => break,
                b'[' if matches!(self.peek(), Some(b'.' | b'=')) => return None,
                b'[' if self.peek() == Some(b':') => self.class()?,
                low @ 0x20..0x7f => {
                    self.literal(low);
                    if self.rest.len() >= 2 && self.rest[0] == b'-' && self.rest[1] != b']' {
                        let high = self.rest[1];
                        if !low.is_ascii_alphanumeric() || !high.is_ascii_alphanumeric() || low > high {
                            return None;
                        }
                        self.out.push('-');
                        self.literal(high);
                        self.rest = &self.rest[2..];
                        // `a-c-e` is not defined.
                        if self.peek() == Some(b'-') && self.rest.get(1) != Some(&b']') {
                            return None;
                        }
                    }
                }
                _ => return None,
            }
            first = false;
        }
        self.out.push(']');
        Some(())
    }

    fn class(&mut self) -> Option<()> {
        // Behind the first colon, which is not also the one that ends the name: `[[:]`.
        let rest = self.rest.strip_prefix(b":")?;
        let end = rest.windows(2).position(|two| two == b":]")?;
        let name = std::str::from_utf8(&rest[..end]).ok()?;
        let names = [
            "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit",
        ];
        if !names.contains(&name) {
            return None;
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.rest = &rest[end + 2..];
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_expressions_are_translated() {
        for pattern in [
            "^a.*b$",
            "@example\\.com$",
            "^(.*)@old$",
            "[a-z0-9._-]+@x",
            "^[^@]+$",
            "(a|b)c",
            "a{2,3}",
            "[]a]",
            "[^]a]",
            "[[:digit:]]+",
            "a\\+b",
            "[\\]",
            "%",
            "[a-]",
            "'",
        ] {
            let translated = translate(pattern, false).unwrap_or_else(|| panic!("{pattern}"));
            regex::bytes::Regex::new(&translated).unwrap();
        }
    }

    #[test]
    fn what_is_not_sure_is_not_translated() {
        for pattern in [
            "",
            "\\<a",
            "\\w",
            "(a)\\1",
            "a**",
            "a+?",
            "[[.a.]]",
            "(|a)",
            "a|",
            "{",
            "a{x}",
            "a}",
            "(a",
            "a)",
            "é",
            "a^b",
            "a$b",
            "[a-c-e]",
            "[z-a]",
            "[--x]",
            "*a",
            "^*",
            "[[:foo:]]",
            "[[:]",
            "[[:]{2}|a",
            "[[::]]",
            "[a",
            "a\\",
        ] {
            assert_eq!(translate(pattern, false), None, "{pattern}");
        }
    }

    #[test]
    fn groups_only_where_there_is_one_way() {
        assert!(translate("^(.*)@old$", true).is_some());
        assert!(translate("^(a|ab)(c|bcd)$", true).is_none());
        assert!(translate("(.*)@old", true).is_none());
        assert!(translate("^(a?)(ab)?$", true).is_none());
    }
}
