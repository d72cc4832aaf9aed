//! `synod-check explore`: serves stateright's web page, on which people walk from state to state.
//!
//! Two traits of that page would surprise its users. It panics if its address is in use; and files
//! in a folder `ui` of the working directory replace its own. This module checks both first.

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
use crate::interrupt::Interrupt;
use crate::scenarios::StateCount;

/// The files of the page.
const PAGE: [&str; 4] = ["index.htm", "app.css", "app.js", "knockout-3.5.0.js"];

/// With more states than this, "Run to completion" takes minutes.
const STATES_MANY: u64 = 500_000;

/// Serves the page until the process ends.
///
/// # Errors
///
/// If the page cannot be served at the address.
pub fn explore(args: &ExploreArgs) -> anyhow::Result<Exit> {
    if let Some(file) = PAGE.iter().find(|file| Path::new("ui").join(file).exists()) {
        bail!(
            "./ui/{file} would replace a file of the explorer's page\n  start synod-check in a folder without ui/{file}"
        );
    }
    Interrupt::end_process()?;
    let address = free(args.address)?;
    let row = args.scenario;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", row.name, row.shows)?;
    writeln!(out, "\n  http://{address}/\n")?;
    writeln!(
        out,
        "Click 'Run to completion' on the page: then it says which properties hold, and links to a"
    )?;
    writeln!(out, "state for each one that was reached or violated. Ctrl-C ends the explorer.")?;
    let (StateCount::Counted(states) | StateCount::Estimated(states)) = row.states;
    if states > STATES_MANY {
        writeln!(
            out,
            "This scenario has {} states: to search them takes long, and much memory.\n\
             `synod-check trace` finds the path to a single property sooner.",
            HumanCount(states)
        )?;
    }
    out.flush()?;
    drop(out);
    let world = Arc::new(World::new((row.scenario)()));
    // One thread: so the states that the page links to are near, and the same every time.
    Explored::new(world).checker().serve(address);
    bail!("the explorer stopped serving http://{address}/")
}

/// The address to serve at. Fails if it is in use.
fn free(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot serve at {address}\n  choose another address: --address 127.0.0.1:0 takes any free port"
        )
    })?;
    Ok(listener.local_addr()?)
}
