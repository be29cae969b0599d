//! Where log lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::batch::Line;
use super::line::Stamp;
use crate::config::{Format, Identity};

/// Somewhere lines are written to. Only the log's own thread calls it, so it may block.
pub(super) trait Target: Send {
    /// Takes a line; it may keep it until [`Target::flush`].
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost>;
    /// Writes what was kept.
    fn flush(&mut self) -> Result<(), Lost> {
        Ok(())
    }
    /// Opens the target again, when it can have been moved away.
    fn reopen(&mut self) -> Result<(), Lost> {
        Ok(())
    }
}

/// A target failed.
#[derive(Debug)]
pub(super) struct Lost {
    /// Lines that were given up.
    pub lines: u64,
    /// Why.
    pub error: io::Error,
}

/// The line at hand is lost.
impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self { lines: 1, error }
    }
}

/// Bytes kept at most before they are written.
const BUFFER: usize = 64 * 1024;

/// Lines on a byte stream: standard error or a file.
pub(super) struct Stream<W> {
    to: W,
    format: Format,
    stamp: Stamp,
    buffer: String,
    /// Lines in the buffer.
    lines: u64,
}

impl<W: Write> Stream<W> {
    /// Lines of `format` to `to`.
    pub fn new(to: W, format: Format) -> Self {
        Self { to, format, stamp: Stamp::default(), buffer: String::new(), lines: 0 }
    }

    fn add(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        match self.format {
            Format::Text => line.write_text(&mut self.stamp, &mut self.buffer),
            Format::Json => line.write_json(&mut self.stamp, &mut self.buffer),
        }
        self.buffer.push('\n');
        self.lines += 1;
        if self.buffer.len() < BUFFER { Ok(()) } else { self.write_out() }
    }

    /// What can't be written is given up: it is counted as lost, and memory stays bounded.
    fn write_out(&mut self) -> Result<(), Lost> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.to.write_all(self.buffer.as_bytes());
        self.buffer.clear();
        let lines = std::mem::take(&mut self.lines);
        written.map_err(|error| Lost { lines, error })
    }
}

impl<W: Write + Send> Target for Stream<W> {
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        self.add(line)
    }

    fn flush(&mut self) -> Result<(), Lost> {
        self.write_out()
    }
}

/// Lines in a file of their own.
pub(super) struct LogFile {
    path: PathBuf,
    stream: Stream<File>,
}

impl LogFile {
    /// Opens `path` to append to it, and makes it when it is not there, for `owner` when that is another.
    pub fn open(path: &Path, format: Format, owner: Option<&Identity>) -> io::Result<Self> {
        let file = open(path)?;
        if let Some(owner) = owner.filter(|_| nix::unistd::geteuid().is_root()) {
            std::os::unix::fs::fchown(&file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        }
        Ok(Self { path: path.to_owned(), stream: Stream::new(file, format) })
    }
}

impl Target for LogFile {
    fn write(&mut self, line: &Line<'_>) -> Result<(), Lost> {
        self.stream.add(line)
    }

    fn flush(&mut self) -> Result<(), Lost> {
        self.stream.flush()
    }

    /// A file that can't be opened again is written on as it is.
    fn reopen(&mut self) -> Result<(), Lost> {
        self.flush()?;
        self.stream.to = open(&self.path).map_err(|error| Lost { lines: 0, error })?;
        Ok(())
    }
}

/// A named pipe that nobody reads is refused: opening it would wait for a reader, and the start with it.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().create(true).append(true).mode(0o640).custom_flags(nonblocking).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::NXIO.raw_os_error() => io::Error::other("it is a pipe that nobody reads"),
        _ => error,
    })?;
    // Written to it may wait: only the log's own thread does.
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::batch::example;
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_moved_away_is_made_again_at_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut file = LogFile::open(&path, Format::Text, None).unwrap();
        file.write(&example("one", &[]).first()).unwrap();
        file.flush().unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write(&example("two", &[]).first()).unwrap();
        file.reopen().unwrap();
        file.write(&example("three", &[]).first()).unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap().lines().count(), 2);
        assert!(fs::read_to_string(path).unwrap().ends_with("three\n"));
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_refused_at_once_and_one_that_is_read_is_written_to() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let error = LogFile::open(&path, Format::Text, None).err().unwrap();
        assert!(error.to_string().contains("pipe that nobody reads"), "{error}");

        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut file = LogFile::open(&path, Format::Text, None).unwrap();
        assert!(!fcntl_getfl(&file.stream.to).unwrap().contains(OFlags::NONBLOCK));
        file.write(&example("heard", &[]).first()).unwrap();
        file.flush().unwrap();
        let mut text = [0; 100];
        let length = io::Read::read(&mut reader, &mut text).unwrap();
        assert!(String::from_utf8_lossy(&text[..length]).contains("heard"));
    }

    #[test]
    fn every_line_that_could_not_be_written_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut stream = Stream::new(Full, Format::Text);
        stream.write(&example("one", &[]).first()).unwrap();
        stream.write(&example("two", &[]).first()).unwrap();
        assert_eq!(stream.flush().unwrap_err().lines, 2);
        stream.flush().unwrap();
    }

    #[test]
    fn lines_are_kept_until_flushed_or_until_they_are_many() {
        let mut stream = Stream::new(Vec::new(), Format::Json);
        stream.add(&example("x", &[]).first()).unwrap();
        assert!(stream.to.is_empty());
        let long = "y".repeat(BUFFER);
        stream.add(&example(&long, &[]).first()).unwrap();
        assert_eq!(stream.to.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}
