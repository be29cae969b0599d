//! Every text of the rules once, numbered: a million rules cost the bytes of their texts and a few words each.
//!
//! An atom is a form (`user@domain`, `domain`, a SASL user, ...) and a text in normal form. Texts lie end to
//! end in one buffer. The hash only leads to a candidate; the texts themselves are compared, so two texts
//! of one hash are never taken for each other.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use libvalvula::RuleForm;
use std::hash::BuildHasher;

/// The number of an atom: its place in the order of interning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Atom(pub(super) u32);

impl Atom {
    /// The empty rule, which holds for everything; also "whatever SASL user". In every [`Atoms`].
    pub(super) const EVERYTHING: Self = Self(0);
}

/// What kind of text an atom is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// That of an address rule.
    Rule(RuleForm),
    /// A SASL user.
    User,
}

impl Form {
    fn byte(self) -> u8 {
        match self {
            Self::Rule(form) => form as u8,
            Self::User => u8::MAX,
        }
    }
}

/// The texts and their numbers.
pub(super) struct Atoms {
    arena: Vec<u8>,
    /// Where each text ends in the arena; it begins where the one before ends.
    ends: Vec<u32>,
    forms: Vec<Form>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Atoms {
    pub(super) fn new() -> Self {
        let mut atoms = Self {
            arena: Vec::new(),
            ends: Vec::new(),
            forms: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::default(),
        };
        let first = atoms.intern(Form::Rule(RuleForm::Everything), b"");
        debug_assert_eq!(first, Some(Atom::EVERYTHING));
        atoms
    }

    /// The atom of a text, if some rule has it.
    pub(super) fn find(&self, form: Form, text: &[u8]) -> Option<Atom> {
        self.table.find(self.hash(form, text), |&n| self.get(Atom(n)) == (form, text)).map(|&n| Atom(n))
    }

    /// The atom of a text, made if there is none yet. `None` when 4 GiB of text or 2^32 - 1 texts are held.
    pub(super) fn intern(&mut self, form: Form, text: &[u8]) -> Option<Atom> {
        if let Some(known) = self.find(form, text) {
            return Some(known);
        }
        let hash = self.hash(form, text);
        let number = u32::try_from(self.ends.len()).ok().filter(|&n| n < u32::MAX)?;
        let end = u32::try_from(self.arena.len() + text.len()).ok()?;
        self.arena.extend_from_slice(text);
        self.ends.push(end);
        self.forms.push(form);
        let Self { arena, ends, forms, table, hasher } = self;
        table.insert_unique(hash, number, |&n| {
            let (form, text) = at(arena, ends, forms, n);
            hash_of(hasher, form, text)
        });
        Some(Atom(number))
    }

    /// The form and text of an atom of this set.
    pub(super) fn get(&self, atom: Atom) -> (Form, &[u8]) {
        at(&self.arena, &self.ends, &self.forms, atom.0)
    }

    /// How many there are, [`Atom::EVERYTHING`] included.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Gives back what growing has left over.
    pub(super) fn shrink(&mut self) {
        let Self { arena, ends, forms, table, hasher } = self;
        arena.shrink_to_fit();
        ends.shrink_to_fit();
        forms.shrink_to_fit();
        table.shrink_to_fit(|&n| {
            let (form, text) = at(arena, ends, forms, n);
            hash_of(hasher, form, text)
        });
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() + self.ends.capacity() * 4 + self.forms.capacity() + self.table.allocation_size()
    }

    fn hash(&self, form: Form, text: &[u8]) -> u64 {
        hash_of(&self.hasher, form, text)
    }
}

fn at<'a>(arena: &'a [u8], ends: &[u32], forms: &[Form], number: u32) -> (Form, &'a [u8]) {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] as usize };
    (forms[number], &arena[start..ends[number] as usize])
}

fn hash_of(hasher: &RandomState, form: Form, text: &[u8]) -> u64 {
    hasher.hash_one((form.byte(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_gives_its_text_back() {
        let mut atoms = Atoms::new();
        let domain = atoms.intern(Form::Rule(RuleForm::Domain), b"example.com").unwrap();
        let below = atoms.intern(Form::Rule(RuleForm::Subdomains), b"example.com").unwrap();
        assert_ne!(domain, below, "the same text in another form is another atom");
        assert_eq!(atoms.intern(Form::Rule(RuleForm::Domain), b"example.com"), Some(domain));
        assert_eq!(atoms.get(below), (Form::Rule(RuleForm::Subdomains), &b"example.com"[..]));
        assert_eq!(atoms.find(Form::Rule(RuleForm::Domain), b"example.co"), None);
        assert_eq!(atoms.find(Form::Rule(RuleForm::Everything), b""), Some(Atom::EVERYTHING));
        assert_eq!(atoms.len(), 3);
    }

    #[test]
    fn growing_and_shrinking_lose_no_text() {
        let mut atoms = Atoms::new();
        let texts: Vec<_> = (0..5_000).map(|n| format!("u{n}@example.com")).collect();
        let numbers: Vec<_> =
            texts.iter().map(|text| atoms.intern(Form::Rule(RuleForm::Address), text.as_bytes())).collect();
        atoms.shrink();
        for (text, number) in texts.iter().zip(numbers) {
            assert_eq!(atoms.find(Form::Rule(RuleForm::Address), text.as_bytes()), number);
        }
    }
}
