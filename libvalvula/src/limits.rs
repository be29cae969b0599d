//! What a request may measure at most. Whoever sends more is cut off as soon as it has done so.

/// The limits of a request, each of which the configuration may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line, its line end not counted.
    pub line: usize,
    /// Lines of a request, the empty one not counted.
    pub attributes: usize,
    /// Bytes of a request, line ends and the empty line included. Never more than [`Limits::MAX_REQUEST`].
    pub request: usize,
}

impl Limits {
    /// What [`Limits::request`] may be at most: offsets inside a request are kept in 32 bits.
    pub const MAX_REQUEST: usize = 1 << 30;

    /// The bound that holds for a whole request.
    pub(crate) fn request_bytes(&self) -> usize {
        self.request.min(Self::MAX_REQUEST)
    }
}

/// 16 KiB a line, 256 attributes, 64 KiB a request.
///
/// The longest address that was seen to come through Postfix's default limits has 2 KiB.
impl Default for Limits {
    fn default() -> Self {
        Self { line: 16 * 1024, attributes: 256, request: 64 * 1024 }
    }
}
