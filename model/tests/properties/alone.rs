//! After any schedule, any replica may be the last one that is left: what it had committed stays, in a cluster of one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use synod_model::{
    Content, Entry, Limits, Membership, NotAlone, Request, SessionId, Slot, Verdict,
};

use crate::check;
use crate::cluster::{Cluster, V};
use crate::lone::{Alone, alone_of};
use crate::schedule::{Schedule, schedules_with_changes, schedules_with_snapshots};

#[test]
fn what_a_survivor_had_committed_stays() {
    let seen = RefCell::new(BTreeSet::new());
    check(600, &schedules_with_changes(20..400), |schedule| {
        survives(&schedule, &mut |what| _ = seen.borrow_mut().insert(what));
    });
    check(600, &schedules_with_snapshots(20..400), |schedule| {
        survives(&schedule, &mut |what| _ = seen.borrow_mut().insert(what));
    });
    println!("{:#?}", seen.borrow());
    // No replica of these schedules has two data directories.
    assert_eq!(seen.borrow().len(), 9, "something never happens");
}

/// Every replica in turn is the last one that is left.
fn survives(schedule: &Schedule, see: &mut impl FnMut(&'static str)) {
    let mut cluster = schedule.run();
    let limits = cluster.constants.limits().clone();
    for at in 0..cluster.nodes.len() {
        cluster.crash(at, 0);
        let node = &cluster.nodes[at];
        let (base, records) = (node.disk.base_after(0), node.disk.records());
        let (survivor, mut alone) = match alone_of(&cluster.constants, &base, node.id, records) {
            Ok(made) => made,
            Err(NotAlone::Empty) => {
                see("it has nothing");
                continue;
            }
            Err(NotAlone::OnlyVoter { .. }) => {
                see("it has lost nobody");
                continue;
            }
            Err(error) => panic!("r{at}: {error}"),
        };
        see(match survivor.membership {
            Membership::Voter => "a voter is left",
            Membership::Learner => "a learner is left",
            Membership::Outside => "a replica outside the configuration is left",
        });
        if !survivor.adopted.is_empty() {
            see("it has accepted more than it knows to be committed");
        }
        if survivor.left_out.is_some() {
            see("it has accepted something behind a gap");
        }
        if survivor.adopted.iter().any(|entry| matches!(entry, Entry::Change(_))) {
            see("it has accepted a change");
        }
        if records.iter().any(|it| matches!(it.content, Content::Snapshot { .. })) {
            see("it has a snapshot");
        }
        keeps_what_was_committed(&cluster, survivor.committed, &alone);
        assert_eq!(alone.replica.status().watermark, survivor.last());
        nothing_is_first_twice(&alone, &limits);
        goes_on(&mut alone);
    }
}

/// The log begins as that of the old cluster, verdict for verdict, but for the changes.
fn keeps_what_was_committed(cluster: &Cluster, committed: Slot, alone: &Alone) {
    for delivered in alone.delivered.iter().filter(|it| it.slot <= committed) {
        let (entry, verdict) = &cluster.monitor.log[&delivered.slot];
        assert_eq!(delivered.entry, *entry, "slot {}", delivered.slot);
        if matches!(entry, Entry::Change(_)) {
            assert!(!matches!(delivered.verdict, Some(Verdict::First)), "{delivered:?}");
        } else {
            assert_eq!(delivered.verdict, *verdict, "slot {}", delivered.slot);
        }
    }
    let from = alone.restored.unwrap_or(Slot::ZERO);
    let slots = alone.delivered.iter().map(|it| it.slot);
    assert!(slots.eq((from.0 + 1..=alone.replica.status().watermark.0).map(Slot)));
}

/// An opening may be first again after its session was evicted.
fn nothing_is_first_twice(alone: &Alone, limits: &Limits) {
    let mut firsts = BTreeMap::new();
    let opens = alone.delivered.iter().filter(|it| matches!(it.entry, Entry::Open(_))).count();
    for it in &alone.delivered {
        let is_exempt = opens as u64 >= limits.sessions_max && matches!(it.entry, Entry::Open(_));
        if let (Some(Verdict::First), Some(submission), false) =
            (it.verdict, it.entry.submission_id(), is_exempt)
        {
            assert_eq!(firsts.insert(submission, it.slot), None, "{submission:?} is first twice");
        }
    }
}

/// It elects itself and commits, also if the session of the request is not known any more.
fn goes_on(alone: &mut Alone) {
    let before = alone.replica.status().watermark;
    alone.elect();
    let request =
        Request { session: SessionId(u64::MAX), number: 1, answered: 1, value: V::from([1]) };
    alone.submit(Entry::Request(request));
    let watermark = alone.replica.status().watermark;
    assert!(watermark > before, "{watermark}");
}
