//! The commands on the command line.

use clap::{Parser, Subcommand};

use super::bench::{self, BareArgs, BenchArgs};
use super::exit::{ASK_CODES, SUBMIT_CODES};
use super::follow::{self, FollowArgs};
use super::health::{self, HealthArgs};
use super::init::InitArgs;
use super::inspect::InspectArgs;
use super::local::{self, LocalArgs};
use super::member::MemberCommand;
use super::node::NodeArgs;
use super::read::{self, ReadArgs};
use super::recover_alone::{self, RecoverAloneArgs};
use super::snapshot::SnapshotCommand;
use super::status::{self, StatusArgs};
use super::submit::SubmitArgs;

/// A log that several machines agree on, entry by entry.
///
/// A cluster is three or five replicas. Each is a `synod node` process with a data directory of its own.
/// Every value that a client submits gets a slot in the log, the same on every replica. It stays there
/// as long as a majority of the replicas keep their disks.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = START, max_term_width = 80)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const START: &str = "\
To try it on one machine:
  synod local                   three replicas, until Ctrl-C; prints their
                                endpoints
and in another terminal, with those endpoints:
  export SYNOD_ENDPOINTS=A,B,C
  synod submit hello world      prints a slot and the value for each
  synod follow --from 1         prints the log, and goes on as it grows
  synod status                  shows the state of each replica";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(InitArgs),
    Node(NodeArgs),
    /// Put values in the log; prints the slot of each
    #[command(after_help = SUBMIT_CODES)]
    Submit(SubmitArgs),
    /// Print the slot at which the log ends now, whichever replica is asked
    #[command(after_help = ASK_CODES, long_about = read::ABOUT)]
    Read(ReadArgs),
    /// Print the log from a slot on, and go on as it grows
    #[command(after_help = follow::CODES)]
    Follow(FollowArgs),
    /// Show the state of replicas
    #[command(after_help = status::CODES)]
    Status(StatusArgs),
    /// Say whether the cluster works, for scripts and probes
    #[command(after_help = health::CODES, long_about = health::ABOUT)]
    Health(HealthArgs),
    /// Take, save and verify snapshots, and restore a cluster from one
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Show the members of a cluster, and change them
    #[command(subcommand)]
    Member(MemberCommand),
    Inspect(InspectArgs),
    /// Begin a new cluster of one with what a last replica has, when a majority is lost for good
    #[command(
        long_about = recover_alone::ABOUT,
        after_help = recover_alone::CODES,
        override_usage = recover_alone::USAGE
    )]
    RecoverAlone(RecoverAloneArgs),
    /// Run a whole cluster on this machine, to try things out
    #[command(after_help = local::HELP)]
    Local(LocalArgs),
    /// Measure how fast a cluster is, and how fast this machine could be at best
    #[command(long_about = bench::ABOUT, after_help = bench::CODES)]
    Bench(BenchArgs),
    /// The process that `bench` exchanges messages with
    #[command(hide = true)]
    BenchEcho,
    /// One of three processes that only pass a value on and sync it, for `bench`
    #[command(hide = true)]
    BenchBare(BareArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Some terminals have no more, and a text that a terminal breaks is hard to read.
    #[test]
    fn every_help_fits_eighty_columns() {
        let mut command = Cli::command();
        command.build();
        let names: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let mut texts = vec![
            (String::new(), command.render_long_help()),
            (String::new(), command.render_help()),
        ];
        for name in ["snapshot", "member"] {
            let group = command.find_subcommand_mut(name).expect("a command");
            for command in group.get_subcommands_mut() {
                texts.push((name.to_owned(), command.render_long_help()));
                texts.push((name.to_owned(), command.render_help()));
            }
        }
        for name in names {
            let command = command.find_subcommand_mut(&name).expect("a command");
            texts.push((name.clone(), command.render_long_help()));
            texts.push((name, command.render_help()));
        }
        // What is broken into lines here is broken again where a line is too long.
        let own = [
            SUBMIT_CODES,
            ASK_CODES,
            START,
            read::ABOUT,
            recover_alone::ABOUT,
            recover_alone::CODES,
            health::ABOUT,
            health::CODES,
            bench::ABOUT,
            bench::CODES,
            follow::CODES,
            status::CODES,
            local::HELP,
            crate::member::LIST_CODES,
            crate::member::CHANGE_CODES,
            crate::member::ADD_ABOUT,
            crate::member::REMOVE_ABOUT,
            crate::member::REPLACE_ABOUT,
            crate::member::MOVE_ABOUT,
            crate::snapshot::TAKE_ABOUT,
            crate::snapshot::TAKE_CODES,
            crate::snapshot::SAVE_ABOUT,
            crate::snapshot::SAVE_CODES,
            crate::snapshot::VERIFY_ABOUT,
            crate::snapshot::VERIFY_CODES,
            crate::snapshot::RESTORE_ABOUT,
            crate::snapshot::RESTORE_CODES,
        ];
        texts.extend(own.map(|text| ("text".to_owned(), text.into())));
        let lines = texts.iter().flat_map(|(name, text)| {
            let lines: Vec<_> = text.to_string().lines().map(str::to_owned).collect();
            lines.into_iter().map(move |line| (name, line))
        });
        let long: Vec<_> = lines.filter(|(_, line)| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
    }

    /// The long help of a command comes from the doc comment of its arguments.
    #[test]
    fn the_long_helps_are_there() {
        for (name, part) in
            [("init", "16 are the most"), ("node", "SIGTERM"), ("inspect", "no lock")]
        {
            let mut command = Cli::command();
            let command = command.find_subcommand_mut(name).expect("a command");
            let help = command.render_long_help().to_string();
            assert!(help.contains(part), "{help}");
        }
        assert_eq!(synod_model::MEMBERS_MAX, 16, "as the help of `init` says");
    }

    /// Every command in a code block of these pages parses.
    #[test]
    fn the_commands_on_the_pages_are_valid() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut found = 0;
        for page in ["README.md", "docs/README.md", "docs/operating.md", "docs/performance.md"] {
            let text = std::fs::read_to_string(format!("{root}/{page}")).expect("a page");
            let text = text.replace("\\\n", " ");
            for line in text.lines() {
                let asked = line.strip_prefix("    cargo run --release -p synod -- ");
                let line_of_synod = line.strip_prefix("sudo -u synod ").unwrap_or(line);
                let Some(asked) = asked.or_else(|| line_of_synod.strip_prefix("synod ")) else {
                    continue;
                };
                found += 1;
                let asked = asked.split('#').next().unwrap_or_default().replace("$E", "a:1,b:2");
                let words = std::iter::once("synod").chain(asked.split_whitespace());
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{page}: {line}\n{}", parsed.expect_err("not understood"));
            }
        }
        assert!(found > 5, "the pages have more commands than {found}");
    }
}
