//! Where the servers' programs are: in the path, or where Debian's packages put them.

use std::path::{Path, PathBuf};

/// The program `name`, or a panic that says which package has it.
pub(crate) fn find(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    places.extend(versions.into_iter().rev());
    places
        .iter()
        .map(|place| place.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed, and this test needs it: apt-get install {package}"))
}

/// User and group `name` of this machine, from `/etc/passwd`.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Whether the test runs as root: the owner of what it makes.
pub(crate) fn is_root(made: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(made).is_ok_and(|metadata| metadata.uid() == 0)
}
