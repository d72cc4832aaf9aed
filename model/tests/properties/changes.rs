//! Random schedules in which members come and go: safety while that happens, and agreement of the members that
//! are left after it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use synod_model::{ClientAnswer, Delivered, Entry, Input, Message, Verdict};

use crate::check;
use crate::cluster::{Cluster, Event};
use crate::schedule::schedules_with_changes;

#[test]
fn changes_break_no_promise() {
    let seen = RefCell::new(BTreeMap::<&str, usize>::new());
    check(3_000, &schedules_with_changes(20..400), |schedule| {
        let mut seen = seen.borrow_mut();
        let mut see = |what| *seen.entry(what).or_default() += 1;
        let cluster = schedule.run();
        for (_, event) in &cluster.events {
            match event {
                Event::Delivered(Delivered { entry: Entry::Change(_), verdict, .. }) => {
                    match verdict {
                        Some(Verdict::First) => see("a change is committed"),
                        Some(Verdict::Refused { .. }) => see("a change is refused"),
                        _ => {}
                    }
                }
                Event::Answered(ClientAnswer::Removed { .. }) => see("a replica is removed"),
                Event::Restored(_) => see("an application is given a snapshot"),
                _ => {}
            }
        }
        let told = |it: &&crate::cluster::network::Envelope| {
            matches!(it.message, Message::CommittedThrough { .. })
        };
        cluster.network.sent.iter().filter(told).for_each(|_| see("what is committed is told"));
        let ids = cluster.nodes.iter().filter_map(|it| it.replica.as_ref());
        let most = ids.map(|it| it.configuration().id().0).max().unwrap_or(0);
        if most > 3 {
            see("three changes are committed");
        }
    });
    println!("{:#?}", seen.borrow());
    assert_eq!(seen.borrow().len(), 6, "something never happens");
}

/// After all failures have ended, the members of the newest configuration agree, and nobody waits for an answer.
#[test]
fn the_members_agree_after_changes() {
    check(400, &schedules_with_changes(20..300), |schedule| {
        let mut cluster = schedule.run();
        let replicas = cluster.nodes.len();
        for at in 0..replicas {
            cluster.nodes[at].isolated = false;
            if cluster.nodes[at].replica.is_none() {
                cluster.restart(at);
            }
        }
        cluster.applies_at_once = true;
        (0..replicas).for_each(|at| cluster.apply(at, synod_model::Slot::MAX));
        for at in 0..replicas {
            for other in (0..replicas).filter(|other| *other != at) {
                let peer = cluster.nodes[other].id;
                cluster.step(at, Input::Drained { peer });
            }
        }
        for round in 0..200 {
            cluster.stabilize();
            if agree(&cluster) {
                return;
            }
            if !(0..replicas).any(|at| cluster.coordinates(at)) {
                (0..replicas).for_each(|at| cluster.step(at, Input::Suspect));
                cluster.step(round % replicas, Input::Elect { canvass: true });
                cluster.stabilize();
            }
            (0..replicas).for_each(|at| cluster.step(at, Input::Resend));
            (0..replicas).for_each(|at| cluster.fetch(at));
            stand_if_outside(&mut cluster);
        }
        panic!("they never agree:\n{}", crate::cluster::text::status(&cluster));
    });
}

/// A replica that believes to be a member, and that no coordinator counts as a member, hears nobody and stands.
fn stand_if_outside(cluster: &mut Cluster) {
    let Some(coordinator) = (0..cluster.nodes.len()).find(|at| cluster.coordinates(*at)) else {
        return;
    };
    let of = |cluster: &Cluster, at: usize| {
        cluster.nodes[at].replica.as_ref().map(|it| it.configuration().clone())
    };
    let newest = of(cluster, coordinator).expect("it runs");
    for at in 0..cluster.nodes.len() {
        let id = cluster.nodes[at].id;
        if !newest.contains(id) && of(cluster, at).is_some_and(|it| it.contains(id)) {
            cluster.step(at, Input::Elect { canvass: false });
        }
    }
}

fn agree(cluster: &Cluster) -> bool {
    let status = |at: usize| cluster.nodes[at].replica.as_ref().map(synod_model::Replica::status);
    let watermark = |at: usize| status(at).map(|it| it.watermark);
    let highest = (0..cluster.nodes.len()).max_by_key(|at| watermark(*at)).expect("replicas");
    let newest = cluster.monitor.governs(watermark(highest).expect("it runs").next());
    (0..cluster.nodes.len()).all(|at| {
        let node = &cluster.nodes[at];
        let replica = node.replica.as_ref().expect("it runs");
        let is_answered = node.submissions.is_empty() && node.reads.is_empty();
        // It knows that it is no member, or never was one.
        let is_outside = !newest.contains(node.id) && !replica.configuration().contains(node.id);
        is_answered && (is_outside || watermark(at) == watermark(highest))
    })
}
