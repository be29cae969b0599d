//! A clock that the test moves under a running program: libfaketime stands between it and the kernel's clock.
//!
//! Only the time of day moves. What measures spans (the monotonic clock) goes on as ever, as when an
//! administrator sets the clock.

use std::path::{Path, PathBuf};

/// The time of day of the programs that are started with [`MovedClock::environment`].
pub struct MovedClock {
    library: String,
    file: PathBuf,
}

impl MovedClock {
    /// A clock that is right so far. Its file is made in `directory`.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub fn new(directory: &Path) -> Self {
        let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
        let places = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = places.into_iter().find(|path| path.exists()).expect("libfaketime: apt-get install faketime");
        let clock = Self { library: library.display().to_string(), file: directory.join("clock") };
        clock.set(0);
        clock
    }

    /// What a program must be started with.
    pub fn environment(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().expect("a path that is text")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// From now on it shows the true time and `seconds`.
    pub fn set(&self, seconds: i64) {
        // In one step: a program that reads half of it would see another time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the clock's file is written");
        std::fs::rename(&new, &self.file).expect("the clock's file is replaced");
    }
}
