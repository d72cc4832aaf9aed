//! The largest message that a core can send under its limits, of each kind that has a list.

use synod_model::{
    ADDRESS_BYTES_MAX, Accepted, Change, Configuration, ConfigurationId, Entry, Incarnation,
    Limits, Message, Opening, Order, Prefix, PrefixHash, Promise, ReadId, Registration, ReplicaId,
    Reply, Request, Run, SequenceNumber, SessionId, Slot, SlotRange,
};
use synod_wire::Value;

const MOST: u64 = u64::MAX;

fn request(value_bytes: u64) -> Entry<Value> {
    let value = vec![7; usize::try_from(value_bytes).expect("small")];
    Entry::Request(Request {
        session: SessionId(MOST),
        number: MOST,
        answered: MOST,
        value: value.into(),
    })
}

fn lists(limits: &Limits) -> Vec<Vec<Entry<Value>>> {
    let members = (0..16).map(|it| ReplicaId(u16::MAX - it)).collect();
    let learners = (1..16).map(|it| ReplicaId(u16::MAX - it)).collect();
    let id = ConfigurationId(MOST);
    let configuration = Configuration::from_parts(id, members, learners, 1 << 16);
    let registration = |_| Registration {
        incarnation: Incarnation(u128::MAX),
        address: "x".repeat(ADDRESS_BYTES_MAX),
    };
    let configuration = configuration.expect("they differ");
    let change = |registration: &dyn Fn(ReplicaId) -> Registration| {
        let configuration = configuration.clone().with_all_registered(registration);
        let configuration = configuration.expect("as long as an address may be");
        let (session, number, answered) = (SessionId(MOST), MOST, MOST);
        Entry::Change(Change { session, number, answered, configuration })
    };
    let short = |member| Registration { address: String::new(), ..registration(member) };
    let open = Entry::Open(Opening { origin: ReplicaId(u16::MAX), run: Run(MOST), count: MOST });
    let count = usize::try_from(limits.frame_entries_max).expect("small");
    // As many bytes as a frame may carry, with the fewest bytes that count. The core counts more.
    let mut many = vec![request(0); count - 1];
    many.push(request(limits.frame_bytes_max));
    vec![
        vec![request(limits.value_bytes_max)],
        many,
        vec![open; count],
        // The addresses count, and these are more than a frame of this cluster may carry.
        vec![change(&registration)],
        vec![change(&short); count],
    ]
}

pub(super) fn messages(limits: &Limits) -> Vec<Message<Value>> {
    let (slot, s, configuration) = (Slot(MOST), SequenceNumber(MOST), ConfigurationId(MOST));
    let hash = PrefixHash(u64::MAX);
    let prefix = Prefix { through: slot, hash, checkpoint: hash };
    let mut messages = Vec::new();
    for entries in lists(limits) {
        let accept = Order::Accept { first: slot, entries: entries.clone(), prefix };
        messages.push(Message::Order { configuration, s, order: accept });
        let accepted = entries.iter().cloned().map(|entry| Accepted { slot, s, entry }).collect();
        let promise = Promise { prefix, last: slot, after: slot, through: slot, accepted };
        messages.push(Message::Reply { configuration, s, reply: Reply::Promise(promise) });
        messages.push(Message::Submit { submissions: entries.clone() });
        messages.push(Message::Committed {
            log_starts_at: slot,
            first: slot,
            before: prefix.hash,
            entries,
            watermark: slot,
        });
    }
    // Every other slot.
    let count = limits.frame_entries_max;
    let range = |it| SlotRange { first: Slot(MOST - 2 * it), last: Slot(MOST - 2 * it) };
    let ranges = (0..count).map(range).collect();
    messages.push(Message::Reply {
        configuration,
        s,
        reply: Reply::Acknowledge { ranges, prefix },
    });
    let count = usize::try_from(limits.frame_entries_max).expect("small");
    let (run, ids) = (Run(MOST), vec![ReadId(MOST); count]);
    messages.push(Message::Read { run, ids: ids.clone() });
    messages.push(Message::ReadAt { run, ids, slot });
    messages
}
