//! Tables of patterns: `regexp:`, `pcre:`, and the rules that `cidr:` shares with them.
//!
//! Rules are tried in order, `if`/`endif` around some of them. A file with anything that we cannot be sure
//! to read as Postfix does (`posix.rs` says what of POSIX expressions) is not read at all: `postmap` is asked.

use ipnet::IpNet;

use crate::lines::{is_blank, logical_lines};

use super::{Asked, posix};

/// The rules of a table.
#[derive(Debug)]
pub(super) struct Rules(pub Vec<Rule>);

#[derive(Debug)]
pub(super) struct Rule {
    pub matcher: Matcher,
    pub negated: bool,
    pub then: Then,
}

/// What follows a match.
#[derive(Debug)]
pub(super) enum Then {
    /// The result.
    Result(Vec<Part>),
    /// `if`: without a match, go on at this rule.
    ElseSkipTo(usize),
}

/// A piece of a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Group(usize),
}

#[derive(Debug)]
pub(super) enum Matcher {
    Posix(regex::bytes::Regex),
    Pcre(pcre2::bytes::Regex),
    Network(IpNet),
}

/// Which expressions a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Posix,
    Pcre,
}

impl Rules {
    /// The result of the first rule that matches `key`. `Err`: an expression exceeded its limits.
    pub fn find(&self, key: &str) -> Result<Asked, String> {
        let networks = self.0.iter().all(|rule| matches!(rule.matcher, Matcher::Network(_)));
        // Whether `.` is a byte or a character depends on Postfix's settings.
        if !key.is_ascii() && !networks {
            return Ok(Asked::NotSure);
        }
        // A network is asked for addresses alone, also one with a `!`.
        if networks && key.parse::<std::net::IpAddr>().is_err() {
            return Ok(Asked::Known(None));
        }
        let mut at = 0;
        while let Some(rule) = self.0.get(at) {
            let groups = rule.matcher.groups(key)?;
            let holds = groups.is_some() != rule.negated && !rule.matcher.is_of_another_family(key);
            match (&rule.then, holds) {
                (Then::Result(parts), true) => {
                    return Ok(Asked::Known(Some(filled(parts, &groups.unwrap_or_default()))));
                }
                (Then::Result(_), false) | (Then::ElseSkipTo(_), true) => at += 1,
                (Then::ElseSkipTo(end), false) => at = *end,
            }
        }
        Ok(Asked::Known(None))
    }
}

fn filled(parts: &[Part], groups: &[String]) -> Vec<u8> {
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Group(number) => groups.get(*number).cloned().unwrap_or_default(),
    };
    parts.iter().map(text).collect::<String>().into_bytes()
}

impl Matcher {
    /// An IPv4 network and an IPv6 address, or the other way round: not even a `!` matches.
    fn is_of_another_family(&self, key: &str) -> bool {
        match (self, key.parse()) {
            (Self::Network(network), Ok(address)) => network.addr().is_ipv4() != std::net::IpAddr::is_ipv4(&address),
            _ => false,
        }
    }

    /// The groups of a match; one that took no part is empty.
    fn groups(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Posix(regex) => Ok(regex.captures(key.as_bytes()).map(|groups| {
                groups.iter().map(|group| group.map(|group| text(group.as_bytes())).unwrap_or_default()).collect()
            })),
            Self::Pcre(regex) => match regex.captures(key.as_bytes()) {
                Ok(groups) => Ok(groups.map(|groups| {
                    (0..groups.len())
                        .map(|number| groups.get(number).map(|group| text(group.as_bytes())).unwrap_or_default())
                        .collect()
                })),
                Err(error) => Err(error.to_string()),
            },
            Self::Network(network) => {
                let address: Result<std::net::IpAddr, _> = key.parse();
                Ok(address.is_ok_and(|address| network.contains(&address)).then(Vec::new))
            }
        }
    }
}

