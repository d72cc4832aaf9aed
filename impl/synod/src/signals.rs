//! The signals that end a command.
//!
//! The first process of a container ignores every signal that it has no handler for, Ctrl-C and SIGTERM
//! among them. So every command has one.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;

/// Waits for the signals that end a command. Each value of this type gets every signal.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Ctrl-C and SIGTERM.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// The same, and SIGHUP, which comes when the terminal is closed.
    pub(crate) fn with_hangup() -> anyhow::Result<Self> {
        Ok(Self { hangup: Some(listen(SignalKind::hangup())?), ..Self::new()? })
    }

    /// Waits for the next signal. Returns how a command ends that it ends.
    pub(crate) async fn next(&mut self) -> Exit {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = hangup => SignalKind::hangup(),
        };
        Exit::Signal(kind.as_raw_value())
    }
}

/// Ends the process when a signal has come and the command does not end by itself: after `grace`, or at
/// once with the next signal. It may be waiting for the reader of standard output. `tell` says before
/// what that means.
pub(crate) async fn insist(mut signals: Signals, grace: Duration, tell: impl FnOnce()) {
    let exit = signals.next().await;
    // The command ends first if it can.
    let grace = grace + Duration::from_millis(200);
    let exit = tokio::time::timeout(grace, signals.next()).await.unwrap_or(exit);
    tell();
    std::process::exit(exit.code().into());
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals cannot be waited for")
}
