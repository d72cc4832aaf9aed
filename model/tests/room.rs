//! What a follower says of the room that it has, and what the coordinator makes of that. Each test is a
//! way in which both waited for each other, until a resend.

mod replica;

use replica::{OTHERS, Subject, V, request};
use synod_model::{
    ConfigurationId, Input, Limits, Message, Order, Prefix, Reply, RoundNumber, SequenceNumber,
    Slot, SlotRange, To,
};

/// An acceptor has room for so many slots, and for the bytes of three requests.
fn limits(accepted_slots_max: u64) -> Limits {
    Limits {
        open_slots_max: 2,
        accepted_slots_max,
        accepted_bytes_max: 3 * 33,
        value_bytes_max: 1,
        ..Limits::default()
    }
}

/// An accept under `s`, with the watermark 0.
fn accept(it: &mut Subject, s: u64, slots: std::ops::RangeInclusive<u64>) {
    let first = Slot(*slots.start());
    let entries = slots.map(|slot| request(slot, 1)).collect();
    let order: Order<V> = Order::Accept { first, entries, prefix: Prefix::default() };
    let (configuration, s) = (ConfigurationId(1), SequenceNumber(s));
    it.receive(OTHERS[0], Message::Order { configuration, s, order });
}

/// The slots that the last step asks somebody to accept.
fn pushed(it: &Subject) -> Vec<u64> {
    let accepts = it.sent().filter_map(|message| match message {
        Message::Order { order: Order::Accept { first, entries, .. }, .. } => {
            Some(first.0..first.0 + entries.len() as u64)
        }
        _ => None,
    });
    accepts.flatten().collect()
}

/// The coordinator may have opened more since it was told the same.
#[test]
fn a_refused_accept_is_answered_each_time() {
    let mut it = Subject::follower(limits(2));
    for slot in [3, 4] {
        it.accept(slot, [request(slot, 1)]);
        assert_eq!(it.told_room(), [Slot(2)]);
    }
}

#[test]
fn there_is_room_only_up_to_what_is_held_under_the_promised_number() {
    let mut it = Subject::follower(limits(8));
    it.accept(2, (2..=4).map(|slot| request(slot, 1)));
    accept(&mut it, 7, 1..=4);
    assert_eq!(it.told_room(), [Slot(1)]);
}

/// The coordinator may need this replica to commit anything.
#[test]
fn room_for_the_next_slot_is_told_however_little_it_is() {
    let mut it = Subject::follower(limits(8));
    it.accept(3, (3..=5).map(|slot| request(slot, 1)));
    accept(&mut it, 7, 1..=5);
    assert_eq!(it.told_room(), [Slot(1)]);
    it.committed(1, [request(1, 1)]);
    assert_eq!(it.told_room(), [Slot(2)]);
}

/// The first of the others has room up to slot 1, and then takes that slot. Meanwhile slot 2 is committed
/// without it. It did not ask for slot 2, because it has all room again.
#[test]
fn what_is_committed_while_it_is_held_back_is_served_later() {
    let mut it = Subject::coordinator(limits(8));
    it.submit([request(1, 1), request(2, 1)]);
    it.reply(OTHERS[0], Reply::Room { through: Slot(1) });
    it.sync();
    let ranges = vec![SlotRange { first: Slot(1), last: Slot(2) }];
    it.reply(OTHERS[1], Reply::Acknowledge { ranges, prefix: Prefix::default() });
    assert_eq!(it.status().watermark, Slot(2));
    it.step(Input::Heartbeat);
    assert!(it.served_from_memory().is_empty());
    it.reply(OTHERS[0], Reply::Room { through: Slot::MAX });
    assert!(pushed(&it).is_empty());
    assert_eq!(it.served_from_memory(), [1]);
}

/// What it asks for meanwhile is not served a second time.
#[test]
fn what_is_asked_for_is_not_held_back_any_more() {
    let mut it = Subject::coordinator(limits(8));
    it.submit([request(1, 1), request(2, 1)]);
    it.reply(OTHERS[0], Reply::Room { through: Slot(1) });
    it.sync();
    let ranges = vec![SlotRange { first: Slot(1), last: Slot(2) }];
    it.reply(OTHERS[1], Reply::Acknowledge { ranges, prefix: Prefix::default() });
    it.ask(1);
    assert_eq!(it.served_from_memory(), [2]);
    it.reply(OTHERS[0], Reply::Room { through: Slot::MAX });
    assert!(it.served_from_memory().is_empty());
    // What is opened next goes to all.
    it.submit([request(3, 1)]);
    assert_eq!(pushed(&it), [3]);
}

