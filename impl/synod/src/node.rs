//! `synod node`: runs the replica of a data directory until it is told to stop.
//!
//! [`settings`] reads what it is told, and [`logging`] begins its log.

mod logging;
mod settings;

use std::time::Duration;

use anyhow::{Context as _, bail};
use synod_node::client_port::serve;
use synod_node::{BareLog, Config, ListensFor, Node, NodeError, NodeOpenError, warn_if_ephemeral};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::descriptors::server_limits;
use super::exit::{Exit, UsageError, error_text};
use super::input;
use super::members::MembersError;
use super::signals::Signals;
pub(crate) use logging::LogFormat;
use logging::begin_log;
pub(crate) use settings::NodeArgs;
use settings::{File, configuration, read};

/// How long the disk may take to sync what is under way when the node stops: 5 s. The node has promised
/// nobody what was not synced.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why a node ends whose port for clients is not served any more.
const PORT_ENDED: &str = "the port for clients is not served any more: its task has ended, and said why \
     above\n  that is a fault of synod: please report it; nothing acknowledged is lost";

/// Runs the replica to its end.
///
/// # Errors
///
/// If it cannot start, or must stop.
pub(crate) fn node(args: &NodeArgs) -> anyhow::Result<Exit> {
    let file = args.config.as_deref().map(read).transpose();
    let of_file = file.as_ref().ok().and_then(|it| it.as_ref()).and_then(|it| it.log);
    let format = args.log.or(of_file).unwrap_or_default();
    // From here on, an error is a line of the log.
    let log_writer = begin_log(format)?;
    let ended = file.and_then(|file| run_with(args, &file.unwrap_or_default()));
    // The error goes through the log writer, so it follows the lines before it, and nobody waits for it
    // if standard error is not read.
    let (text, exit) = match ended {
        Ok(()) => (String::new(), Exit::Done),
        Err(error) => {
            let exit = exit_of(&error);
            match format {
                LogFormat::Text => (error_text(&error), exit),
                LogFormat::Json => {
                    error!(exit_code = exit.code(), "{error:#}");
                    (String::new(), exit)
                }
            }
        }
    };
    log_writer.end_with(&text);
    Ok(exit)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let is_permanent = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(error), _) => NodeOpenError::is_permanent(error),
        (_, Some(error)) => NodeError::is_permanent(error),
        _ => false,
    };
    if error.is::<UsageError>() {
        Exit::Usage
    } else if is_permanent || error.is::<MembersError>() {
        Exit::Permanent
    } else {
        Exit::Failed
    }
}

fn run_with(args: &NodeArgs, file: &File) -> anyhow::Result<()> {
    let (config, listen_client) = configuration(args, file)?;
    // One thread serves the replica and all sockets. So everything that a value passes is in one place,
    // and no other thread must be woken for it. The disk has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the threads of the node cannot be started")?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let insisted = async {
            signals.next().await;
            signals.next().await;
        };
        tokio::select! {
            ended = run(config, &listen_client, args.until_stdin_ends) => ended,
            () = insisted => bail!(
                "ended at once, because it was told to stop a second time\n  nothing that was \
                 acknowledged is lost; a client without an answer cannot know the outcome of its request"
            ),
        }
    });
    // A node that is told to stop while it reads its log need not read to the end, nor wait for a disk
    // that does not answer. Whatever it does there may end at any point, as if it were killed.
    runtime.shutdown_background();
    ended
}

async fn run(config: Config, listen_client: &str, until_stdin_ends: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // Before any file is opened.
    let limits = server_limits();
    let stopping = async move {
        tokio::select! {
            _ = signals.next() => {}
            () = input::ended(), if until_stdin_ends => {}
        }
    };
    tokio::pin!(stopping);
    let prepared = tokio::select! {
        prepared = Node::prepare(config) => prepared?,
        () = &mut stopping => return Ok(()),
    };
    let listener = ListensFor::Clients.listen(listen_client).await?;
    warn_if_ephemeral([&listen_client.to_owned()]);
    info!(address = %listener.local_addr()?, "listens for clients");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        // If the sender is dropped, that is a stop as well.
        let _ = stopped.await;
    };
    let mut serving = tokio::spawn(serve(listener, prepared.backend(), limits, stopped));
    // Followers read the values from the log, so the state machine has nothing to do.
    let node = tokio::select! {
        node = prepared.open(BareLog) => node?,
        () = &mut stopping => return Ok(()),
        _ = &mut serving => bail!(PORT_ENDED),
    };
    let ended = tokio::select! {
        ended = node.ended() => ended,
        () = &mut stopping => {
            info!("stops");
            Ok(())
        }
        _ = &mut serving => bail!(PORT_ENDED),
    };
    // Clients first, because what is in flight may still be answered.
    drop(stop);
    let _ = serving.await;
    ended?;
    if let Ok(ended) = timeout(STOP_MAX, node.stop()).await {
        return Ok(ended?);
    }
    warn!("ends with a write under way: the disk does not answer");
    Ok(())
}
