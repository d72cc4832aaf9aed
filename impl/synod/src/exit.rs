//! How a command ends: its exit code, and the text of its error.

use std::fmt::Write as _;
use std::process::ExitCode;

use owo_colors::OwoColorize as _;
use synod_client::SubmitFailed;
use thiserror::Error;

/// The outcome of a command. Code 2 belongs to clap and [`UsageError`]: the command line is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// The command did everything.
    Done,
    /// The command could not be carried out.
    Failed,
    /// The command line or the environment is invalid.
    Usage,
    /// Some values were not done, and none is unknown.
    NotDone,
    /// For some values, it is unknown whether they are in the log or will get there.
    Unknown,
    /// The node cannot run, and the next start would fail as this one did.
    Permanent,
    /// The cluster does not work.
    DoesNotWork,
    /// The cluster works, and not as well as it was asked to.
    Degraded,
    /// A signal has ended the command.
    Signal(i32),
}

/// The command line is invalid, in a way that clap does not detect.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl UsageError {
    /// The exit code that clap uses.
    pub(crate) const CODE: u8 = 2;
}

/// The exit codes of commands that submit, for their help texts.
pub(crate) const SUBMIT_CODES: &str = "\
Exit codes:
  0  every value was delivered
  1  the command could not be carried out
  2  the command line is invalid
  3  not done: some values were not delivered and never will be, because no
     replica could be reached or every replica refused them; none is unknown
  4  unknown: some values may be in the log, or may get there later: there was
     no answer in time, or standard output was closed before the answer was
     printed, or a signal came before the answer
  130, 143  Ctrl-C or SIGTERM came, and no value is unknown
The reason for each value that was not delivered is on standard error.";

/// The exit codes of commands that ask, for their help texts.
pub(crate) const ASK_CODES: &str = "\
Exit codes:
  0  there was an answer
  1  there was none, or the command could not be carried out
  2  the command line is invalid";

impl From<&SubmitFailed> for Exit {
    fn from(failed: &SubmitFailed) -> Self {
        match failed {
            SubmitFailed::NotDone(_) => Self::NotDone,
            SubmitFailed::Unknown(_) => Self::Unknown,
        }
    }
}

impl Exit {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => UsageError::CODE,
            Self::NotDone | Self::DoesNotWork => 3,
            Self::Unknown | Self::Degraded => 4,
            Self::Permanent => 5,
            // As a shell reports it.
            Self::Signal(number) => {
                u8::try_from(number).map_or(u8::MAX, |it| it.saturating_add(128))
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The text of an error: what went wrong and its causes in one sentence, and then what to do about it.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
    let mut full = format!("{} {what}", "error:".red().bold());
    for cause in error.chain().skip(1) {
        // Writing to a string cannot fail.
        let _ = write!(full, ": {cause}");
    }
    full.push('\n');
    if !advice.is_empty() {
        let _ = writeln!(full, "{advice}");
    }
    full
}
