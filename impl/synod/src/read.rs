//! `synod read`: where the log ends.

use anyhow::Context as _;
use synod_client::Client;

use super::args::ReadArgs;
use super::exit::Exit;
use super::output::Output;

pub(crate) async fn read(args: ReadArgs) -> anyhow::Result<Exit> {
    let client = Client::new(args.endpoints.endpoints, args.timeout.options())?;
    let slot = client.read().await.context("the end of the log could not be read")?;
    let mut output = Output::new();
    output.line(slot)?;
    output.flush()?;
    Ok(Exit::Done)
}
