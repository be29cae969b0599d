//! A log that keeps its lines, for tests.

use std::sync::{Arc, Mutex};

use slog::{Drain, KV as _, Logger, Never, OwnedKVList, Record};

/// Lines as `message key=value ...`.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// How many lines hold `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        struct Pairs(String);
        impl slog::Serializer for Pairs {
            fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
                // They come last first.
                self.0.insert_str(0, &format!(" {key}={value}"));
                Ok(())
            }
        }
        let mut pairs = Pairs(String::new());
        record.kv().serialize(record, &mut pairs).unwrap();
        self.0.lock().unwrap().push(format!("{}{}", record.msg(), pairs.0));
        Ok(())
    }
}

pub(crate) fn kept_log() -> (Logger, Lines) {
    let lines = Lines::default();
    (Logger::root(lines.clone(), slog::o!()), lines)
}
