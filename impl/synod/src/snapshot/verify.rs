//! `synod snapshot verify`: reads a saved snapshot, and says what is wrong with it.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use synod_node::state_bytes;
use synod_node::storage::{SavedSnapshot, SnapshotFlaws, SoundSnapshot, verify_snapshot};

use super::bytes_bar::BytesBar;
use crate::exit::Exit;
use crate::output::Output;

pub(crate) const VERIFY_ABOUT: &str = "\
Read a saved snapshot, and say what is wrong with it.

It reads the whole file and checks every checksum. Of a sound one it prints the
cluster, the last slot, the sessions and the length. Of a damaged one it prints
each flaw with the byte where it begins. It needs no cluster and no data
directory. The snapshots in a data directory can be read as well.";

pub(crate) const VERIFY_CODES: &str = "\
Exit codes:
  0  the snapshot is sound
  1  it is damaged, or it cannot be read
  2  the command line is invalid";

/// The arguments of `snapshot verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The saved snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What is told of a snapshot, as JSON.
#[derive(Debug, Default, Serialize)]
struct Told {
    is_sound: bool,
    cluster: Option<String>,
    cluster_id: Option<String>,
    slot: Option<u64>,
    /// Of a database. The log has none.
    revision: Option<u64>,
    members: Vec<u16>,
    sessions: Option<u64>,
    bytes: Option<u64>,
    /// What the state machine itself has of it.
    state_bytes: Option<u64>,
    checksum: Option<String>,
    flaws: Vec<ToldFlaw>,
    more_flaws: u64,
}

#[derive(Debug, Serialize)]
struct ToldFlaw {
    byte: u64,
    flaw: String,
}

/// Prints what the file is, or what is wrong with it.
///
/// # Errors
///
/// If the file cannot be read.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let bar = BytesBar::new();
    let verified = verify_snapshot(&args.file, |bytes, of| bar.tell("checking", bytes, of))?;
    drop(bar);
    let exit = if verified.is_ok() { Exit::Done } else { Exit::Failed };
    let told = match &verified {
        Ok(sound) => of_sound(&args.file, sound)?,
        Err(flaws) => of_flaws(flaws),
    };
    let mut output = Output::new();
    let file = args.file.display();
    if args.json {
        output.line(serde_json::to_string_pretty(&told)?)?;
    } else if let Ok(sound) = &verified {
        output.line(format_args!("{file} is a sound snapshot"))?;
        output.line(format_args!("  cluster   {} ({})", sound.cluster_name, sound.cluster_id))?;
        output.line(format_args!("  slot      {}", sound.file.slot))?;
        let members: Vec<_> = told.members.iter().map(|id| format!("r{id}")).collect();
        output.line(format_args!("  members   {}", members.join(", ")))?;
        output.line(format_args!("  sessions  {}", told.sessions.unwrap_or_default()))?;
        let bytes = sound.file.length_bytes;
        output.line(format_args!("  length    {bytes} bytes ({})", ByteSize(bytes)))?;
        match told.state_bytes {
            None | Some(0) => output.line("  state     none: it is of a bare log")?,
            Some(its) => {
                output.line(format_args!("  state     {its} bytes ({})", ByteSize(its)))?;
            }
        }
        output.line(format_args!("  checksum  {:016x}", sound.file.checksum))?;
    } else {
        output.line(format_args!("{file} is damaged; nothing can be restored from it"))?;
        for ToldFlaw { byte, flaw } in &told.flaws {
            output.line(format_args!("  at byte {byte}: {flaw}"))?;
        }
        if told.more_flaws > 0 {
            output.line(format_args!("  and {} more", told.more_flaws))?;
        }
    }
    output.flush()?;
    Ok(exit)
}

fn of_sound(file: &Path, sound: &SoundSnapshot) -> anyhow::Result<Told> {
    let saved = SavedSnapshot::open(file)?;
    let handle = saved.handle();
    Ok(Told {
        is_sound: true,
        cluster: Some(sound.cluster_name.clone()),
        cluster_id: Some(sound.cluster_id.to_string()),
        slot: Some(sound.file.slot.0),
        revision: None,
        members: handle.configuration.members().iter().map(|id| id.0).collect(),
        sessions: Some(handle.table.sessions()),
        bytes: Some(sound.file.length_bytes),
        state_bytes: Some(state_bytes(file, sound)?),
        checksum: Some(format!("{:016x}", sound.file.checksum)),
        ..Told::default()
    })
}

fn of_flaws(flaws: &SnapshotFlaws) -> Told {
    let told = flaws.found.iter();
    let told = told.map(|it| ToldFlaw { byte: it.offset, flaw: it.flaw.to_string() });
    Told { flaws: told.collect(), more_flaws: flaws.more, ..Told::default() }
}
