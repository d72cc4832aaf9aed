//! Values as text on one line. No two values look the same, and none controls a terminal.

use std::fmt::{self, Write as _};

/// A value as text. A backslash, a tab, a carriage return and a line feed are written as `\\`, `\t`,
/// `\r` and `\n`. Each byte of another control character, and each byte that is not UTF-8, is written
/// as `\xHH`. Everything else stands for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, special)) = rest.char_indices().find(|(_, it)| is_special(*it)) {
                let (before, from) = rest.split_at(at);
                f.write_str(before)?;
                let (special_text, after) = from.split_at(special.len_utf8());
                match special {
                    '\\' => f.write_str(r"\\")?,
                    '\t' => f.write_str(r"\t")?,
                    '\r' => f.write_str(r"\r")?,
                    '\n' => f.write_str(r"\n")?,
                    _ => write_bytes(f, special_text.as_bytes())?,
                }
                rest = after;
            }
            f.write_str(rest)?;
            write_bytes(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// U+0000 to U+001F and U+007F to U+009F are control characters.
fn is_special(character: char) -> bool {
    character == '\\' || character.is_control()
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, r"\x{byte:02x}"))
}

/// The beginning of a value, as text for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Beginning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 40;
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        f.write_char('"')?;
        Escaped(shown).fmt(f)?;
        f.write_char('"')?;
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The value that an escaped text stands for.
    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes().iter().copied();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            bytes.push(match rest.next().unwrap() {
                b'\\' => b'\\',
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("\\{}", char::from(other)),
            });
        }
        bytes
    }

    #[test]
    fn what_is_escaped_and_what_is_not() {
        let escaped = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(escaped(b"plain"), "plain");
        assert_eq!(escaped("gr\u{fc}n \u{1f980} \"'".as_bytes()), "gr\u{fc}n \u{1f980} \"'");
        assert_eq!(escaped(b"a\\b\tc\rd\ne"), r"a\\b\tc\rd\ne");
        assert_eq!(escaped(b"\\x41"), r"\\x41");
        assert_eq!(escaped(b"\xff\xfea\xc3"), r"\xff\xfea\xc3");
        assert_eq!(escaped(b"\x1b[31m\0\x7f~"), r"\x1b[31m\x00\x7f~");
        // A character that begins an escape sequence, and the first one that does nothing.
        assert_eq!(escaped("\u{9b}31m\u{9f}\u{a0}".as_bytes()), "\\xc2\\x9b31m\\xc2\\x9f\u{a0}");
        assert_eq!(escaped(b""), "");
    }

    proptest! {
        /// Any bytes, and often those that matter.
        #[test]
        fn escaping_is_one_line_and_loses_nothing(
            bytes in vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\n'), Just(b'x'), Just(0xc2), 0x80..0xa0_u8], 0..64)
        ) {
            let escaped = Escaped(&bytes).to_string();
            prop_assert!(!escaped.contains(char::is_control));
            prop_assert_eq!(unescape(&escaped), bytes);
        }

        #[test]
        fn text_without_any_of_these_stands_for_itself(text in "[^\\\\\\p{Cc}]*") {
            prop_assert_eq!(Escaped(text.as_bytes()).to_string(), text);
        }
    }
}
