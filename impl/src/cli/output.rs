//! Standard output: written in batches, and closed by whoever has read enough.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write as _};

/// Standard output, buffered until [`Output::flush`].
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), OutputError> {
        writeln!(self.0, "{line}").map_err(OutputError)
    }

    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        self.0.flush().map_err(OutputError)
    }
}

/// Standard output does not take any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output could not be written: {0}")]
pub(crate) struct OutputError(io::Error);

/// Whether the reader of standard output has read enough.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<OutputError>().map(|error| &error.0);
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
