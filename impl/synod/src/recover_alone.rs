//! `synod recover-alone`: begins a new cluster of one with what a last replica has, when a majority is lost for good.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use owo_colors::OwoColorize as _;
use synod_node::{
    AloneProgress, AloneStep, Membership, NewCluster, Remains, ReplicaId, Slot, look_at_remains,
    recover_alone as make,
};

use super::exit::Exit;
use super::members::dialled;
use super::output::Output;
use super::snapshot::bytes_bar::BytesBar;

/// The flag without which nothing is made.
const ACCEPTS: &str = "--i-accept-that-values-may-be-lost";

pub(crate) const ABOUT: &str = "\
Begin a new cluster of one with what a last replica has, when a majority is lost
for good.

VALUES MAY BE LOST: what the lost replicas had committed, and this one has not
accepted. Nobody can say which those are. While a majority can be brought back,
even one disk of it, bring it back instead.

It reads the data directory of the replica that is left, which must not run, and
makes a new one beside it. The new cluster begins with all values that this
replica knows to be committed, and then those that it has accepted without a
gap. It has a random id: no replica of the old cluster ever talks to it. The
directory that is left stays as it is.

Without --i-accept-that-values-may-be-lost nothing is made: it says what is
there, and what would become of it.";

/// The one that clap makes is longer than a line.
pub(crate) const USAGE: &str = "\
synod recover-alone <LEFT_DIR> --data-dir <DIR> [--cluster <NAME>]
                           [--address <HOST:PORT>]
                           [--i-accept-that-values-may-be-lost]";

pub(crate) const CODES: &str = "\
Exit codes:
  0  the new data directory is made; or, without the flag, it could be
  1  it is not made; the reason is on standard error
  2  the command line is invalid";

/// The arguments of `recover-alone`.
#[derive(Args, Debug)]
pub(crate) struct RecoverAloneArgs {
    /// The data directory of the replica that is left
    #[arg(value_name = "LEFT_DIR")]
    left_dir: PathBuf,
    /// The directory to make; it must be empty, or must not exist
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The name of the new cluster [default: that of the old one]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Where replicas that join later look for this one [default: where they did before]
    #[arg(long, value_name = "HOST:PORT", value_parser = dialled)]
    address: Option<String>,
    /// Make the new cluster, though values may be lost
    #[arg(long)]
    i_accept_that_values_may_be_lost: bool,
}

/// Prints what is there, and makes the directory if that was asked for.
///
/// # Errors
///
/// If there is nothing from which a cluster can begin, or the directory cannot be made.
pub(crate) fn recover_alone(args: &RecoverAloneArgs) -> anyhow::Result<Exit> {
    let RecoverAloneArgs { left_dir, data_dir, cluster, address, .. } = args;
    let bar = BytesBar::new();
    let progress = |AloneProgress { step, bytes, of }| {
        let step = match step {
            AloneStep::ReadsLog => "reading",
            AloneStep::CopiesSnapshot => "copying",
            AloneStep::WritesLog => "writing",
        };
        bar.tell(step, bytes, of);
    };
    let mut output = Output::new();
    if args.i_accept_that_values_may_be_lost {
        let new = NewCluster { name: cluster.clone(), address: address.clone() };
        let (identity, remains) = make(left_dir, data_dir, new, progress)?;
        drop(bar);
        tell(&mut output, left_dir, &remains)?;
        output.line(format_args!(
            "\nmade {}: {}, the only replica of the new cluster {} ({}), with the slots up to {}\n\n\
             start it with\n  \
             synod node --data-dir {} --listen-client HOST:PORT\n\
             its clients are started anew; then other replicas may join it:\n\
             docs/operating.md#when-a-majority-is-lost-for-good",
            data_dir.display(),
            named(identity.replica),
            identity.cluster_name,
            identity.cluster_id,
            remains.last,
            Quoted(data_dir),
        ))?;
        output.flush()?;
        warn(&remains);
    } else {
        let remains = look_at_remains(left_dir, progress)?;
        drop(bar);
        tell(&mut output, left_dir, &remains)?;
        output.flush()?;
        warn(&remains);
        output.line(format_args!(
            "\nnothing was made; to begin the new cluster with this:\n  {}",
            Command(args)
        ))?;
        output.flush()?;
    }
    Ok(Exit::Done)
}

