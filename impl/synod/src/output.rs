//! Standard output: written in batches, and closed by whoever has read enough.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::os::fd::AsFd as _;
use std::{future, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

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

impl OutputError {
    /// Whether the reader has read enough.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Waits until nobody reads standard output any more. Whoever has nothing to write would not notice.
pub(crate) async fn closed() {
    let (tell, told) = oneshot::channel();
    // The wait has no end if the reader stays; a thread can be left behind.
    thread::spawn(move || {
        let stdout = io::stdout();
        // Nothing is asked for: that the other end is gone is told in any case.
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = tell.send(fds[0].any() == Some(true));
    });
    if told.await != Ok(true) {
        // It cannot be found out. The next write will tell.
        future::pending::<()>().await;
    }
}

/// Whether the reader of standard output has read enough.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed)
}
