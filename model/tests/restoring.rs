//! A new cluster that begins with a saved snapshot of another one.

mod cluster;

use std::sync::Arc;

use cluster::{Cluster, Event, V, request};
use synod_model::{
    Base, ClusterConstants, Configuration, ConfigurationId, Content, Entry, Input, Limits,
    NotRestorable, Opening, Output, PrefixHash, Recovery, ReplicaId, Run, SequenceNumber, Slot,
    SnapshotHandle, SubmissionId, Verdict,
};

fn limits() -> Limits {
    Limits { open_slots_max: 2, accepted_slots_max: 4, frame_entries_max: 2, ..Limits::default() }
}

/// A cluster that has committed these requests, and its snapshot.
fn old_cluster(letters: &[u8]) -> (Cluster, Arc<SnapshotHandle>) {
    let mut old = Cluster::new(3, limits());
    old.step(0, Input::Elect { canvass: false });
    old.stabilize();
    for letter in letters {
        old.step(0, Input::Submit(vec![request(*letter)]));
        old.stabilize();
    }
    old.ask_for_handle(0);
    let handle = Arc::clone(&old.nodes[0].handles[0]);
    (old, handle)
}

/// What replica `at` has delivered and restored, of the events since they were taken last.
fn delivered(cluster: &mut Cluster, at: u16) -> Vec<(Slot, Option<Verdict>)> {
    let events = std::mem::take(&mut cluster.events);
    let delivered = events.into_iter().filter_map(|(id, event)| match event {
        Event::Delivered(it) if id == ReplicaId(at) => Some((it.slot, it.verdict)),
        Event::Restored(slot) if id == ReplicaId(at) => Some((slot, None)),
        _ => None,
    });
    delivered.collect()
}

/// The members may be others, and more or fewer. Whoever crashes, at whatever time, finds the snapshot again.
#[test]
fn a_new_cluster_goes_on_where_the_snapshot_ends() {
    let (old, snapshot) = old_cluster(b"abcdefg");
    for replicas in [1, 2, 3, 5] {
        let mut new = Cluster::restored(replicas, &old, &snapshot);
        let last = usize::from(replicas) - 1;
        let (count, id) = (last + 1, replicas - 1);
        for at in 0..count {
            let status = new.nodes[at].replica.as_ref().expect("it is up").status();
            assert_eq!((status.watermark, status.applied), (snapshot.slot, snapshot.slot));
            assert_eq!(status.prefix.hash, snapshot.hash());
            assert_eq!(status.promised, SequenceNumber::NONE);
            assert_eq!(status.log_starts_at, snapshot.slot.next());
        }
        assert_eq!(delivered(&mut new, id), [(snapshot.slot, None)], "its application has it");
        new.step(last, Input::Elect { canvass: false });
        new.stabilize();
        // One that the old cluster has done, and a new one.
        new.step(last, Input::Submit(vec![request(b'c')]));
        new.step(0, Input::Submit(vec![request(b'h')]));
        new.stabilize();
        let eighth = snapshot.slot.next();
        let told = delivered(&mut new, id);
        assert!(told.contains(&(eighth, Some(Verdict::First))), "{told:?}");
        assert!(told.iter().all(|(slot, _)| *slot > snapshot.slot), "{told:?}");

        for at in 0..count {
            new.crash(at, 0);
        }
        (0..count).for_each(|at| new.restart(at));
        new.step(0, Input::Elect { canvass: false });
        new.stabilize();
        new.step(0, Input::Submit(vec![request(b'i')]));
        new.stabilize();
        let status = new.nodes[last].replica.as_ref().expect("it is up").status();
        assert_eq!(status.watermark, eighth.next());
    }
}

/// The session goes over, and so a late copy of what the snapshot has is known.
#[test]
fn what_the_old_cluster_has_done_is_done() {
    let (old, snapshot) = old_cluster(b"abc");
    let mut new = Cluster::restored(3, &old, &snapshot);
    new.step(1, Input::Elect { canvass: false });
    new.stabilize();
    new.events.clear();
    new.step(2, Input::Submit(vec![request(b'b')]));
    new.stabilize();
    let submission = request(b'b').submission_id().expect("a request");
    let done = new.events.iter().any(|(_, event)| {
        matches!(event, Event::Answered(synod_model::ClientAnswer::Done { submission: it, slot, .. })
            if *it == submission && *slot == Slot(2))
    });
    assert!(done, "{:?}", new.events);
    assert!(matches!(submission, SubmissionId::Request { .. }));
}

fn constants(limits: Limits) -> Arc<ClusterConstants> {
    let members = (7..10).map(ReplicaId).collect();
    let members = Configuration::new(ConfigurationId(1), members).expect("the members differ");
    Arc::new(ClusterConstants::new(16, members, limits).expect("right limits"))
}

/// It is the record of an empty replica that installs the snapshot of a peer, but for the promise.
#[test]
fn the_first_record_is_that_of_an_installation() {
    let (_, snapshot) = old_cluster(b"abcdefg");
    let constants = constants(limits());
    let handle = Arc::new(SnapshotHandle::clone(&snapshot).restored(&constants).expect("it may"));
    assert_eq!(handle.configuration, *constants.first_configuration());
    assert_eq!((handle.hash(), &handle.table), (snapshot.hash(), &snapshot.table));

    let mut out = Output::default();
    let base = Base::<V>::new(constants.first_configuration().clone());
    let me = ReplicaId(8);
    let recovery = Recovery::new(Arc::clone(&constants), me, Run(1), Slot::ZERO, base, &mut out);
    let mut replica = recovery.and_then(Recovery::finish).expect("an empty disk");
    replica.step(Input::Install { from: ReplicaId(7), handle: Arc::clone(&handle) }, &mut out);
    let record = handle.first_record::<V>();
    assert_eq!(out.writes, std::slice::from_ref(&record));
    assert!(matches!(record.content, Content::Snapshot { promised: SequenceNumber::NONE, .. }));
}

#[test]
fn what_no_log_of_the_new_cluster_leads_to_is_refused() {
    let (_, snapshot) = old_cluster(b"abcdefg");
    let refused = |handle: &SnapshotHandle, limits: Limits| {
        handle.clone().restored(&constants(limits)).expect_err("it may not")
    };
    let other = Limits { frame_entries_max: 3, ..limits() };
    assert_eq!(refused(&snapshot, other), NotRestorable::OtherHashes);
    let empty = SnapshotHandle::empty(snapshot.configuration.clone());
    assert_eq!(refused(&empty, limits()), NotRestorable::Empty);

    let mut many = SnapshotHandle::clone(&snapshot);
    let table = Arc::make_mut(&mut many.table);
    for count in 1..=2 {
        let opening = Opening { origin: ReplicaId(1), run: Run(7), count };
        let open = Entry::<V>::Open(opening);
        table.deliver(Slot(count), &open, &snapshot.configuration, &limits());
    }
    let few = Limits { sessions_max: 2, ..limits() };
    let too_many = NotRestorable::TooManySessions { sessions: 3, sessions_max: 2 };
    assert_eq!(refused(&many, few), too_many);
    assert_ne!(many.hash(), PrefixHash::default());
}
