//! What a batch looks like in the journal: its rows as bytes, in postcard's format, which is fixed.
//!
//! Windows begin for most rows when they begin for the row before: so that is what is told.

use sea_orm::DbErr;
use serde::{Deserialize, Serialize};

use super::counter::WINDOWS;
use super::rows::Row;

/// The first byte: how the rest is to be read.
const FORMAT: u8 = 1;

/// A row. When its windows begin and close is told as the difference to the row before.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    kind: u8,
    name: &'a [u8],
    windows: [(i64, i64); WINDOWS],
    closes: i64,
}

/// When the windows of the row before begin, and when they close.
#[derive(Default)]
struct Before([i64; WINDOWS], i64);

/// The bytes of `rows`. Limits are not part of it.
///
/// # Errors
/// Never for rows that memory holds.
pub(super) fn encode(rows: &[Row]) -> Result<Vec<u8>, DbErr> {
    let mut bytes = Vec::with_capacity(1 + rows.len() * 48);
    bytes.push(FORMAT);
    let mut before = Before::default();
    for row in rows {
        let mut windows = row.windows;
        for ((from, _), before) in windows.iter_mut().zip(&mut before.0) {
            (*from, *before) = (from.wrapping_sub(*before), *from);
        }
        let closes = row.closes.wrapping_sub(before.1);
        before.1 = row.closes;
        let line = Line { kind: row.kind, name: &row.name, windows, closes };
        bytes = postcard::to_extend(&line, bytes).map_err(|error| DbErr::Custom(error.to_string()))?;
    }
    Ok(bytes)
}

/// The rows that [`encode`] made into `bytes`.
///
/// # Errors
/// When they are not such bytes; of entry `number`.
pub(super) fn decode(number: i64, bytes: &[u8]) -> Result<Vec<Row>, DbErr> {
    let broken = |why: &str| DbErr::Custom(format!("valvula_journal: entry {number} can't be read: {why}"));
    let Some((&FORMAT, mut rest)) = bytes.split_first() else {
        return Err(broken("a newer valvulad has written it, or something else"));
    };
    let mut rows = Vec::new();
    let mut before = Before::default();
    while !rest.is_empty() {
        let (line, tail) = postcard::take_from_bytes::<Line<'_>>(rest).map_err(|error| broken(&error.to_string()))?;
        rest = tail;
        let mut windows = line.windows;
        for ((from, _), before) in windows.iter_mut().zip(&mut before.0) {
            *from = from.wrapping_add(*before);
            *before = *from;
        }
        before.1 = line.closes.wrapping_add(before.1);
        rows.push(Row::added(line.kind, line.name.into(), windows, before.1));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row() -> impl Strategy<Value = Row> {
        let window = || (any::<i64>(), any::<i64>());
        let name = prop::collection::vec(any::<u8>(), 0..600);
        (any::<u8>(), name, [window(), window(), window()], any::<i64>())
            .prop_map(|(kind, name, windows, closes)| Row::added(kind, name.into(), windows, closes))
    }

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_written(rows in prop::collection::vec(row(), 0..50)) {
            prop_assert_eq!(decode(1, &encode(&rows).unwrap()).unwrap(), rows);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(1, &bytes);
            let _ = decode(1, &[&[FORMAT], bytes.as_slice()].concat());
        }
    }

    #[test]
    fn rows_of_one_time_take_little_more_than_their_names() {
        let windows = [(1_795_000_020, 1), (1_794_999_600, 1), (1_794_960_000, 1)];
        let row = |n: u32| Row::added(0, format!("user{n:04}@example.org").into_bytes().into(), windows, 1_795_046_400);
        let rows: Vec<_> = (0..50).map(row).collect();
        assert!(encode(&rows).unwrap().len() < 50 * (20 + 9) + 40);
    }

    #[test]
    fn what_can_t_be_read_says_which_entry_it_is() {
        for bytes in [&b""[..], b"\x02abc", b"\x01\x00\x7fabc"] {
            let error = decode(77, bytes).unwrap_err().to_string();
            assert!(error.contains("valvula_journal: entry 77 can't be read"), "{error}");
        }
    }
}
