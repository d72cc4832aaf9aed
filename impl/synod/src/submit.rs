//! `synod submit`: puts values in the log, from the command line or from standard input.
//!
//! Values are answered in their order, however many are in flight. A value that fails does not stop
//! those after it: every value gets a line, on standard output or on standard error.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use synod_client::{Applied, Client, Slot, Submission, SubmitFailed};
use synod_wire::Value;
use tokio::sync::mpsc;

use super::args::{Endpoints, Timeout};
use super::escape::{Beginning, Escaped};
use super::exit::{Exit, UsageError};
use super::health;
use super::input::{self, LineError};
use super::output::{Output, OutputError};
use super::signals::{self, Signals};

/// How many values are in flight at once: 512. That is half of what a session may have, so a slow value
/// does not stop the others soon.
const IN_FLIGHT_MAX: usize = 512;

/// How many bytes the values in flight may have, unless a single one has more: 64 MiB.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// How long a command that a signal ends may take to say what is known, and to end its session. Default
/// 2 s: it waits for nobody but the reader of standard output.
const GIVE_UP_MAX: Duration = Duration::from_secs(2);

/// The arguments of `submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    /// The values; or - alone: one value on each line of standard input, answered in their order
    ///
    /// Prints the slot, a tab and the value for each, as soon as it and all before it are delivered. In
    /// a value, a backslash, a tab, a carriage return and a line feed are written as \\, \t, \r and \n;
    /// other control characters, and bytes that are not UTF-8, as \xHH. Several values are in flight
    /// at once, so the order of their slots may differ from the order in which they were given.
    #[arg(value_name = "VALUE", required = true)]
    pub(crate) values: Vec<OsString>,
    /// Print a JSON document on a line for each value, with its outcome, also if it failed
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

pub(crate) async fn submit(args: SubmitArgs) -> anyhow::Result<Exit> {
    let is_stdin = |value: &OsString| value == "-";
    let mut values = if args.values.len() == 1 && args.values.iter().all(is_stdin) {
        Values::Stdin(input::lines())
    } else if args.values.iter().any(is_stdin) {
        return Err(UsageError(
            "- stands for standard input, and takes no other value beside it\n  \
             to submit a value that is -, write: echo - | synod submit ... -"
                .to_owned(),
        )
        .into());
    } else {
        Values::Given(args.values.into())
    };
    let endpoints = args.endpoints.endpoints();
    let client = Client::new(endpoints.clone(), args.timeout.options())?;
    let mut answers = OrderedAnswers::new(args.json);
    let mut signals = Signals::new()?;
    tokio::spawn(signals::insist(Signals::new()?, GIVE_UP_MAX, || {
        anstream::eprintln!(
            "{} unknown: the outcome of the last values is lost: look, with `synod follow`, before you \
             submit them again",
            "error:".red().bold()
        );
    }));
    let pumped = tokio::select! {
        pumped = pump(&client, &mut values, &mut answers) => pumped.map(|()| None),
        exit = signals.next() => Ok(Some(exit)),
    };
    let ended = match pumped {
        Ok(None) => {
            client.close().await;
            if answers.exit != Exit::Done {
                health::explain(&endpoints).await;
            }
            return Ok(answers.exit);
        }
        Ok(Some(exit)) => {
            client.give_up().await;
            answers.given_up(exit, values.left()).await
        }
        Err(error) => Err(error),
    };
    ended.or_else(|error| answers.broken_off(error))
}

/// The source of the values.
enum Values {
    Given(VecDeque<OsString>),
    Stdin(mpsc::Receiver<input::Line>),
}

impl Values {
    /// How many values on the command line were not submitted.
    fn left(&self) -> usize {
        match self {
            Self::Given(values) => values.len(),
            Self::Stdin(_) => 0,
        }
    }

    /// The next value. Nothing is lost if the wait is dropped.
    async fn next(&mut self) -> Option<input::Line> {
        match self {
            Self::Given(values) => values.pop_front().map(|value| Ok(value.into_vec().into())),
            Self::Stdin(lines) => lines.recv().await,
        }
    }
}

