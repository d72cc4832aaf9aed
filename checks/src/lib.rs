//! What `synod-check` does: Synod's protocol, checked exhaustively within the bounds of scenarios.
//!
//! The model is `synod_model::world`; it knows what can happen to a cluster and what must hold. Here
//! is the rest. In the order in which data flows:
//!
//! - [`cli`] says what can be asked;
//! - [`scenarios`] is the table of what is checked;
//! - [`run`] checks scenarios, one after another; [`search`] watches each search to its end, within
//!   the limits of [`memory`] and until an [`interrupt`], while [`progress`] shows how far it is;
//! - [`report`] is what came of it, as a table and as JSON;
//! - [`trace`] looks for a short path to one property by a [`hunt`], and [`paths`] shows it;
//! - [`explore`] serves stateright's web page; [`list`] prints the table of scenarios;
//! - [`mod@bench`] measures the checker against stateright's own examples.
//!
//! One rule stands above all: only a search whose frontier was emptied is complete. Everything that
//! ends one earlier is told, and is in the exit code.

#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod explore;
pub mod hunt;
pub mod interrupt;
pub mod list;
pub mod memory;
pub mod paths;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod search;
pub mod trace;
