//! `synod follow`: prints the log as text.

use std::fmt;

use clap::Args;
use synod_client::Following;
use synod_model::{Change, Entry, Opening, Request, Slot, Verdict};
use synod_wire::api::Delivery;
use synod_wire::protocol::Follow;

use super::args::{Endpoints, Timeout};
use super::escape::Escaped;
use super::exit::Exit;
use super::health;
use super::output::{self, Output};

pub(crate) const CODES: &str = "\
Exit codes:
  0  the log was followed to its end (--until-caught-up), or standard output
     was closed
  1  no replica could be followed any further
  2  the command line is invalid";

/// The arguments of `follow`.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    /// The first slot to print
    #[arg(long, value_name = "SLOT", default_value_t = 1)]
    pub(crate) from: u64,
    /// Stop at the slot at which the log ends when the command begins (a linearizable read)
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Print every entry of the log: slot, kind and content, with tabs between them
    ///
    /// By default, it prints the slot and the value of each client's value, once, escaped as by
    /// `submit`. With this flag, it also prints no-ops, openings and ends of sessions, second copies of
    /// a request, and requests that were refused.
    #[arg(long)]
    pub(crate) everything: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

pub(crate) async fn follow(args: FollowArgs) -> anyhow::Result<Exit> {
    tokio::select! {
        done = print(args) => match done {
            Err(error) if output::is_closed(&error) => Ok(Exit::Done),
            done => done,
        },
        // The reader has read enough, and need not wait until the log grows.
        () = output::closed() => Ok(Exit::Done),
    }
}

async fn print(args: FollowArgs) -> anyhow::Result<Exit> {
    let FollowArgs { endpoints, from, until_caught_up, everything, timeout } = args;
    let follow = Follow { from: Slot(from), until_caught_up, everything };
    let endpoints = endpoints.endpoints();
    let mut following = Following::new(endpoints.clone(), timeout.options(), follow)?;
    following.on_leave(|left| anstream::eprintln!("{left}"));
    let mut output = Output::new();
    loop {
        let deliveries = match following.next().await {
            Ok(Some(deliveries)) => deliveries,
            Ok(None) => break,
            Err(error) => {
                let error = anyhow::Error::new(error).context(stopped(&following));
                return health::failed(&endpoints, error).await;
            }
        };
        for delivery in &deliveries {
            if everything {
                output.line(Line(delivery))?;
            } else if let Some(value) = delivery.first_value() {
                output.line(format_args!("{}\t{}", delivery.slot, Escaped(&value.0)))?;
            }
        }
        output.flush()?;
    }
    Ok(Exit::Done)
}

fn stopped(following: &Following) -> String {
    format!("the log could not be followed from slot {} on", following.from())
}

/// An entry of any kind, in three columns.
struct Line<'a>(&'a Delivery);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Delivery { slot, entry, verdict } = self.0;
        write!(f, "{slot}\t")?;
        match verdict {
            None | Some(Verdict::First) => {}
            Some(Verdict::Duplicate { .. }) => f.write_str("duplicate ")?,
            Some(Verdict::Refused { .. }) => f.write_str("refused ")?,
        }
        match entry {
            Entry::NoOp => f.write_str("no-op\t"),
            Entry::Request(Request { value, .. }) => write!(f, "value\t{}", Escaped(&value.0)),
            Entry::Open(Opening { origin, count, .. }) => {
                write!(f, "open\tsession {count} of r{origin}")
            }
            Entry::End { session } => write!(f, "end\tsession {session}"),
            Entry::Change(Change { configuration, .. }) => {
                let voters: Vec<_> = configuration.voters().map(|it| format!("r{it}")).collect();
                write!(f, "members\t{}", voters.join(" "))?;
                configuration.learners().iter().try_for_each(|it| write!(f, " learner r{it}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_model::{DeliveryRefused, ReplicaId, Run, SessionId};

    #[test]
    fn every_kind_of_entry_is_one_line() {
        let line = |entry, verdict| Line(&Delivery { slot: Slot(7), entry, verdict }).to_string();
        let request = || {
            let (session, value) = (SessionId(1), "a\tb".into());
            Entry::Request(Request { session, number: 1, answered: 1, value })
        };
        let open = Entry::Open(Opening { origin: ReplicaId(2), run: Run(9), count: 3 });
        let duplicate = Verdict::Duplicate { first_slot: Slot(2) };
        let refused = Verdict::Refused { reason: DeliveryRefused::GivenUp };
        assert_eq!(line(Entry::NoOp, None), "7\tno-op\t");
        assert_eq!(line(request(), Some(Verdict::First)), "7\tvalue\ta\\tb");
        assert_eq!(line(request(), Some(duplicate)), "7\tduplicate value\ta\\tb");
        assert_eq!(line(request(), Some(refused)), "7\trefused value\ta\\tb");
        assert_eq!(line(open, Some(Verdict::First)), "7\topen\tsession 3 of r2");
        let end = Entry::End { session: SessionId(1) };
        assert_eq!(line(end, Some(Verdict::First)), "7\tend\tsession 1");
    }
}
