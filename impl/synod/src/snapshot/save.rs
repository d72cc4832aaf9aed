//! `synod snapshot save`: saves a snapshot of a running cluster in a file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytesize::ByteSize;
use clap::Args;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use synod_client::{Endpoint, SaveFailed, SaveOptions, SavePiece, SnapshotSave};
use synod_node::state_bytes;
use synod_node::storage::{SnapshotCheck, SoundSnapshot};
use synod_wire::blocking;
use tokio::time::{Instant, sleep};

use super::bytes_bar::BytesBar;
use super::target::{Target, TargetError};
use crate::args::{Endpoints, duration};
use crate::exit::{Exit, error_text};
use crate::output::Output;

/// How often a snapshot may begin anew before the save is given up. 3: each time the replica was started again, and had
/// committed more.
const BEGINS_ANEW_MAX: u32 = 3;

/// How long to wait before replicas are asked again that save as many snapshots as they may. 1 s.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// For how long a replica may send nothing, if there is another one to ask. 5 s: longer than a link takes to come back,
/// and what has come is worth a little wait.
const ANOTHER_AFTER: Duration = Duration::from_secs(5);

pub(crate) const SAVE_ABOUT: &str = "\
Save a snapshot of a running cluster in a file.

A replica takes a snapshot of its newest state, and its file is copied here and
checked as it comes. The cluster goes on meanwhile, and no log is cut. A
connection that breaks goes on where it was. If a replica cannot go on, the next
endpoint is asked.

The file gets its name when it is whole, checked and on the disk, and never
takes the place of another file. `synod snapshot verify` checks it again, and
`synod snapshot restore` makes a new cluster of it.

The state is that of the replica's state machine. The values of a bare log, as
`synod node` runs it, are in no snapshot: use `synod follow` to keep them.";

pub(crate) const SAVE_CODES: &str = "\
Exit codes:
  0  the snapshot is saved
  1  it is not; the reason is on standard error
  2  the command line is invalid
  130, 143  Ctrl-C or SIGTERM came, and nothing is saved";

/// The arguments of `snapshot save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The file to make; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    endpoints: Endpoints,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// How long a replica may take to take its snapshot, and how long to wait for one
    /// that saves others, such as 2s or 5m; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

/// What was saved.
#[derive(Debug, Serialize)]
struct Saved {
    endpoint: String,
    cluster: String,
    cluster_id: String,
    slot: u64,
    /// Of a database. The log has none.
    revision: Option<u64>,
    bytes: u64,
    checksum: String,
    file: PathBuf,
}

/// Saves a snapshot, and prints what was saved.
///
/// # Errors
///
/// If the file exists, or cannot be written.
pub(super) async fn save(args: SaveArgs) -> anyhow::Result<Exit> {
    let mut target = Target::begin(&args.file)?;
    let endpoints = args.endpoints.endpoints();
    let usual = SaveOptions::default();
    let no_progress_max = if endpoints.len() > 1 { ANOTHER_AFTER } else { usual.no_progress_max };
    let options = SaveOptions { begin_max: args.timeout, no_progress_max, ..usual };
    let give_up_at = Instant::now() + args.timeout;
    let (endpoint, sound, failures) = 'saved: loop {
        let (mut failures, mut is_busy) = (Vec::new(), false);
        for endpoint in &endpoints {
            let error = match copy(endpoint, options, &mut target).await {
                Ok(sound) => break 'saved (endpoint, sound, failures),
                Err(error) => error,
            };
            if error.is::<TargetError>() {
                return Err(error);
            }
            is_busy |= error.downcast_ref::<SaveFailed>().is_some_and(SaveFailed::is_busy);
            failures.push(error);
            target.clear()?;
        }
        if !is_busy || Instant::now() >= give_up_at {
            for error in failures {
                anstream::eprint!("{}", error_text(&error));
            }
            return Ok(Exit::Failed);
        }
        sleep(BUSY_AGAIN).await;
    };
    for error in failures {
        anstream::eprintln!("{} {error}", "warning:".yellow().bold());
    }
    let part = target.part().to_owned();
    let (state, sound) = blocking::run("snapshot-state", move || {
        let what = "what came is sound, and no snapshot of a node";
        state_bytes(&part, &sound).context(what).map(|state| (state, sound))
    })
    .await??;
    blocking::run("snapshot-place", move || target.place()).await??;
    tell(&args, endpoint, &sound)?;
    if state == 0 {
        anstream::eprintln!(
            "{} the state machine has no state in this snapshot\n  \
             the values of a bare log are in no snapshot: keep what `synod follow` prints",
            "warning:".yellow().bold(),
        );
    }
    Ok(Exit::Done)
}

/// Copies the snapshot of one replica.
async fn copy(
    endpoint: &Endpoint,
    options: SaveOptions,
    target: &mut Target,
) -> anyhow::Result<SoundSnapshot> {
    let mut save = SnapshotSave::begin(endpoint.clone(), options).await?;
    let bar = BytesBar::new();
    let mut check = SnapshotCheck::default();
    let (mut copied, mut began_anew) = (0, 0);
    while let Some(piece) = save.next().await? {
        match piece {
            SavePiece::Bytes(piece) => {
                check.add(&piece.0);
                target.write(&piece.0)?;
                if check.first_flaw().is_some() {
                    // The rest would be of no use.
                    break;
                }
                copied += piece.0.len() as u64;
                bar.tell("saving", copied, save.begun().bytes);
            }
            SavePiece::BeginsAnew if began_anew < BEGINS_ANEW_MAX => {
                began_anew += 1;
                copied = 0;
                check = SnapshotCheck::default();
                target.clear()?;
            }
            SavePiece::BeginsAnew => {
                let many = "it was started again too often, and has another snapshot each time";
                return Err(anyhow!("{endpoint}: {many}"));
            }
        }
    }
    let begun = save.begun().clone();
    let cluster_id = save.about().cluster_id;
    save.end().await;
    drop(bar);
    let sound = check.finish().map_err(|flaws| {
        let first = flaws.found.first().map(ToString::to_string).unwrap_or_default();
        anyhow!(
            "{endpoint}: its snapshot is damaged, {first}\n  \
             the disk of that replica has changed it, or what came was changed on its way: save\n  \
             the snapshot of another replica, and see what `synod inspect` says of this one"
        )
    })?;
    let (file, expected) = (sound.file, (begun.slot, begun.bytes, begun.checksum));
    if (file.slot, file.length_bytes, file.checksum) != expected || sound.cluster_id != cluster_id {
        return Err(anyhow!("{endpoint}: what came is another snapshot than it said"));
    }
    Ok(sound)
}

fn tell(args: &SaveArgs, endpoint: &Endpoint, sound: &SoundSnapshot) -> anyhow::Result<()> {
    let saved = Saved {
        endpoint: endpoint.to_string(),
        cluster: sound.cluster_name.clone(),
        cluster_id: sound.cluster_id.to_string(),
        slot: sound.file.slot.0,
        revision: None,
        bytes: sound.file.length_bytes,
        checksum: format!("{:016x}", sound.file.checksum),
        file: args.file.clone(),
    };
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::to_string_pretty(&saved)?)?;
    } else {
        let Saved { endpoint, cluster, cluster_id, slot, bytes, file, .. } = &saved;
        output.line(format_args!(
            "saved {}: slot {slot}, {}, of {endpoint} in cluster {cluster} ({cluster_id})",
            file.display(),
            ByteSize(*bytes),
        ))?;
    }
    Ok(output.flush()?)
}
