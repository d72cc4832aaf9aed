//! Catch-up, portion by portion: what leaves, what is asked for, and when.

mod replica;

use replica::{OTHERS, Subject, V, request};
use synod_model::{
    ConfigurationId, Input, Limits, Message, Order, Prefix, PrefixHash, ReplicaId, Reply,
    SequenceNumber, Slot,
};

/// A frame has one entry.
fn limits() -> Limits {
    Limits { frame_entries_max: 1, ..Limits::default() }
}

/// What the last step sent of what is committed: the first slot of each message.
fn served(it: &Subject) -> Vec<u64> {
    let served = it.sent().filter_map(|message| match message {
        Message::Committed { first, .. } => Some(first.0),
        _ => None,
    });
    served.collect()
}

/// The slots that the last step asked for.
fn asked(it: &Subject) -> Vec<(u64, u64)> {
    let asked = it.sent().filter_map(|message| match message {
        Message::Ask { from, through, .. } => Some((from.0, through.0)),
        _ => None,
    });
    asked.collect()
}

fn ask(it: &mut Subject, from: u64, through: u64) {
    let (from, through) = (Slot(from), Slot(through));
    it.receive(OTHERS[0], Message::Ask { from, through, prefix: Prefix::default() });
}

fn left(it: &mut Subject) {
    it.step(Input::Served { peer: OTHERS[0] });
}

/// A log with a request of one byte in each slot, up to this one.
fn prefix_of_requests(through: u64) -> Prefix {
    let after = |hash: PrefixHash, number| hash.after(&request(number, 1));
    let hash = (1..=through).fold(PrefixHash::default(), after);
    // No log here is as long as the distance between two checkpoints.
    Prefix { through: Slot(through), hash, checkpoint: PrefixHash::default() }
}

/// The coordinator says that everything up to this slot is committed.
fn round(it: &mut Subject, watermark: u64) {
    let order: Order<V> = Order::Commit { prefix: prefix_of_requests(watermark) };
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(4));
    it.receive(OTHERS[0], Message::Order { configuration, s, order });
}

/// A portion of one slot comes from `peer`, which has committed everything up to `watermark`.
fn portion(it: &mut Subject, peer: ReplicaId, slot: u64, watermark: u64) {
    let (log_starts_at, first, watermark) = (Slot(1), Slot(slot), Slot(watermark));
    let entries = vec![request(slot, 1)];
    let before = prefix_of_requests(slot - 1).hash;
    it.receive(peer, Message::Committed { log_starts_at, first, before, entries, watermark });
}

#[test]
fn the_next_portion_leaves_when_the_last_one_has_left() {
    let mut it = Subject::coordinator(limits());
    it.commit((1..=4).map(|number| request(number, 1)));
    ask(&mut it, 1, 2);
    assert_eq!(served(&it), [1]);
    // More is asked for meanwhile. It waits in its turn.
    ask(&mut it, 3, 4);
    assert!(served(&it).is_empty());
    for slot in 2..=4 {
        left(&mut it);
        assert_eq!(served(&it), [slot]);
    }
    // The last portion is leaving still.
    it.commit([request(5, 1)]);
    ask(&mut it, 5, 5);
    assert!(served(&it).is_empty());
    left(&mut it);
    assert_eq!(served(&it), [5]);
    left(&mut it);
    assert!(served(&it).is_empty());
}

/// The record that the coordinator waits for is overtaken by that of the committed slots. If they have another
/// entry, the coordinator has been overtaken itself.
#[test]
fn what_was_to_be_acknowledged_is_acknowledged_when_what_came_is_durable() {
    for (committed, acknowledged) in [(1, 1), (9, 0)] {
        let mut it = Subject::follower(limits());
        it.accept(1, [request(1, 1)]);
        let accepted = it.status().written;
        it.committed(1, [request(committed, 1)]);
        let acknowledges = |it: &Subject| {
            let is_one = |it: &&Message<V>| {
                matches!(it, Message::Reply { reply: Reply::Acknowledge { .. }, .. })
            };
            it.sent().filter(is_one).count()
        };
        it.step(Input::Synced { through: accepted });
        assert_eq!(acknowledges(&it), 0, "not durable as committed");
        it.sync();
        assert_eq!(acknowledges(&it), acknowledged);
    }
}

#[test]
fn what_was_being_served_ends_when_it_is_lost() {
    let mut it = Subject::coordinator(limits());
    it.commit((1..=4).map(|number| request(number, 1)));
    ask(&mut it, 1, 4);
    it.step(Input::NotServed { peer: OTHERS[0] });
    left(&mut it);
    assert!(served(&it).is_empty());
    ask(&mut it, 1, 4);
    assert_eq!(served(&it), [1]);
}

/// It may hold what lies between. To begin anew would lose what it was promised before.
#[test]
fn an_ask_that_leaves_out_some_slots_loses_none() {
    let mut it = Subject::coordinator(limits());
    it.commit((1..=5).map(|number| request(number, 1)));
    ask(&mut it, 1, 2);
    ask(&mut it, 5, 5);
    for slot in 2..=5 {
        left(&mut it);
        assert_eq!(served(&it), [slot]);
    }
}

/// A replica that was away for a change hears orders of a configuration that it does not know. It answers each with
/// how far it is. If that began what it is being served again, it would get nothing while there is load.
#[test]
fn what_is_being_served_is_not_begun_again() {
    let mut it = Subject::coordinator(limits());
    it.commit((1..=3).map(|number| request(number, 1)));
    ask(&mut it, 1, 3);
    left(&mut it);
    assert_eq!(served(&it), [2]);
    it.commit([request(4, 1)]);
    it.receive(OTHERS[0], Message::CommittedThrough { prefix: Prefix::default() });
    assert!(served(&it).is_empty(), "the rest is on its way");
    for slot in [3, 4] {
        left(&mut it);
        assert_eq!(served(&it), [slot], "and what is committed since");
    }
}

