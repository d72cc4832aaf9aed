//! `synod member`: who the members of a cluster are, and changing them.
//!
//! [`plan`] works out what the members are after a change, [`change`] has the cluster make it, and [`list`] shows
//! them.

mod change;
mod list;
mod plan;

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use synod_model::{Incarnation, Registration, ReplicaId};

use super::args::{Endpoints, duration};
use super::ended_by_signals;
use super::exit::Exit;
use super::members::{MembersError, dialled};
pub(crate) use list::ListArgs;
use plan::Wish;

pub(crate) const LIST_CODES: &str = "\
Exit codes:
  0  there was an answer
  1  there was none, or the command could not be carried out
  2  the command line is invalid";

pub(crate) const CHANGE_CODES: &str = "\
Exit codes:
  0  the change is made and finished (with --no-wait: it is made); or it was so
     already
  1  the members could not be found out, or the command could not be carried out
  2  the command line is invalid
  3  not done: the change was refused, those who would vote were not ready in
     time, or another change came first; it will not be made later
  4  unknown: the change may be made yet; or it is made, and was not finished in
     time: `synod member list` says
  130, 143  Ctrl-C or SIGTERM came: `synod member list` says whether it is made";

pub(crate) const ADD_ABOUT: &str = "\
Take a replica in as a member.

First make its data directory with `synod init --join`, which prints this
command with everything filled in, and start the replica. The change is made
when a majority of those who will vote after it is there and has nearly
everything that is committed: the command waits for that. The new replica need
not be one of them: look at `synod member list` afterwards. A learner receives
everything, and counts for nothing.

With one voter more a cluster need not survive more failures: four voters go on
without one, as three do. Add two, or replace one.";

pub(crate) const REMOVE_ABOUT: &str = "\
Take a member out.

The replica may be stopped when the command says that the change is finished,
and not before. Its id is never used again. Any member may be removed, also the
one that coordinates; but the last voter may not. The change is made if a
majority of the voters that stay is there, so a member that is lost for good can
be removed.";

pub(crate) const REPLACE_ABOUT: &str = "\
Put a replica in the place of a member, in one change.

The new one votes if the old one did. Make its data directory with
`synod init --join`, and start it. Or let it be a learner before: then --address
and --incarnation are known, and it has everything already.";

pub(crate) const MOVE_ABOUT: &str = "\
Say where the others find a member from now on.

Stop the replica, and start it where it is to be, with --peers ID=HOST:PORT, so
that it listens there. The other replicas look for it there once this command
has ended. They need no restart.";

/// Show the members of a cluster, and change them
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members, and whether the last change is finished
    #[command(after_help = LIST_CODES)]
    List(ListArgs),
    /// Take a replica in as a member
    #[command(
        after_help = CHANGE_CODES,
        long_about = ADD_ABOUT,
        override_usage = "synod member add [OPTIONS] <ID>"
    )]
    Add(AddArgs),
    /// Make a learner a voter, once it has nearly everything that is committed
    #[command(after_help = CHANGE_CODES)]
    Promote(PromoteArgs),
    /// Take a member out
    #[command(after_help = CHANGE_CODES, long_about = REMOVE_ABOUT)]
    Remove(RemoveArgs),
    /// Put a replica in the place of a member, in one change
    #[command(after_help = CHANGE_CODES, long_about = REPLACE_ABOUT)]
    Replace(ReplaceArgs),
    /// Say where the others find a member from now on
    #[command(after_help = CHANGE_CODES, long_about = MOVE_ABOUT)]
    Move(MoveArgs),
}

/// Whom to ask for a change, and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    endpoints: Endpoints,
    /// How long to wait until those who would vote are ready and the change is finished, such as 10m or 90s; a
    /// bare number is seconds. A replica that joins has to get everything first
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// Do not wait until the change is finished, only until it is made
    #[arg(long)]
    no_wait: bool,
}

/// The arguments of `member add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The id of the replica, which `synod init --join` has printed
    id: Id,
    /// Where its peers look for it
    #[arg(long, value_name = "HOST:PORT", value_parser = dialled)]
    address: String,
    /// Which data directory it has, which `synod init --join` has printed
    #[arg(long, value_name = "HEX", value_parser = incarnation)]
    incarnation: Incarnation,
    /// As a learner: it receives everything, and counts for nothing until it is promoted
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `member promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The id of the learner
    id: Id,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `member remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The id of the member
    id: Id,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `member replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The id of the member that goes
    old: Id,
    /// The id of the replica that comes
    new: Id,
    /// Where its peers look for the replica that comes, if it is no learner yet
    #[arg(long, value_name = "HOST:PORT", value_parser = dialled, requires = "incarnation")]
    address: Option<String>,
    /// Which data directory it has, which `synod init --join` has printed
    #[arg(long, value_name = "HEX", value_parser = incarnation, requires = "address")]
    incarnation: Option<Incarnation>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `member move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The id of the member
    id: Id,
    /// Where its peers look for it from now on
    #[arg(value_name = "HOST:PORT", value_parser = dialled)]
    address: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The id of a replica, as `3` or `r3`.
#[derive(Clone, Copy, Debug)]
struct Id(ReplicaId);

impl FromStr for Id {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, MembersError> {
        let number = text.strip_prefix('r').unwrap_or(text).parse();
        number.map(|id| Self(ReplicaId(id))).map_err(|_| MembersError::Id(text.to_owned()))
    }
}

/// Parses an incarnation as it is printed.
fn incarnation(text: &str) -> Result<Incarnation, String> {
    let is_hex = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    number.map(Incarnation).ok_or_else(|| {
        "that is not an incarnation: it has 32 hexadecimal digits\n  \
         `synod init --join` has printed it"
            .to_owned()
    })
}

pub(crate) async fn member(command: MemberCommand) -> anyhow::Result<Exit> {
    let (wish, args) = match command {
        MemberCommand::List(args) => return ended_by_signals(list::list(args)).await,
        MemberCommand::Add(AddArgs { id, address, incarnation, learner, change }) => {
            let registration = Registration { incarnation, address };
            (Wish::Add { id: id.0, registration, is_learner: learner }, change)
        }
        MemberCommand::Promote(PromoteArgs { id, change }) => (Wish::Promote { id: id.0 }, change),
        MemberCommand::Remove(RemoveArgs { id, change }) => (Wish::Remove { id: id.0 }, change),
        MemberCommand::Replace(ReplaceArgs { old, new, address, incarnation, change }) => {
            let registration = incarnation.zip(address);
            let registration =
                registration.map(|(incarnation, address)| Registration { incarnation, address });
            (Wish::Replace { old: old.0, new: new.0, registration }, change)
        }
        MemberCommand::Move(MoveArgs { id, address, change }) => {
            (Wish::Move { id: id.0, address }, change)
        }
    };
    change::change(&wish, &args).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_incarnations_are_read() {
        assert!(matches!("3".parse(), Ok(Id(ReplicaId(3)))));
        assert!(matches!("r3".parse(), Ok(Id(ReplicaId(3)))));
        for none in ["", "r", "-1", "65536", "rr3", "3r"] {
            assert!(none.parse::<Id>().is_err(), "{none}");
        }
        let one = Incarnation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(incarnation(&one.to_string()), Ok(one));
        for none in ["", "0123", "+123456789abcdef0123456789abcdef", &"g".repeat(32)] {
            assert!(incarnation(none).is_err(), "{none}");
        }
    }
}
