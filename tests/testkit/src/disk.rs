//! A small file system of a test's own, which can be filled: a tmpfs, so the test must be root.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::directory;

/// "$1" is the directory, "$2" the size. Unmounts when its input ends, however the test ends.
const KEEPER: &str = r#"
mount -t tmpfs -o "size=$2,mode=0755" tmpfs "$1" || { rmdir "$1"; exit 1; }
echo mounted
read -r _
umount -l "$1"; rmdir "$1"
"#;

/// A mounted tmpfs. Unmounted and removed when dropped, or when the test's process ends in any way.
pub struct SmallDisk {
    keeper: Child,
    directory: PathBuf,
}

impl SmallDisk {
    /// One of `size` as mount(8) takes it (`8m`).
    ///
    /// # Panics
    /// When it can't be mounted: the test is not root.
    #[track_caller]
    pub fn mount(size: &str) -> Self {
        let directory = directory().keep();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&directory).arg(size);
        // A process group of its own: Ctrl-C ends the test, and the keeper then unmounts.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper = command.spawn().expect("sh starts");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        assert_eq!(line, "mounted\n", "a tmpfs can't be mounted: this test needs root");
        Self { keeper, directory }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Takes all room that is left; again, what was given back meanwhile.
    ///
    /// # Panics
    /// When it does not become full.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("a file");
        let chunk = [b'x'; 4096];
        while file.write_all(&chunk).is_ok() {}
        let error = file.write(&chunk).expect_err("it is full");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) {
        // Not there: it was not filled.
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
