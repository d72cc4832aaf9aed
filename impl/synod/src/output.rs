//! Standard output: written in batches, until its reader closes it.

use std::fmt;
use std::future;
use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use synod_wire::blocking;

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

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("standard output could not be written: {0}")]
pub(crate) struct OutputError(io::Error);

impl OutputError {
    /// Whether the reader has closed it, because it has read enough.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Waits until the reader closes standard output. A command that writes nothing would not notice.
pub(crate) async fn closed() {
    // If the reader stays, the wait has no end, so a thread is left behind.
    let is_closed = blocking::run("output", || {
        let stdout = io::stdout();
        // Nothing is polled for: the poll reports a closed end in any case.
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        fds[0].any() == Some(true)
    });
    if !matches!(is_closed.await, Ok(true)) {
        // The poll has failed, or there is no thread for it. The next write will tell.
        future::pending::<()>().await;
    }
}

/// Whether the reader of standard output has closed it.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed)
}
