//! What can go wrong in a benchmark, and what to do about it.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use stateright::Expectation;

/// Why there is no figure.
#[derive(Debug)]
pub(crate) enum BenchError {
    /// The search was not a proof: a property is violated, or was never reached.
    Property { scenario: String, property: &'static str, expectation: Expectation },
    /// A peer is no longer the work that it stands for. Counts are (unique, generated).
    States { scenario: &'static str, expected: (usize, usize), found: (usize, usize) },
    /// The kernel does not tell how much memory this process uses.
    Memory { source: io::Error },
    /// The process of a workload could not be started, or not be listened to.
    Start { scenario: String, source: io::Error },
    /// The process of a workload ended without success. It has said why on standard error.
    Exit { scenario: String, status: ExitStatus },
    /// The process of a workload said something else than a measurement.
    Answer { scenario: String, source: serde_json::Error },
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property { scenario, property, expectation: Expectation::Sometimes } => write!(
                f,
                "{scenario}: no state was found where \"{property}\" holds\n  \
                 a search that shows nothing is not measured: `synod-check run` tells more"
            ),
            Self::Property { scenario, property, .. } => write!(
                f,
                "{scenario}: \"{property}\" does not hold\n  \
                 a search that shows nothing is not measured: `synod-check run` tells more"
            ),
            Self::States { scenario, expected, found } => write!(
                f,
                "{scenario} reached {} unique and {} generated states, not {} and {}\n  \
                 it is no longer the same work as stateright's example, so there is nothing to \
                 compare with: see checks/src/bench/{scenario}.rs",
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
                 the benchmark starts its own program again: is it still where it was?"
            ),
            Self::Exit { scenario, status } => write!(
                f,
                "the process that searched {scenario} ended with {status}\n  \
                 without a message above it was probably killed: is there memory enough?"
            ),
            Self::Answer { scenario, source } => write!(
                f,
                "the process that searched {scenario} gave no measurement: {source}\n  \
                 its standard output must carry nothing else"
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