/// A line of a table: `[!]pattern result`, `if [!]pattern`, `endif`.
pub(super) enum Line<'a> {
    If(&'a str),
    EndIf,
    Rule(&'a str),
}

impl<'a> Line<'a> {
    pub fn of(text: &'a str) -> Self {
        let text = text.trim_matches(is_blank);
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        match text[..end].to_ascii_lowercase().as_str() {
            "if" => Self::If(text[end..].trim_start_matches(is_blank)),
            "endif" => Self::EndIf,
            _ => Self::Rule(text),
        }
    }
}

/// Collects rules, and where each `if` ends.
#[derive(Default)]
pub(super) struct Builder {
    rules: Vec<Rule>,
    open: Vec<usize>,
}

impl Builder {
    pub fn rule(&mut self, matcher: Matcher, negated: bool, then: Then) {
        if matches!(then, Then::ElseSkipTo(_)) {
            self.open.push(self.rules.len());
        }
        self.rules.push(Rule { matcher, negated, then });
    }

    pub fn end_if(&mut self) -> Option<()> {
        let begin = self.open.pop()?;
        self.rules[begin].then = Then::ElseSkipTo(self.rules.len());
        Some(())
    }

    /// `None`: an `if` without `endif`.
    pub fn finish(self) -> Option<Rules> {
        self.open.is_empty().then_some(Rules(self.rules))
    }
}

/// Parses a file; `None` when we are not sure of something in it.
pub(super) fn parse(text: &str, syntax: Syntax) -> Option<Rules> {
    let mut builder = Builder::default();
    for line in logical_lines(text) {
        match Line::of(&line.text) {
            Line::EndIf => builder.end_if()?,
            Line::If(text) => {
                let expression = Expression::parse(text)?;
                if !expression.rest.is_empty() {
                    return None;
                }
                let (matcher, _) = expression.compile(syntax, false)?;
                builder.rule(matcher, expression.negated, Then::ElseSkipTo(0));
            }
            Line::Rule(text) => {
                let expression = Expression::parse(text)?;
                let parts = template(expression.rest)?;
                let highest =
                    parts.iter().map(|part| if let Part::Group(number) = part { *number } else { 0 }).max()?;
                let (matcher, groups) = expression.compile(syntax, highest > 0)?;
                if highest > groups || (highest > 0 && expression.negated) {
                    return None;
                }
                builder.rule(matcher, expression.negated, Then::Result(parts));
            }
        }
    }
    builder.finish()
}

/// `[!]/pattern/flags rest`.
struct Expression<'a> {
    negated: bool,
    pattern: String,
    flags: &'a str,
    rest: &'a str,
}

impl<'a> Expression<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let body = text.trim_start_matches(|c| c == '!' || is_blank(c));
        let negated = text[..text.len() - body.len()].matches('!').count() % 2 == 1;
        let delimiter = body.chars().next().filter(char::is_ascii_punctuation)?;
        let mut end = None;
        let mut escaped = false;
        for (index, c) in body.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == delimiter => {
                    end = Some(index);
                    break;
                }
                _ => {}
            }
        }
        let end = end?;
        let after = &body[end + 1..];
        let flags = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
        let rest = &after[flags.len()..];
        if !rest.is_empty() && !rest.starts_with(is_blank) {
            return None;
        }
        Some(Self { negated, pattern: body[1..end].to_owned(), flags, rest: rest.trim_start_matches(is_blank) })
    }

    /// The compiled expression and how many groups it has.
    fn compile(&self, syntax: Syntax, wants_groups: bool) -> Option<(Matcher, usize)> {
        match syntax {
            Syntax::Posix => {
                let mut caseless = true;
                for flag in self.flags.chars() {
                    match flag {
                        'i' => caseless = !caseless,
                        _ => return None,
                    }
                }
                let pattern = posix::translate(&self.pattern, wants_groups)?;
                let mut builder = regex::bytes::RegexBuilder::new(&pattern);
                builder.unicode(false).dot_matches_new_line(true).case_insensitive(caseless);
                let regex = builder.build().ok()?;
                let groups = regex.captures_len() - 1;
                Some((Matcher::Posix(regex), groups))
            }
            Syntax::Pcre => {
                // Postfix sets these two at first; a flag toggles.
                let (mut caseless, mut dotall, mut multi_line, mut extended) = (true, true, false, false);
                for flag in self.flags.chars() {
                    match flag {
                        'i' => caseless = !caseless,
                        's' => dotall = !dotall,
                        'm' => multi_line = !multi_line,
                        'x' => extended = !extended,
                        _ => return None,
                    }
                }
                if !self.pattern.is_ascii() {
                    return None;
                }
                let mut builder = pcre2::bytes::RegexBuilder::new();
                builder.caseless(caseless).dotall(dotall).multi_line(multi_line).extended(extended);
                let regex = builder.build(&self.pattern).ok()?;
                let groups = regex.captures_len() - 1;
                Some((Matcher::Pcre(regex), groups))
            }
        }
    }
}

/// A result with `$1`, `${1}`, `$(1)` and `$$`. `None` for an empty or a malformed one.
pub(super) fn template(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        literal.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let (number, after) = match rest.chars().next()? {
            '{' => rest[1..].split_once('}')?,
            '(' => rest[1..].split_once(')')?,
            _ => rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())),
        };
        parts.push(Part::Text(std::mem::take(&mut literal)));
        parts.push(Part::Group(number.parse().ok()?));
        rest = after;
    }
    literal.push_str(rest);
    parts.push(Part::Text(literal));
    (!text.is_empty()).then_some(parts)
}

#[cfg(test)]
#[path = "patterns_tests.rs"]
mod tests;
