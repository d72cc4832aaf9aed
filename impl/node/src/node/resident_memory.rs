//! How much resident memory this process has. It is read at most once a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a reading is good for: 1 s. A reading takes longer than everything else in a status, and
/// nobody needs the figure more often.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last reading, and when it was made.
#[derive(Debug, Default)]
pub(super) struct ResidentMemory(Mutex<Option<(Instant, u64)>>);

impl ResidentMemory {
    /// How many bytes of this process are in memory; 0 where the system does not tell.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_at(Instant::now(), read)
    }

    fn bytes_at(&self, now: Instant, read: impl FnOnce() -> u64) -> u64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, bytes)) if now < at + GOOD_FOR => bytes,
            _ => last.insert((now, read())).1,
        }
    }
}

fn read() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_once_a_second() {
        let resident = ResidentMemory::default();
        let start = Instant::now();
        let after_ms = |ms| start + Duration::from_millis(ms);
        assert_eq!(resident.bytes_at(start, || 1), 1);
        assert_eq!(resident.bytes_at(after_ms(999), || 2), 1);
        assert_eq!(resident.bytes_at(after_ms(1000), || 3), 3);
        assert_eq!(resident.bytes_at(after_ms(1001), || 4), 3);
    }
}
