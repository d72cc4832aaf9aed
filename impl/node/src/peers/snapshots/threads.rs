//! The threads that read and write snapshot files.
//!
//! Each ends soon after the connection that it works for: it does one chunk at a time. But a disk may be slow,
//! and a file that is whole is checked from its beginning to its end. A node that stops waits for that, so that
//! nothing touches its data directory afterwards.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use synod_wire::blocking::NotRun;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How often a node that stops looks whether they have ended. Default 1 ms.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Does `work` on a thread of its own, with this name. Nobody waits for it, except for
    /// [`join`](Self::join).
    pub(super) fn start(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut running = self.running();
        running.retain(|thread| !thread.is_finished());
        running.push(Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Does `work` on a thread of its own, and waits for it. If the wait is dropped, the thread goes on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let (done, result) = oneshot::channel();
        self.start(name, move || drop(done.send(work()))).map_err(NotRun::NoThread)?;
        result.await.map_err(|_| NotRun::Panicked(name))
    }

    /// Waits until all of them have ended.
    pub(super) async fn join(&self) {
        loop {
            let all_have_ended = self.running().iter().all(JoinHandle::is_finished);
            if all_have_ended {
                break;
            }
            // Another thread to wait on might not be started now.
            sleep(LOOK_AGAIN).await;
        }
        for thread in self.running().drain(..) {
            // Whoever waited for one that has panicked has been told.
            let _ = thread.join();
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
