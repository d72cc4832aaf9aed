//! `synod read`: prints where the log ends.

use clap::Args;
use synod_client::Client;

use super::args::{Endpoints, Timeout};
use super::exit::Exit;
use super::health;
use super::output::Output;

pub(crate) const ABOUT: &str = "\
Print the slot at which the log ends now, whichever replica is asked.

The read is linearizable: the slot covers everything that was delivered on any
replica, or answered to any client, before the command began. 0 means that the
log is empty.";

/// The arguments of `read`.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

pub(crate) async fn read(args: ReadArgs) -> anyhow::Result<Exit> {
    let client = Client::new(args.endpoints.endpoints(), args.timeout.options())?;
    let slot = match client.read().await {
        Ok(slot) => slot,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the end of the log could not be read");
            return health::failed(&args.endpoints.endpoints(), error).await;
        }
    };
    let mut output = Output::new();
    if args.json {
        output.line(serde_json::json!({ "slot": slot }))?;
    } else {
        output.line(slot)?;
    }
    output.flush()?;
    Ok(Exit::Done)
}
