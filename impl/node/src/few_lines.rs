//! Few lines about strangers, however many there are.
//!
//! Anybody who reaches a port can have a node close connections, as fast as the network lets them. A
//! line for each would fill a disk, and hide what else the log says. So there are a few lines a
//! second, and then one that says how many more there would have been.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// How many lines a second one port may tell of strangers. Default 10: enough to see who they are and
/// what they send, and about 100 MiB a day at the worst.
const LINES_PER_SECOND_MAX: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// Counts the lines about strangers on one port.
#[derive(Debug)]
pub(crate) struct FewLines {
    /// What the lines are about: "clients".
    whom: &'static str,
    count: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    /// When the second ends in which these lines were told.
    until: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl FewLines {
    /// No line was told yet.
    pub(crate) fn new(whom: &'static str) -> Arc<Self> {
        Arc::new(Self { whom, count: Mutex::default() })
    }

    /// Whether one more line may be told now. If not, it is counted, and the number is told when the
    /// second is over.
    ///
    /// To be called within a tokio runtime that has time.
    pub(crate) fn may_tell(self: &Arc<Self>) -> bool {
        let now = Instant::now();
        let mut count = self.lock();
        let until = match count.until {
            Some(until) if now < until => until,
            _ => {
                count.lines = 0;
                *count.until.insert(now + SECOND)
            }
        };
        if count.lines < LINES_PER_SECOND_MAX {
            count.lines += 1;
            return true;
        }
        count.left_out += 1;
        if count.left_out == 1 {
            tokio::spawn(Arc::clone(self).tell_left_out(until));
        }
        false
    }

    async fn tell_left_out(self: Arc<Self>, until: Instant) {
        sleep_until(until).await;
        let connections = std::mem::take(&mut self.lock().left_out);
        warn!(connections, "{} were closed without a line for each", self.whom);
    }

    /// The count is whole also where somebody who held it has panicked.
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
