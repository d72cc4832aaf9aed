//! `synod-check explore`: stateright's web page, in which people walk from state to state.
//!
//! Two things about that page would surprise: it panics where its address is in use, and it is
//! replaced, file by file, by what lies in a folder `ui` of the working directory. Both are looked
//! at first.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use indicatif::HumanCount;
use stateright::Model;
use synod_model::show::Explored;
use synod_model::world::World;

use crate::cli::{Exit, ExploreArgs};
use crate::scenarios::StateCount;

/// The files that the page consists of.
const PAGE: [&str; 4] = ["index.htm", "app.css", "app.js", "knockout-3.5.0.js"];

/// Beyond so many states it takes minutes to search them all for the page.
const STATES_MANY: u64 = 500_000;

/// Serves the page until the process is ended.
///
/// # Errors
///
/// If it cannot be served there.
pub fn explore(args: &ExploreArgs) -> anyhow::Result<Exit> {
    if let Some(file) = PAGE.iter().find(|file| Path::new("ui").join(file).exists()) {
        bail!(
            "./ui/{file} would take the place of the explorer's own\n  start synod-check in a folder that has no ui/{file}"
        );
    }
    let address = free(args.address)?;
    let row = args.scenario;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", row.name, row.shows)?;
    writeln!(out, "\n  http://{address}/\n")?;
    writeln!(
        out,
        "The page says which properties hold, and leads to a state that shows each, once"
    )?;
    writeln!(out, "you have clicked 'Run to completion' there. Ctrl-C ends it.")?;
    let (StateCount::Counted(states) | StateCount::Estimated(states)) = row.states;
    if states > STATES_MANY {
        writeln!(
            out,
            "This scenario has {} states: that will take long, and much memory. `synod-check trace`\n\
             leads to a single state sooner.",
            HumanCount(states)
        )?;
    }
    out.flush()?;
    drop(out);
    let world = Arc::new(World::new((row.scenario)()));
    // By one thread, so that what the page leads to is the same every time, and near.
    Explored::new(world).checker().serve(address);
    bail!("the explorer stopped serving http://{address}/")
}

/// The address to serve at, once it is known that one can.
fn free(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot serve at {address}\n  choose another: --address 127.0.0.1:0 takes any free port"
        )
    })?;
    Ok(listener.local_addr()?)
}
