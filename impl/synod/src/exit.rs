//! What the exit code says.

use std::process::ExitCode;

use synod_client::SubmitFailed;
use thiserror::Error;

/// What the exit code says. 2 is clap's and [`Nonsense`]'s: the command line makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It could not be done.
    Failed,
    /// Some values were not done, and nothing is unknown.
    NotDone,
    /// Of some values it is unknown whether they are, or will be, in the log.
    Unknown,
}

/// The command line makes no sense, in a way that clap does not see.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Nonsense(pub(crate) String);

impl Nonsense {
    /// The exit code that clap has for it.
    pub(crate) const CODE: u8 = 2;
}

/// The exit codes of commands that submit, for their help.
pub(crate) const SUBMIT_CODES: &str = "\
Exit codes:
  0  every value was delivered
  1  the command could not be carried out
  2  the command line makes no sense
  3  not done: some values were not delivered and never will be: no replica could be reached, or
     each refused them at once; nothing is unknown
  4  unknown: some values may be in the log, or get there later, and nobody could say: there was no
     answer in time, or standard output was closed before it was printed
The reason for each value that was not delivered is on standard error.";

/// The exit codes of commands that ask.
pub(crate) const ASK_CODES: &str = "\
Exit codes:
  0  there was an answer
  1  there was none, or the command could not be carried out
  2  the command line makes no sense";

impl From<&SubmitFailed> for Exit {
    fn from(failed: &SubmitFailed) -> Self {
        match failed {
            SubmitFailed::NotDone(_) => Self::NotDone,
            SubmitFailed::Unknown(_) => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::NotDone => 3,
            Exit::Unknown => 4,
        })
    }
}
