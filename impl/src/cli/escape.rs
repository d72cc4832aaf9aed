//! Values as text on one line, so that no two values look the same.

use std::fmt::{self, Write as _};

/// A value as text: a backslash, a tab, a carriage return, a line feed and bytes that are not UTF-8
/// are written as `\\`, `\t`, `\r`, `\n` and `\xHH`; everything else stands for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(['\\', '\t', '\r', '\n']) {
                f.write_str(&rest[..at])?;
                f.write_str(match rest.as_bytes()[at] {
                    b'\\' => r"\\",
                    b'\t' => r"\t",
                    b'\r' => r"\r",
                    _ => r"\n",
                })?;
                rest = &rest[at + 1..];
            }
            f.write_str(rest)?;
            for byte in chunk.invalid() {
                write!(f, r"\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The beginning of a value as text, for messages.
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

    /// What an escaped value stands for.
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
        assert_eq!(escaped(b""), "");
    }

    proptest! {
        /// Bytes that matter often, and all others.
        #[test]
        fn escaping_is_one_line_and_loses_nothing(
            bytes in vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\n'), Just(b'x'), Just(0xc3)], 0..64)
        ) {
            let escaped = Escaped(&bytes).to_string();
            prop_assert!(!escaped.contains(['\t', '\r', '\n']));
            prop_assert_eq!(unescape(&escaped), bytes);
        }

        #[test]
        fn text_without_the_four_stands_for_itself(text in "[^\\\\\t\r\n]*") {
            prop_assert_eq!(Escaped(text.as_bytes()).to_string(), text);
        }
    }
}