/// Its peer dials anew, and knows of that first. So it may have asked already.
#[test]
fn a_new_connection_from_a_peer_does_not_end_what_it_asks_for() {
    let mut it = Subject::coordinator(limits());
    it.commit((1..=4).map(|number| request(number, 1)));
    ask(&mut it, 1, 4);
    it.step(Input::Reconnected { peer: OTHERS[0] });
    left(&mut it);
    assert_eq!(served(&it), [2]);
}

#[test]
fn nothing_is_asked_for_twice_unless_it_is_lost() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 4);
    assert_eq!(asked(&it), [(1, 4)]);
    round(&mut it, 4);
    assert!(asked(&it).is_empty());
    it.committed(1, [request(1, 1)]);
    assert!(asked(&it).is_empty());
    // Slot 2 is missing before slot 3. The next order makes it ask anew.
    it.committed(3, [request(3, 1)]);
    round(&mut it, 4);
    assert_eq!(asked(&it), [(2, 4)]);
}

/// The safety net doubts only what has not come for a whole turn.
#[test]
fn a_resend_does_not_ask_again_while_portions_come() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 4);
    assert_eq!(asked(&it), [(1, 4)]);
    portion(&mut it, OTHERS[0], 1, 4);
    it.step(Input::Resend);
    round(&mut it, 4);
    assert!(asked(&it).is_empty(), "slot 1 has come since");
    it.step(Input::Resend);
    round(&mut it, 4);
    assert_eq!(asked(&it), [(2, 4)], "nothing has come since");
}

/// Under load most of what is committed meanwhile came as an accept.
#[test]
fn what_is_held_already_is_not_asked_for() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 3);
    assert_eq!(asked(&it), [(1, 3)]);
    for slot in 5..=7 {
        it.accept(slot, [request(slot, 1)]);
    }
    portion(&mut it, OTHERS[0], 1, 7);
    assert_eq!(asked(&it), [(4, 4)]);
    for slot in 2..=4 {
        portion(&mut it, OTHERS[0], slot, 7);
        assert!(asked(&it).is_empty());
    }
    round(&mut it, 7);
    assert_eq!(it.status().watermark, Slot(7));
}

/// Accepts come in order. A commit overtakes them, because it does not wait behind entries.
#[test]
fn what_follows_on_an_accept_is_not_asked_for() {
    let mut it = Subject::follower(limits());
    it.accept(1, [request(1, 1)]);
    round(&mut it, 7);
    assert!(asked(&it).is_empty(), "all of it may be on its way");
    it.accept(5, [request(5, 1)]);
    assert_eq!(asked(&it), [(2, 4)], "these are lost, and 6 and 7 come behind");
}

/// It would only be served more of what it cannot take.
#[test]
fn a_gap_ends_what_is_being_served() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 4);
    assert_eq!(asked(&it), [(1, 4)]);
    portion(&mut it, OTHERS[0], 2, 4);
    assert_eq!(asked(&it), [(1, 0)], "nothing");
    round(&mut it, 4);
    assert_eq!(asked(&it), [(1, 4)]);
}

#[test]
fn what_was_committed_meanwhile_is_asked_for_too() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 2);
    assert_eq!(asked(&it), [(1, 2)]);
    portion(&mut it, OTHERS[0], 1, 4);
    assert_eq!(asked(&it), [(3, 4)], "slot 2 is on its way");
    portion(&mut it, OTHERS[0], 2, 4);
    assert!(asked(&it).is_empty());
}

#[test]
fn another_peer_is_not_asked_for_what_is_on_its_way() {
    let mut it = Subject::follower(limits());
    it.step(Input::Reconnected { peer: OTHERS[0] });
    round(&mut it, 4);
    assert_eq!(asked(&it), [(1, 4)]);
    portion(&mut it, OTHERS[1], 1, 9);
    assert!(asked(&it).is_empty());
}

/// Two values are more than may be unsynced.
fn small_disk() -> Limits {
    Limits { value_bytes_max: 8, unsynced_bytes_max: 41, ..limits() }
}

#[test]
fn what_a_stalled_disk_has_no_room_for_is_asked_for_when_it_has() {
    let mut it = Subject::follower(small_disk());
    it.accept(1, [request(1, 8)]);
    it.accept(2, [request(2, 8)]);
    // There is no room for this one, so it will have to ask.
    it.accept(3, [request(3, 8)]);
    round(&mut it, 4);
    assert_eq!(asked(&it), []);
    it.sync();
    assert_eq!(asked(&it), [(3, 4)]);
    round(&mut it, 4);
    assert_eq!(asked(&it), []);
}

#[test]
fn a_stalled_disk_ends_what_is_being_served() {
    let mut it = Subject::follower(small_disk());
    round(&mut it, 5);
    assert_eq!(asked(&it), [(1, 5)]);
    let portion = |it: &mut Subject, slot| {
        it.committed(slot, [request(slot, 8)]);
    };
    portion(&mut it, 1);
    portion(&mut it, 2);
    assert_eq!(asked(&it), []);
    // There is no room for the third. It says so, and says it once.
    portion(&mut it, 3);
    assert_eq!(asked(&it), [(3, 2)]);
    portion(&mut it, 4);
    assert_eq!(asked(&it), []);
    it.sync();
    assert_eq!(asked(&it), [(3, 5)]);
    // The peer serves no more then.
    let mut it = Subject::coordinator(limits());
    it.commit((1..=4).map(|number| request(number, 1)));
    ask(&mut it, 1, 4);
    ask(&mut it, 3, 2);
    left(&mut it);
    assert!(served(&it).is_empty());
}
