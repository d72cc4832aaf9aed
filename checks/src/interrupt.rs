//! Ctrl-C: the first one stops the search, the second one ends the process.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Whether the process received Ctrl-C or a signal to terminate.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the signal handler.
    ///
    /// # Errors
    ///
    /// If the process has one already.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let seen = interrupt.clone();
        let handler = move || {
            if seen.0.swap(true, Ordering::Relaxed) {
                process::exit(130);
            }
        };
        ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Ends the process at the first signal, for a command that never ends by itself. The first process of
    /// a container would ignore both signals without a handler.
    ///
    /// # Errors
    ///
    /// If the process has a handler already.
    pub fn end_process() -> anyhow::Result<()> {
        ctrlc::set_handler(|| process::exit(130)).context("cannot listen for Ctrl-C")
    }

    /// Acts as Ctrl-C does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
