//! Nodes as they are deployed, with their failures: real processes, real files, real sockets.
//!
//! Every test has its own cluster, at a loopback address and in a folder of its own. When the test ends,
//! even if it fails, its processes and its folder are removed. A test that fails prints the log lines of
//! its nodes. Random choices are drawn from a seed, which is printed. `SYNOD_SEED` sets another.
//!
//! These tests need a few million loopback addresses for every process, which only Linux has.
#![cfg(target_os = "linux")]

mod alone;
mod backup;
mod broken_links;
mod catching_up;
mod changing;
mod chaos;
mod clock;
mod cluster;
mod command;
mod damage;
mod descriptors;
mod directories;
mod disk_full;
mod failover;
mod forgotten;
mod history;
mod hung_application;
mod hung_disk;
mod isolation;
mod load;
mod members;
mod mount;
mod process;
mod proxy;
mod quiet;
mod remade;
mod responses;
mod slow_links;
mod snapshots;
mod stalled_reader;
mod startup;
mod state_machine;
mod stopping;
mod strangers;
mod two_histories;
mod wait;
