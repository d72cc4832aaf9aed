//! The errors of a benchmark, with what to do about each.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use stateright::Expectation;

/// Why a workload could not be measured.
#[derive(Debug)]
pub(crate) enum BenchError {
    /// A property is violated, or was never reached.
    Property { scenario: String, property: &'static str, expectation: Expectation },
    /// A baseline no longer does the work that it stands for. The counts are (unique, generated).
    States { scenario: &'static str, expected: (usize, usize), found: (usize, usize) },
    /// The memory of this process could not be read from the kernel.
    Memory { source: io::Error },
    /// The process of a workload could not be started, or its output could not be read.
    Start { scenario: String, source: io::Error },
    /// The process of a workload failed. It has printed the reason on standard error.
    Exit { scenario: String, status: ExitStatus },
    /// The process of a workload printed something other than a measurement.
    Answer { scenario: String, source: serde_json::Error },
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property { scenario, property, expectation: Expectation::Sometimes } => write!(
                f,
                "{scenario}: no state was found where \"{property}\" holds\n  \
                 only a search whose properties are as they must be is measured: `synod-check run` tells more"
            ),
            Self::Property { scenario, property, .. } => write!(
                f,
                "{scenario}: \"{property}\" does not hold\n  \
                 only a search whose properties are as they must be is measured: `synod-check run` tells more"
            ),
            Self::States { scenario, expected, found } => write!(
                f,
                "{scenario} reached {} unique and {} generated states, not {} and {}\n  \
                 it no longer does the same work as stateright's example, so a comparison would mean \
                 nothing: see checks/src/bench/{scenario}.rs",
                found.0, found.1, expected.0, expected.1
            ),
            Self::Memory { source } => write!(
                f,
                "cannot read how much memory is in use from /proc/self/status: {source}\n  \
                 benchmarks need Linux, with /proc mounted"
            ),
            Self::Start { scenario, source } => write!(
                f,
                "cannot run {scenario} in a process of its own: {source}\n  \
                 the benchmark starts its own program again: check that the file is still there"
            ),
            Self::Exit { scenario, status } => write!(
                f,
                "the process that searched {scenario} ended with {status}\n  \
                 if there is no message above, it was probably killed: check that there is enough memory"
            ),
            Self::Answer { scenario, source } => write!(
                f,
                "the process that searched {scenario} gave no measurement: {source}\n  \
                 it must print nothing else to standard output"
            ),
        }
    }
}

impl std::error::Error for BenchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Memory { source } | Self::Start { source, .. } => Some(source),
            Self::Answer { source, .. } => Some(source),
            Self::Property { .. } | Self::States { .. } | Self::Exit { .. } => None,
        }
    }
}
