//! xtext (RFC 3461, section 4): how Postfix writes certificate names and `sasl_sender`.

use std::borrow::Cow;

use memchr::memchr;

/// What `text` stands for: each `+XX` (two hexadecimal digits) is the byte `XX`.
///
/// A `+` that no two hexadecimal digits follow stays as it is: nothing is lost of a value that was never
/// encoded.
pub fn xtext_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let byte = match (first, tail) {
            (b'+', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_names_are_decoded() {
        let name = xtext_decode(b"M+C3+BCller+20+2B+20S+C3+B6hne+20=+20100%");
        assert_eq!(&name[..], "Müller + Söhne = 100%".as_bytes());
    }

    #[test]
    fn what_was_never_encoded_stays() {
        assert!(matches!(xtext_decode(b"client.example.com"), Cow::Borrowed(_)));
        for odd in ["a+", "a+4", "a+zz", "++"] {
            assert_eq!(&xtext_decode(odd.as_bytes())[..], odd.as_bytes());
        }
    }
}
