//! Clusters that crash, and the promises that they keep.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_model::{Delivered, Entry, Request, RoleName, Slot, Verdict};
use synod_wire::Value;
use synod_wire::api::{Applied, Response};

use super::chain::Chain;
use super::clients::value_of;
use super::{Running, Simulation, ms};
use crate::state_machine::Responder;

/// Runs a seed, and checks every promise. Returns the digest and the number of crashes.
fn check(seed: u64, replicas: u16, trouble: Duration) -> (u64, u64) {
    println!("seed {seed}");
    let mut simulation = Simulation::new(seed, replicas, 4, trouble);
    let digest = simulation.run(trouble + ms(5_000));
    keeps_its_promises(&simulation);
    (digest, simulation.crashes)
}

/// Checks every promise.
pub(super) fn keeps_its_promises(simulation: &Simulation) {
    let longest = simulation.replicas.iter().map(|node| node.delivered.len()).max().unwrap_or(0);
    for (at, node) in simulation.replicas.iter().enumerate() {
        let others = simulation.replicas.iter().find(|it| it.delivered.len() == longest);
        let others = &others.expect("there is a longest").delivered;
        assert!(node.running.is_some(), "r{at} runs");
        assert!(longest - node.delivered.len() < 64, "r{at} has nearly everything");
        assert_eq!(node.delivered[..], others[..node.delivered.len()], "r{at} has the same log");
    }
    let log = &simulation.replicas.iter().max_by_key(|node| node.delivered.len());
    let log = &log.expect("there are replicas").delivered;
    let mut reference = Responder::new(Chain::default());
    let responses: BTreeMap<Slot, Response> =
        log.iter().map(|it| (it.slot, reference.apply(it))).collect();
    for (client, it) in simulation.clients.iter().enumerate() {
        assert!(it.number > 10, "client {client} gets on: {}", it.number);
        for (&number, Applied { slot, response }) in &it.acknowledged {
            let wanted = value_of(client, number);
            let is_first = |delivered: &&Delivered<Value>| {
                delivered.verdict == Some(Verdict::First)
                    && matches!(&delivered.entry, Entry::Request(Request { value, .. }) if *value == wanted)
            };
            let slots: Vec<_> = log.iter().filter(is_first).map(|it| it.slot).collect();
            assert_eq!(slots, [*slot], "request {number} of client {client} is there once");
            assert_eq!(response, &responses[slot], "request {number} of client {client}");
        }
    }
    let coordinators = simulation.replicas.iter().filter_map(|node| node.running.as_ref());
    let coordinates =
        |it: &&Running| matches!(it.shell.status().role, RoleName::Coordinator { .. });
    assert_eq!(coordinators.filter(coordinates).count(), 1, "in peace there is one coordinator");
}

/// A cluster of three that crashes all the time, run twice. The digests are equal, so the shell and
/// storage depend on nothing but their inputs.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=4 {
        let (first, crashes) = check(seed, 3, ms(10_000));
        assert!(crashes > 10, "there were crashes: {crashes}");
        assert_eq!(check(seed, 3, ms(10_000)).0, first, "seed {seed}");
    }
}

#[test]
fn five_replicas_keep_their_promises() {
    for seed in 11..=13 {
        check(seed, 5, ms(6_000));
    }
}
