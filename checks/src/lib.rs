//! The command `synod-check`: it checks Synod's protocol exhaustively, within the bounds of scenarios.
//!
//! The model itself is `synod_model::world`: what can happen to a cluster, and what must hold. This
//! crate searches it and reports what was found. The modules, in the order in which data flows:
//!
//! - [`cli`]: the command line, and what the exit codes mean.
//! - [`scenarios`]: the table of scenarios. [`mod@bounds`]: the bounds of a scenario as flags and as a file.
//!   [`subject`]: the scenario that a command works on, from the table or with a user's own bounds.
//! - [`run`]: checks scenarios, one after another. [`search`] watches each search until it ends or is
//!   stopped, by the limits of [`memory`] or by an [`interrupt`]. [`progress`] shows how far it is.
//! - [`report`]: the results of a run, as a table and as JSON.
//! - [`trace`]: shows a short path to one property. [`hunt`] finds the path, [`paths`] prints and
//!   draws it.
//! - [`explore`]: serves a web page on which people walk from state to state. [`list`] prints the table of scenarios.
//! - [`mod@bench`]: measures the checker against stateright's own examples.
//!
//! One rule stands above all: a search is complete only if its frontier was emptied. A search that
//! ended earlier is reported as incomplete, in the text and in the exit code.

#![forbid(unsafe_code)]

pub mod bench;
pub mod bounds;
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
pub mod subject;
pub mod trace;