/// Says what is left.
fn tell(output: &mut Output, left_dir: &Path, remains: &Remains) -> anyhow::Result<()> {
    let Remains { identity, configuration, snapshot, committed, last, left_out, .. } = remains;
    output.line(format_args!(
        "{} is what is left of {} in cluster {} ({})",
        left_dir.display(),
        named(identity.replica),
        identity.cluster_name,
        identity.cluster_id,
    ))?;
    let members: Vec<_> = configuration.members().iter().map(|it| named(*it)).collect();
    let members = members.join(", ");
    let is = match remains.membership {
        _ if remains.other_directory.is_some() => {
            "a data directory that was replaced by another one"
        }
        Membership::Voter => "a voter",
        Membership::Learner => "a learner, which votes for nothing",
        Membership::Outside => "no member any more, or not yet",
    };
    output.line(format_args!("  it is      {is}; the members it knows are {members}"))?;
    if *snapshot > Slot::ZERO {
        output.line(format_args!("  snapshot   of the slots up to {snapshot}"))?;
    }
    output.line(format_args!("  committed  up to slot {committed}, as far as it knows"))?;
    if last > committed {
        output.line(format_args!(
            "  accepted   up to slot {last} without a gap: the new cluster has that as committed",
        ))?;
    }
    if let Some(left_out) = left_out {
        output.line(format_args!(
            "  left out   {} accepted slots up to {}, behind a gap at slot {}",
            left_out.slots, left_out.last, left_out.gap,
        ))?;
    }
    Ok(())
}

/// Says what may be lost, and what makes it worse.
fn warn(remains: &Remains) {
    let warning = "warning:";
    let warning = warning.yellow();
    let warning = warning.bold();
    anstream::eprintln!(
        "{warning} VALUES MAY BE LOST, and nobody can say which\n  \
         whatever the others committed behind slot {}, and clients were told of, is gone for good\n  \
         a value that no client was told of may appear\n  \
         if the disk of another replica can be saved, start that replica instead",
        remains.last,
    );
    let worse = match remains.membership {
        _ if remains.other_directory.is_some() => {
            Some("another directory took its place: whatever was committed since then is lost")
        }
        Membership::Voter => None,
        Membership::Learner => Some("it is a learner: the voters may have committed much more"),
        Membership::Outside => {
            Some("it is no member: whatever was committed since it was removed is lost")
        }
    };
    if let Some(worse) = worse {
        anstream::eprintln!("{warning} {worse}\n  use what a voter has left, if there is any");
    }
    if let Some(forgotten) = remains.forgotten {
        anstream::eprintln!(
            "{warning} {forgotten}\n  more may be lost than what the others had committed behind its last slot",
        );
    }
}

fn named(replica: ReplicaId) -> String {
    format!("r{replica}")
}

/// The command line that makes the new cluster.
struct Command<'a>(&'a RecoverAloneArgs);

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoverAloneArgs { left_dir, data_dir, cluster, address, .. } = self.0;
        write!(f, "synod recover-alone {} --data-dir {}", Quoted(left_dir), Quoted(data_dir))?;
        if let Some(cluster) = cluster {
            write!(f, " --cluster {}", Quoted(Path::new(cluster)))?;
        }
        if let Some(address) = address {
            write!(f, " --address {address}")?;
        }
        write!(f, " {ACCEPTS}")
    }
}

/// A word of a command line, as a shell reads it.
struct Quoted<'a>(&'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.display().to_string();
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+:@%,=".contains(it);
        if !word.is_empty() && word.chars().all(is_plain) {
            write!(f, "{word}")
        } else {
            write!(f, "'{}'", word.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{self, Cli};

    fn args(line: &[&str]) -> RecoverAloneArgs {
        let words = [&["synod", "recover-alone"], line].concat();
        match Cli::try_parse_from(words).expect("a command").command {
            cli::Command::RecoverAlone(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_that_is_printed_can_be_given_to_a_shell() {
        let plain = args(&["/var/lib/synod", "--data-dir", "/srv/new", "--address", "a:1"]);
        let expected = "synod recover-alone /var/lib/synod --data-dir /srv/new --address a:1 \
                        --i-accept-that-values-may-be-lost";
        assert_eq!(Command(&plain).to_string(), expected);
        let odd = args(&["it's here", "--data-dir", "$HOME", "--cluster", "two words"]);
        let expected = r"synod recover-alone 'it'\''s here' --data-dir '$HOME' --cluster 'two words' --i-accept-that-values-may-be-lost";
        assert_eq!(Command(&odd).to_string(), expected);
    }
}
