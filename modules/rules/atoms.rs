//! Every text of the rules once, numbered: a million rules cost the bytes of their texts and a few words each.
//!
//! An atom is a form (`user@domain`, `domain`, a SASL user, ...) and a text in normal form. Texts lie end to
//! end in one buffer. The hash only leads to a candidate; the texts themselves are compared, so two texts
//! of one hash are never taken for each other.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use libvalvula::RuleForm;

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
    /// Form and text begin with this byte in the arena.
    fn byte(self) -> u8 {
        match self {
            Self::Rule(RuleForm::Everything) => 0,
            Self::Rule(RuleForm::Address) => 1,
            Self::Rule(RuleForm::Domain) => 2,
            Self::Rule(RuleForm::Subdomains) => 3,
            Self::Rule(RuleForm::LocalPart) => 4,
            Self::Rule(RuleForm::TopLevel) => 5,
            Self::Rule(RuleForm::Nothing) => 6,
            Self::User => 7,
        }
    }

    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Rule(RuleForm::Everything),
            1 => Self::Rule(RuleForm::Address),
            2 => Self::Rule(RuleForm::Domain),
            3 => Self::Rule(RuleForm::Subdomains),
            4 => Self::Rule(RuleForm::LocalPart),
            5 => Self::Rule(RuleForm::TopLevel),
            7 => Self::User,
            _ => Self::Rule(RuleForm::Nothing),
        }
    }
}

/// The texts and their numbers.
pub(super) struct Atoms {
    /// Of each its form, as one byte, and its text: beside each other, since both are compared.
    arena: Vec<u8>,
    /// Where each ends in the arena; it begins where the one before ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Atoms {
    pub(super) fn new() -> Self {
        let mut atoms =
            Self { arena: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher: RandomState::default() };
        let first = atoms.intern(Form::Rule(RuleForm::Everything), b"");
        debug_assert_eq!(first, Some(Atom::EVERYTHING));
        atoms
    }

    /// The atom of a text, if some rule has it.
    pub(super) fn find(&self, form: Form, text: &[u8]) -> Option<Atom> {
        let same = |&number: &u32| {
            let bytes = at(&self.arena, &self.ends, number);
            bytes[0] == form.byte() && &bytes[1..] == text
        };
        self.table.find(hash_of(&self.hasher, form.byte(), text), same).map(|&number| Atom(number))
    }

    /// The atom of a text, made if there is none yet. `None` when 4 GiB of text or 2^32 - 1 texts are held.
    pub(super) fn intern(&mut self, form: Form, text: &[u8]) -> Option<Atom> {
        if let Some(known) = self.find(form, text) {
            return Some(known);
        }
        let number = u32::try_from(self.ends.len()).ok().filter(|&n| n < u32::MAX)?;
        let end = u32::try_from(self.arena.len() + 1 + text.len()).ok()?;
        self.arena.push(form.byte());
        self.arena.extend_from_slice(text);
        self.ends.push(end);
        let Self { arena, ends, table, hasher } = self;
        let hash = hash_of(hasher, form.byte(), text);
        table.insert_unique(hash, number, |&number| rehash(hasher, arena, ends, number));
        Some(Atom(number))
    }

    /// The form and text of an atom of this set.
    pub(super) fn get(&self, atom: Atom) -> (Form, &[u8]) {
        let bytes = at(&self.arena, &self.ends, atom.0);
        (Form::of(bytes[0]), &bytes[1..])
    }

    /// How many there are, [`Atom::EVERYTHING`] included.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Gives back what growing has left over.
    pub(super) fn shrink(&mut self) {
        let Self { arena, ends, table, hasher } = self;
        arena.shrink_to_fit();
        ends.shrink_to_fit();
        table.shrink_to_fit(|&number| rehash(hasher, arena, ends, number));
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() + self.ends.capacity() * 4 + self.table.allocation_size()
    }
}

/// Form and text of an atom.
fn at<'a>(arena: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] as usize };
    &arena[start..ends[number] as usize]
}

fn hash_of(hasher: &RandomState, form: u8, text: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u8(form);
    state.write(text);
    state.finish()
}

fn rehash(hasher: &RandomState, arena: &[u8], ends: &[u32], number: u32) -> u64 {
    let bytes = at(arena, ends, number);
    hash_of(hasher, bytes[0], &bytes[1..])
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
