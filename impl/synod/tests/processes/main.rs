//! Nodes as they are deployed: real processes, real files, real sockets, and what goes wrong with them.
//!
//! Every test has its own cluster, at an address of loopback and in a folder that nobody else has, and
//! takes its processes and its folder with it when it ends, also when it fails. Then it prints what
//! the nodes have told. What is drawn at random is drawn from a seed, which is printed; `SYNOD_SEED`
//! sets another.
//!
//! Only Linux gives every process a few million addresses of loopback; so only there this runs.
#![cfg(target_os = "linux")]

mod application;
mod catching_up;
mod chaos;
mod clock;
mod cluster;
mod command;
mod damage;
mod descriptors;
mod directories;
mod disk_full;
mod failover;
mod history;
mod isolation;
mod mount;
mod process;
mod proxy;
mod quiet;
mod remade;
mod stalled_reader;
mod startup;
mod stopping;
mod strangers;
mod wait;
