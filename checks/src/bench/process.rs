//! One process for each workload, and the kernel's figures about it.
//!
//! Memory is measured as the growth of a process, from just before a search to its peak. A process
//! that has searched before keeps freed memory, and its peak may lie in the past. So the parent
//! ([`run_apart`]) starts its own program again for every workload, with a hidden subcommand, and
//! reads a [`Measurement`] from its standard output:
//!
//! ```text
//! synod-check bench
//!   └─ synod-check bench-workload two_phase_commit --threads 2     prints one line of JSON
//! ```
//!
//! Messages for people go to standard error, which both processes share.

use std::env;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{BenchError, Measurement};

/// The hidden subcommand that searches a single workload.
pub(crate) const SUBCOMMAND: &str = "bench-workload";

/// Searches one workload in a new process of this program, and returns its measurement.
pub(crate) fn run_apart(scenario: &str, threads: NonZeroUsize) -> Result<Measurement, BenchError> {
    let program = env::current_exe()
        .map_err(|source| BenchError::Start { scenario: scenario.to_owned(), source })?;
    let mut command = Command::new(program);
    command.args([SUBCOMMAND, scenario, "--threads", &threads.to_string()]);
    answer_of(command, scenario)
}

/// Runs a command to its end, and reads a measurement from its standard output.
fn answer_of(mut command: Command, scenario: &str) -> Result<Measurement, BenchError> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BenchError::Start { scenario: scenario.to_owned(), source })?;
    if !output.status.success() {
        return Err(BenchError::Exit { scenario: scenario.to_owned(), status: output.status });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|source| BenchError::Answer { scenario: scenario.to_owned(), source })
}

/// The processor time of this process, in user and kernel mode. It includes threads that have ended.
pub(crate) fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may always ask about itself");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// The resident memory of this process now.
pub(crate) fn resident_bytes() -> Result<u64, BenchError> {
    own_status("VmRSS")
}

/// The peak of the resident memory of this process.
pub(crate) fn peak_resident_bytes() -> Result<u64, BenchError> {
    own_status("VmHWM")
}

/// Reads one of the sizes that the kernel reports about this process.
fn own_status(field: &str) -> Result<u64, BenchError> {
    let status = fs::read_to_string("/proc/self/status");
    status
        .and_then(|status| {
            size_in(&status, field).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("no size named {field}"))
            })
        })
        .map_err(|source| BenchError::Memory { source })
}

/// Finds a line such as `VmRSS:      5032 kB`. The kernel's kB are 1,024 bytes (proc(5)).
fn size_in(status: &str, field: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| {
        let (name, size) = line.split_once(':')?;
        (name == field).then(|| size.trim().strip_suffix(" kB"))?
    })?;
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child process that runs a line of shell.
    fn shell(line: &str) -> Result<Measurement, BenchError> {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        answer_of(command, "rivals")
    }

    #[test]
    fn what_the_child_prints_is_the_measurement() {
        let measurement = shell(
            r#"echo '{"scenario":"rivals","threads":2,"unique_states":10,"transitions":50,
               "seconds":2.0,"cpu_seconds":4.0,"peak_memory_growth_bytes":180}'"#,
        )
        .expect("a whole measurement");
        assert_eq!(measurement.threads.get(), 2);
        assert_rate(measurement.transitions_per_second(), 25.0);
        assert_rate(measurement.transitions_per_cpu_second(), 12.5);
        assert_rate(measurement.peak_bytes_per_unique_state(), 18.0);
    }

    fn assert_rate(rate: f64, expected: f64) {
        assert!((rate - expected).abs() < 1e-9, "{rate} is not {expected}");
    }

    #[test]
    fn a_child_that_fails_says_so() {
        let failed = shell("exit 3").expect_err("it fails");
        assert!(failed.to_string().contains("exit status: 3"), "{failed}");
        let killed = shell("kill -9 $$").expect_err("it is killed");
        assert!(killed.to_string().contains("signal: 9"), "{killed}");
    }

    #[test]
    fn a_child_that_talks_of_something_else_is_not_believed() {
        for line in ["echo hello", "true", "echo '{}'"] {
            let answer = shell(line).expect_err("it is no measurement");
            assert!(matches!(answer, BenchError::Answer { .. }), "{answer}");
        }
    }

    #[test]
    fn a_program_that_is_gone_cannot_be_started() {
        let missing = Command::new("/no/such/program");
        let error = answer_of(missing, "rivals").expect_err("it does not exist");
        assert!(matches!(error, BenchError::Start { .. }), "{error}");
    }

    #[test]
    fn sizes_are_found_by_their_whole_name() {
        let status = "Name:\tVmRSS: 1 kB\nVmHWM:\t    5160 kB\nVmRSS:\t    5032 kB\nThreads:\t2\n";
        assert_eq!(size_in(status, "VmRSS"), Some(5032 * 1024));
        assert_eq!(size_in(status, "VmHWM"), Some(5160 * 1024));
        assert_eq!(size_in(status, "Threads"), None);
        assert_eq!(size_in(status, "VmSwap"), None);
    }

    #[test]
    fn the_kernel_sees_memory_and_work() {
        let cpu_before = cpu_time();
        let before = resident_bytes().expect("Linux");
        let touched = vec![1_u8; 64 << 20];
        let sum: u64 = touched.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 64 << 20);
        let peak = peak_resident_bytes().expect("Linux");
        assert!(peak >= before + (32 << 20), "{before} bytes, then {peak}");
        assert!(cpu_time() > cpu_before);
    }
}
