//! A rate limit for log lines about strangers.
//!
//! Anybody who reaches a port can make a node close connections, as fast as the network allows. One log
//! line for each would fill a disk, and hide everything else in the log. So there are a few lines a
//! second, and then one line that says how many were left out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// How many lines a second one port may log about strangers. Default 10: enough to see who they are and
/// what they send, and about 100 MiB a day at most.
const LINES_PER_SECOND_MAX: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// Counts the log lines about strangers on one port.
#[derive(Debug)]
pub(crate) struct LogRateLimit {
    /// What the lines are about: "clients".
    subject: &'static str,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the second ends in which these lines were logged.
    until: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogRateLimit {
    /// A limit for lines about `subject`. Nothing was logged yet.
    pub(crate) fn new(subject: &'static str) -> Arc<Self> {
        Arc::new(Self { subject, window: Mutex::default() })
    }

    /// Whether one more line may be logged now. If not, the line is counted, and the count is logged
    /// when the second is over.
    ///
    /// Call this within a tokio runtime that has time.
    pub(crate) fn allows_line(self: &Arc<Self>) -> bool {
        let now = Instant::now();
        let mut window = self.lock();
        let until = match window.until {
            Some(until) if now < until => until,
            _ => {
                window.lines = 0;
                *window.until.insert(now + SECOND)
            }
        };
        if window.lines < LINES_PER_SECOND_MAX {
            window.lines += 1;
            return true;
        }
        window.left_out += 1;
        if window.left_out == 1 {
            tokio::spawn(Arc::clone(self).report_left_out(until));
        }
        false
    }

    async fn report_left_out(self: Arc<Self>, until: Instant) {
        sleep_until(until).await;
        let connections = std::mem::take(&mut self.lock().left_out);
        warn!(connections, "{} were closed without a line for each", self.subject);
    }

    /// A thread that panicked while it held the lock cannot have left numbers that are wrong.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
