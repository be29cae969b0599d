//! What is made of the fuzzer's bytes.

use std::fs::File;
use std::future::Future;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The first line, and what follows it.
pub fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Bytes as text, as the readers of configuration have it.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether nothing in it could drive a terminal or begin another line of a log.
pub fn is_one_printable_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// Numbers that follow from the input alone: the same input is always tried in the same way, and a corpus
/// of plain files needs no bytes that are only choices.
pub struct Choices(u64);

impl Choices {
    /// The choices for `data`.
    pub fn of(data: &[u8]) -> Self {
        let seed = data
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// A file in memory, for readers that take a path.
pub struct MemoryFile {
    file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// An empty one.
    pub fn new() -> Self {
        let fd = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Self { file: File::from(fd), path }
    }

    /// Puts `content` in place of what it held.
    pub fn holds(&mut self, content: &[u8]) -> &Path {
        self.file.set_len(0).expect("it can be cut");
        self.file.seek(SeekFrom::Start(0)).expect("it can be wound back");
        self.file.write_all(content).expect("it can be written");
        &self.path
    }
}

/// Runs what the library has asynchronous.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
