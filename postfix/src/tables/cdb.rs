//! `cdb:` tables.
//!
//! Opened for each look-up: `postmap` replaces the file as a whole, and the next look-up sees the new one.

use std::path::PathBuf;

use super::TableError;

/// The value of `key`. Postfix reads files whose keys and values end with a NUL, and files where they do
/// not.
pub(super) async fn get(file: PathBuf, key: Vec<u8>) -> Result<Option<Vec<u8>>, TableError> {
    let look_up = move || {
        let failed = |error: std::io::Error| TableError(format!("{}: {error}", file.display()));
        let table = cdb2::CDB::open(&file).map_err(failed)?;
        let with_nul = [key.as_slice(), b"\0"].concat();
        for key in [with_nul.as_slice(), key.as_slice()] {
            if let Some(value) = table.get(key) {
                let mut value = value.map_err(failed)?;
                if value.last() == Some(&0) {
                    value.pop();
                }
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    tokio::task::spawn_blocking(look_up).await.map_err(TableError::new)?
}
