//! How much memory the process holds, and how much it may hold.
//!
//! A search remembers every state that it has visited, so its memory grows until it ends; and a
//! machine that swaps makes no progress. So there is always a limit. A search that exceeds it is
//! stopped and reported as incomplete. The limits of all control groups above the process count as well.
//!
//! The measure is resident memory, which Linux reports in `/proc/self/status`. Linux also keeps the
//! peak, and lets a process reset it. So the peak of a scenario is exact: the most that the process
//! held while that scenario ran. (If the reset fails, the peak is the highest of many samples.) It
//! includes memory that the allocator kept from earlier scenarios of the same run, so measure a
//! scenario by running it alone.

mod control_groups;

use std::fs;

use anyhow::bail;
use bytesize::ByteSize;

/// The least limit: no search fits in less.
const LIMIT_MIN: u64 = 64 << 20;

/// A search stops when less than this fraction of the machine's memory is available: another process
/// has taken the rest.
const LEFT_FRACTION: u64 = 32;

/// How much memory the process may hold.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    bytes: u64,
    left_min: u64,
}

impl MemoryLimit {
    /// The limit that was `asked` for, or else four fifths of the memory that is available now.
    ///
    /// # Errors
    ///
    /// If the limit is too low, if more was asked for than is available, or if nothing was asked for
    /// and it is unknown how much is available.
    pub fn new(asked: Option<ByteSize>) -> anyhow::Result<Self> {
        let available = available();
        let bytes = match (asked, available) {
            (Some(asked), _) => asked.as_u64(),
            (None, Some(available)) => held().unwrap_or(0) + available / 5 * 4,
            (None, None) => bail!(
                "cannot find out how much memory this machine has\n  say how much may be used: --memory-max 6GiB"
            ),
        };
        if bytes < LIMIT_MIN {
            let (limit, least) = (ByteSize(bytes), ByteSize(LIMIT_MIN));
            bail!(
                "too little memory: the limit is {limit}\n  every search needs at least {least}: free some memory, or raise --memory-max"
            );
        }
        if let Some(available) = available
            && asked.is_some_and(|asked| asked.as_u64() > available)
        {
            let (limit, available) = (ByteSize(bytes), ByteSize(available));
            bail!(
                "too little memory: the limit is {limit}, but {available} are available\n  beyond that the machine would swap: lower --memory-max, or free some memory"
            );
        }
        let left_min = if asked.is_some() { 0 } else { total().unwrap_or(0) / LEFT_FRACTION };
        Ok(Self { bytes, left_min })
    }

    /// The limit in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether the process holds more than the limit, or the machine has hardly any memory left.
    pub fn is_exceeded(self) -> bool {
        held().is_some_and(|held| held > self.bytes)
            || self.left_min > 0 && available().is_some_and(|left| left < self.left_min)
    }
}

/// Measures the peak of the memory that the process holds.
#[derive(Debug)]
pub struct PeakMemory {
    /// Whether Linux has reset its peak at the beginning.
    is_exact: bool,
    seen: Option<u64>,
}

impl PeakMemory {
    /// Begins a measurement.
    pub fn begin() -> Self {
        // proc(5): writing 5 resets the peak to the present value.
        Self { is_exact: fs::write("/proc/self/clear_refs", "5").is_ok(), seen: held() }
    }

    /// How much the process holds now; a sample for the peak.
    pub fn sample(&mut self) -> Option<u64> {
        let held = held();
        self.seen = self.seen.max(held);
        held
    }

    /// Ends the measurement: the peak.
    pub fn end(mut self) -> Option<u64> {
        self.sample();
        if self.is_exact { status("VmHWM:").max(self.seen) } else { self.seen }
    }
}

/// How much memory the process holds.
pub fn held() -> Option<u64> {
    status("VmRSS:")
}

fn status(field: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

/// How much memory the machine has, or the smallest of the control groups.
fn total() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(control_groups::of_this_process().limit.map_or(machine, |limit| limit.min(machine)))
}

/// How much more the process could hold without swapping, within the machine and within its control
/// groups.
fn available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok();
    let machine = meminfo.and_then(|text| kilobytes(&text, "MemAvailable:"));
    match (machine, control_groups::of_this_process().left) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// The value of a line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    plain(text, field).map(|kilobytes| kilobytes * 1024)
}

fn plain(text: &str, field: &str) -> Option<u64> {
    let mut fields = text.lines().map(str::split_whitespace);
    let mut of_line = fields.find_map(|mut line| (line.next() == Some(field)).then_some(line))?;
    of_line.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_understood() {
        let status = "Name:\tsynod\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(plain("active_file 7\ninactive_file 9\n", "inactive_file"), Some(9));
    }

    #[test]
    fn a_limit_that_is_too_small_or_too_large_is_refused() {
        let error = |asked| MemoryLimit::new(Some(asked)).map(|_| ()).unwrap_err().to_string();
        assert!(error(ByteSize::mib(1)).starts_with("too little memory: the limit is 1.0 MiB"));
        assert!(error(ByteSize::pib(1)).starts_with("too little memory: the limit is 1.0 PiB"));
        assert!(MemoryLimit::new(None).is_ok());
    }
}