async fn pump(
    client: &Client,
    values: &mut Values,
    answers: &mut OrderedAnswers,
) -> Result<(), OutputError> {
    let mut in_flight_bytes = 0;
    let mut is_open = true;
    while is_open || !answers.in_flight.is_empty() {
        let has_room =
            answers.in_flight.len() < IN_FLIGHT_MAX && in_flight_bytes < IN_FLIGHT_BYTES_MAX;
        let first = async {
            match answers.in_flight.front_mut() {
                Some(first) => first.outcome().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = first => {
                let mut outcome = Some(outcome);
                // All outcomes that are ready are written at once.
                while let Some(it) = outcome.take() {
                    if let Some(InFlight { value, .. }) = answers.in_flight.pop_front() {
                        in_flight_bytes -= value.0.len();
                        answers.print(&value, it)?;
                    }
                    outcome = answers.in_flight.front_mut().and_then(|next| next.outcome().now_or_never());
                }
                answers.flush()?;
            }
            value = values.next(), if is_open && has_room => match value {
                Some(Ok(value)) => {
                    in_flight_bytes += value.0.len();
                    let submission = client.start(value.clone()).await;
                    answers.in_flight.push_back(InFlight { value, submission: Ok(submission) });
                }
                Some(Err(error)) => {
                    is_open = !matches!(error, LineError::Io(_));
                    let submission = Err(Some(error));
                    answers.in_flight.push_back(InFlight { value: Value::default(), submission });
                }
                None => is_open = false,
            },
        }
    }
    Ok(())
}

/// A value that has no answer yet.
struct InFlight {
    value: Value,
    submission: Result<Submission, Option<LineError>>,
}

enum Outcome {
    Submitted(Result<Applied, SubmitFailed>),
    NoValue(Option<LineError>),
}

impl InFlight {
    async fn outcome(&mut self) -> Outcome {
        match &mut self.submission {
            Ok(submission) => Outcome::Submitted(submission.await),
            Err(error) => Outcome::NoValue(error.take()),
        }
    }
}

/// The values in flight, and their answers in order.
struct OrderedAnswers {
    output: Output,
    is_json: bool,
    in_flight: VecDeque<InFlight>,
    /// How many values were answered.
    count: u64,
    /// How many of them are in the log, while the reader of standard output may not know it.
    unwritten: usize,
    exit: Exit,
}

impl OrderedAnswers {
    fn new(is_json: bool) -> Self {
        let (output, in_flight) = (Output::new(), VecDeque::new());
        Self { output, is_json, in_flight, count: 0, unwritten: 0, exit: Exit::Done }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.output.flush()?;
        self.unwritten = 0;
        Ok(())
    }

    /// Standard output takes no more. Reports for how many values the outcome is lost.
    fn broken_off(&self, error: OutputError) -> anyhow::Result<Exit> {
        let submitted = self.in_flight.iter().filter(|it| it.submission.is_ok()).count();
        let count = submitted + self.unwritten;
        if count == 0 {
            return Err(error.into());
        }
        anstream::eprintln!(
            "{} unknown: {error}\n  \
             the outcome of the last values, {count} at least, is lost: look, with `synod follow`, \
             before you submit them again",
            "error:".red().bold()
        );
        Ok(Exit::Unknown)
    }

    /// A signal came. Says of every value in flight what is known of it.
    async fn given_up(&mut self, signal: Exit, left: usize) -> Result<Exit, OutputError> {
        let mut unanswered = 0;
        while let Some(mut next) = self.in_flight.pop_front() {
            let outcome = next.outcome().await;
            // An answer may have come with the signal.
            unanswered += usize::from(!matches!(outcome, Outcome::Submitted(Ok(_))));
            self.print(&next.value, outcome)?;
        }
        self.flush()?;
        anstream::eprintln!(
            "{} a signal came: {unanswered} values had no answer{}",
            "error:".red().bold(),
            if left > 0 { format!(", and {left} were not submitted") } else { String::new() },
        );
        Ok(if self.exit == Exit::Done { signal } else { self.exit })
    }

    fn print(&mut self, value: &Value, outcome: Outcome) -> Result<(), OutputError> {
        self.count += 1;
        let what = match &outcome {
            Outcome::Submitted(_) => format!("value {}, {}", self.count, Beginning(&value.0)),
            Outcome::NoValue(_) => format!("line {}", self.count),
        };
        let (exit, why) = match outcome {
            Outcome::Submitted(Ok(Applied { slot, .. })) => {
                self.unwritten += 1;
                if self.is_json {
                    let line = Line::Done { number: self.count, slot };
                    return self.output.line(json(&line));
                }
                return self.output.line(format_args!("{slot}\t{}", Escaped(&value.0)));
            }
            Outcome::Submitted(Err(failed)) => (Exit::from(&failed), failed.to_string()),
            Outcome::NoValue(error) => {
                let failed = matches!(error, Some(LineError::Io(_)) | None);
                let error = error.map(|error| error.to_string()).unwrap_or_default();
                let exit = if failed { Exit::Failed } else { Exit::NotDone };
                (exit, format!("not done: {error}"))
            }
        };
        self.exit = self.exit.max(exit);
        if self.is_json {
            let number = self.count;
            return self.output.line(json(&match exit {
                Exit::Unknown => Line::Unknown { number, why },
                _ => Line::NotDone { number, why },
            }));
        }
        anstream::eprintln!("{} {what}: {why}", "error:".red().bold());
        Ok(())
    }
}

/// A line of the output as JSON. The first value has number 1.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Line {
    Done { number: u64, slot: Slot },
    NotDone { number: u64, why: String },
    Unknown { number: u64, why: String },
}

fn json(line: &Line) -> String {
    // Numbers and strings always have a form in JSON.
    serde_json::to_string(line).unwrap_or_default()
}
