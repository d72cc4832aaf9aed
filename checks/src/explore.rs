//! `synod-check explore`: serves a web page on which people walk from state to state.
//!
//! - [`server`]: what is at which address.
//! - [`background`]: the search of all states, which is the one of `run`.
//! - [`view`]: a state as the page gets it.
//!
//! The page itself is in `explore/page.*`: it shows what it gets, and decides nothing.

pub mod background;
pub mod server;
pub mod view;

use std::io::{self, Write};

use indicatif::HumanCount;

use crate::cli::{Exit, ExploreArgs};
use crate::interrupt;
use crate::memory::MemoryLimit;
use background::Background;
use server::Server;

/// With more states than this, a search of all states takes minutes.
const STATES_MANY: u64 = 2_000_000;

/// Serves the page until the process ends.
///
/// # Errors
///
/// If the bounds or limits are not allowed, or the page cannot be served at the address.
pub fn explore(args: &ExploreArgs) -> anyhow::Result<Exit> {
    let subject = args.own.subject(args.scenario)?;
    let memory = MemoryLimit::new(args.resources.memory_max)?;
    let server = Server::bind(args.address)?;
    interrupt::end_at_once()?;
    let page = format!("http://{}/{}/", server.address()?, subject.slug());
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", subject.name, subject.shows)?;
    writeln!(out, "\n  {page}\n")?;
    writeln!(
        out,
        "Click 'Search all states' on the page: then it says which properties hold, and\n\
         links to a state for each one that was reached or violated. Ctrl-C ends the\n\
         explorer."
    )?;
    let states = subject.states.number();
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
    let background = Background::new(subject.clone(), args.resources.threads(), memory);
    server.serve(&subject, &background)
}
