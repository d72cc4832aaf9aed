//! Values from standard input, one on each line.

use std::io::{self, BufRead, Read as _};
use std::thread;

use synod_wire::Value;
use tokio::sync::mpsc;

/// The length of the longest line: 16 MiB. No cluster takes a longer value, and reading it would only
/// fill the memory.
const LINE_BYTES_MAX: usize = 16 << 20;

/// How many lines are read ahead: 16. That keeps a pipeline full, and is few of the longest lines.
const AHEAD: usize = 16;

/// A line, or why it is not a value.
pub(crate) type Line = Result<Value, LineError>;

/// A line that cannot be a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The line is too long. The rest of it is skipped.
    #[error("it has more than {} MiB", LINE_BYTES_MAX >> 20)]
    TooLong,
    /// Reading has failed. No more lines come.
    #[error("standard input could not be read: {0}")]
    Io(#[from] io::Error),
}

/// The lines of standard input. A thread of their own reads them, because waiting for a terminal cannot
/// be interrupted, and a thread can be left behind.
pub(crate) fn lines() -> mpsc::Receiver<Line> {
    let (lines, receiver) = mpsc::channel(AHEAD);
    let failed = lines.clone();
    let read = move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next(&mut input, LINE_BYTES_MAX) {
            let is_last = matches!(line, Err(LineError::Io(_)));
            if lines.blocking_send(line).is_err() || is_last {
                break;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("input".to_owned()).spawn(read) {
        // It is the first line, so there is room.
        let _ = failed.try_send(Err(LineError::Io(error)));
    }
    receiver
}

/// Waits until standard input ends, and discards its lines.
pub(crate) async fn ended() {
    let mut input = lines();
    while input.recv().await.is_some() {}
}

/// The next line, without its line feed. The last line may lack one.
fn next(input: &mut impl BufRead, line_bytes_max: usize) -> Option<Line> {
    let mut line = Vec::new();
    let limit = u64::try_from(line_bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    match input.by_ref().take(limit).read_until(b'\n', &mut line) {
        Err(error) => return Some(Err(error.into())),
        Ok(0) => return None,
        Ok(_) => {}
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > line_bytes_max {
        return Some(input.skip_until(b'\n').map_err(LineError::from).and(Err(LineError::TooLong)));
    }
    Some(Ok(line.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(mut input: &[u8]) -> Vec<String> {
        let text = |line: Line| match line {
            Ok(value) => value.0.escape_ascii().to_string(),
            Err(error) => format!("error: {error}"),
        };
        std::iter::from_fn(|| next(&mut input, 5)).map(text).collect()
    }

    #[test]
    fn lines_are_bytes_between_line_feeds() {
        assert_eq!(texts(b""), [""; 0]);
        assert_eq!(texts(b"\n"), [""]);
        assert_eq!(texts(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(texts(b"a\r\n\xff\n"), [r"a\r", r"\xff"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_not() {
        assert_eq!(texts(b"12345\n123456\n1\n"), ["12345", "error: it has more than 16 MiB", "1"]);
        assert_eq!(texts(b"1234567890"), ["error: it has more than 16 MiB"]);
        assert_eq!(texts(b"12345"), ["12345"]);
    }
}