/// After a restart it may be far behind. What it has no room for would be dropped there.
#[test]
fn after_a_new_connection_a_round_tells_how_much_may_be_pushed() {
    let mut it = Subject::coordinator(limits(2));
    it.commit([request(1, 1), request(2, 1)]);
    it.submit([request(3, 1), request(4, 1)]);
    it.step(Input::Reconnected { peer: OTHERS[1] });
    assert!(pushed(&it).is_empty());
    it.step(Input::Heartbeat);
    assert!(pushed(&it).is_empty());
    let obeyed = |it: &mut Subject, watermark| {
        let (number, last) = (RoundNumber(1), Slot::ZERO);
        let prefix = Prefix { through: Slot(watermark), ..it.status().prefix };
        // Of less than all, the hash is not known here.
        let prefix = if watermark == 2 { prefix } else { Prefix::default() };
        it.reply(OTHERS[1], Reply::Obey { number, last, prefix });
    };
    obeyed(&mut it, 0);
    assert!(pushed(&it).is_empty(), "it has room up to slot 2");
    // A resend changes nothing of that.
    it.step(Input::Resend);
    let to_it = |it: &Subject| {
        let accepts = it.out.messages.iter().filter(|message| message.to == To::One(OTHERS[1]));
        accepts
            .filter(|it| matches!(it.message, Message::Order { order: Order::Accept { .. }, .. }))
            .count()
    };
    assert_eq!(to_it(&it), 0);
    obeyed(&mut it, 2);
    assert_eq!(pushed(&it), [3, 4]);
    it.reply(
        OTHERS[0],
        Reply::Acknowledge {
            ranges: vec![SlotRange { first: Slot(3), last: Slot(4) }],
            prefix: it.status().prefix,
        },
    );
    it.sync();
    // What is opened next goes to all.
    it.submit([request(5, 1)]);
    assert!(it.out.messages.iter().any(|message| message.to == To::Others));
}

/// It may be short of bytes, or its disk may be stalled. Its answers to rounds know nothing of that.
#[test]
fn what_a_follower_tells_of_its_room_counts_more_than_its_answers_to_rounds() {
    let mut it = Subject::coordinator(limits(8));
    it.submit([request(1, 1), request(2, 1)]);
    it.step(Input::Reconnected { peer: OTHERS[1] });
    it.reply(OTHERS[1], Reply::Room { through: Slot::ZERO });
    let (number, prefix) = (RoundNumber(1), Prefix::default());
    it.reply(OTHERS[1], Reply::Obey { number, last: Slot::ZERO, prefix });
    assert!(pushed(&it).is_empty());
    it.reply(OTHERS[1], Reply::Room { through: Slot::MAX });
    assert_eq!(pushed(&it), [1, 2]);
}

/// At the edge of its room, it would get some of what is opened, and have to ask for the rest.
#[test]
fn nothing_is_pushed_until_there_is_room_to_spare() {
    for (watermark, expected) in [(5, [].as_slice()), (4, &[5])] {
        let mut it = Subject::coordinator(limits(8));
        it.commit((1..=watermark).map(|number| request(number, 1)));
        it.submit([request(watermark + 1, 1)]);
        it.step(Input::Reconnected { peer: OTHERS[1] });
        let (number, prefix) = (RoundNumber(1), Prefix::default());
        it.reply(OTHERS[1], Reply::Obey { number, last: Slot::ZERO, prefix });
        assert_eq!(pushed(&it), expected, "it has room up to slot 8, and 3 are to be spare");
    }
}

/// Nothing tells it that these slots were opened. It has not said how much room it has, so it does not ask.
#[test]
fn what_is_committed_before_it_may_be_pushed_is_served() {
    let mut it = Subject::coordinator(limits(2));
    it.commit([request(1, 1), request(2, 1)]);
    it.submit([request(3, 1), request(4, 1)]);
    it.step(Input::Reconnected { peer: OTHERS[1] });
    let (number, prefix) = (RoundNumber(1), Prefix::default());
    it.reply(OTHERS[1], Reply::Obey { number, last: Slot::ZERO, prefix });
    assert!(pushed(&it).is_empty(), "it has room up to slot 2");
    it.acknowledge_open();
    assert_eq!(it.status().watermark, Slot(4));
    it.step(Input::Heartbeat);
    assert_eq!(it.served_from_memory(), [2]);
}

/// It has it as committed, by catch-up, and its record is not durable yet when it is offered.
#[test]
fn what_is_committed_is_acknowledged_when_it_is_durable() {
    let mut it = Subject::follower(limits(8));
    it.committed(1, [request(1, 1)]);
    it.accept(1, [request(1, 1)]);
    let acknowledged = |it: &Subject| {
        it.sent().any(|message| {
            matches!(message, Message::Reply { reply: Reply::Acknowledge { ranges, .. }, s, .. }
                if s.0 == 4 && ranges[..] == [SlotRange { first: Slot(1), last: Slot(1) }])
        })
    };
    assert!(!acknowledged(&it));
    it.sync();
    assert!(acknowledged(&it));
}
