//! What a replica may hold and send. Everything has a limit; each is named here, with its default
//! and its reason.
//!
//! Some limits would contradict each other: one lets in what another never lets out.
//! [`Limits::contradiction`] states every such relation, and no cluster is made whose limits break
//! one. The rest of the core relies on that.
//!
//! Frames and resends need no relation to the length of a value. They take one entry at any length.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::ENTRY_BYTES;

/// The limits of a cluster. They are constants of the cluster: a replica with a lower limit could
/// refuse for ever what another one keeps sending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// How many slots above its watermark a coordinator opens: the depth of the pipeline. What an election
    /// must finish further up waits until the watermark moves. Also how many entries a portion has at
    /// most. At most `accepted_slots_max`. Default 2,048: with values of 1 kB, twice what fills a link of
    /// 10 MB/s with a round trip of 100 ms; and little is left to finish after a failure.
    pub open_slots_max: u64,
    /// How far above its watermark an acceptor accepts anything, and so how much a promise can report.
    /// The tail of committed entries in memory is this long as well, so that a late accept for a
    /// committed slot can be compared with it. Default 4,096: a few windows.
    pub accepted_slots_max: u64,
    /// How many bytes of values an acceptor holds above its watermark, and how many the tail holds
    /// below it. What is not durable yet stays in the tail in any case. At least one value. Default
    /// 64 MiB.
    pub accepted_bytes_max: u64,
    /// How many entries one message or record carries; also how many reads one message names, and how
    /// many ranges one acknowledgement. Default 512.
    pub frame_entries_max: u64,
    /// How many bytes of values one message or record carries, unless a single entry has more.
    /// Default 128 KiB: long enough to be worth a system call. Nothing in a message is acknowledged before
    /// the whole of it has arrived, and this much takes 13 ms of a link of 10 MB/s.
    pub frame_bytes_max: u64,
    /// How many bytes one value may have. Default 1 MiB.
    pub value_bytes_max: u64,
    /// How many bytes of entries a portion has; one entry in any case. A portion is what one resend sends
    /// to one peer, or what one step opens of what an election must finish, or takes up of what clients
    /// wait for. Default 1 MiB, so that two resends fit in a peer's queue.
    pub resend_bytes_max: u64,
    /// How many submissions of its own clients a replica keeps until they are delivered; more are
    /// refused. Default 65,536.
    pub submissions_max: u64,
    /// How many bytes of values those submissions have. At least one value. Default 64 MiB.
    pub submissions_bytes_max: u64,
    /// How many submissions wait at a coordinator for the window; more are not taken, and their origins
    /// repeat them when there is room. Default 65,536.
    pub queued_submissions_max: u64,
    /// How many bytes of values those submissions have. At least one value. Default 64 MiB.
    pub queued_bytes_max: u64,
    /// How many requests of one session are remembered, and so may be in flight at once. Default
    /// 1,024.
    pub session_requests_max: u64,
    /// How many sessions there are. One more evicts the ended session that was quiet for longest; if
    /// none has ended, the open session that was quiet for longest. Default 65,536.
    pub sessions_max: u64,
    /// How many reads a replica keeps until they are answered, and how many a coordinator keeps for
    /// all; more are refused, or not taken and repeated. Default 65,536.
    pub reads_max: u64,
    /// How many bytes of values may be written and not yet synced before a coordinator opens no more
    /// slots, and a follower takes no more. A replica with a stalled disk could otherwise go on in
    /// memory for ever while the others commit. At least one value. Default 64 MiB.
    pub unsynced_bytes_max: u64,
}

impl Limits {
    /// Every limit with its name, in the order of the fields: for all who hash, print or check them.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 15] {
        // Taken apart, so that a limit that is added is not left out.
        let Self {
            open_slots_max,
            accepted_slots_max,
            accepted_bytes_max,
            frame_entries_max,
            frame_bytes_max,
            value_bytes_max,
            resend_bytes_max,
            submissions_max,
            submissions_bytes_max,
            queued_submissions_max,
            queued_bytes_max,
            session_requests_max,
            sessions_max,
            reads_max,
            unsynced_bytes_max,
        } = *self;
        [
            ("open_slots_max", open_slots_max),
            ("accepted_slots_max", accepted_slots_max),
            ("accepted_bytes_max", accepted_bytes_max),
            ("frame_entries_max", frame_entries_max),
            ("frame_bytes_max", frame_bytes_max),
            ("value_bytes_max", value_bytes_max),
            ("resend_bytes_max", resend_bytes_max),
            ("submissions_max", submissions_max),
            ("submissions_bytes_max", submissions_bytes_max),
            ("queued_submissions_max", queued_submissions_max),
            ("queued_bytes_max", queued_bytes_max),
            ("session_requests_max", session_requests_max),
            ("sessions_max", sessions_max),
            ("reads_max", reads_max),
            ("unsynced_bytes_max", unsynced_bytes_max),
        ]
    }

    /// The name of a limit that lets nothing through, if there is one. A cluster with it would stand
    /// still.
    pub(crate) fn find_zero(&self) -> Option<&'static str> {
        self.named().into_iter().find(|(_, limit)| *limit == 0).map(|(name, _)| name)
    }

    /// Two limits that contradict each other, if there are any. This is the only place that knows how
    /// limits relate.
    #[must_use]
    pub fn contradiction(&self) -> Option<LimitContradiction> {
        let open = ("open_slots_max", self.open_slots_max);
        let value = ("value_bytes_max", self.value_bytes_max);
        let accepted = ("accepted_slots_max", self.accepted_slots_max);
        // An acceptor reports what lies further ahead, and no candidate takes such a promise.
        let window =
            (accepted, open, 0, "a coordinator must not open what no other replica accepts");
        let of_bytes = [
            (
                ("submissions_bytes_max", self.submissions_bytes_max),
                "the longest value would be refused for ever as one too many",
            ),
            (
                ("queued_bytes_max", self.queued_bytes_max),
                "the longest value would be kept and never proposed",
            ),
            (
                ("accepted_bytes_max", self.accepted_bytes_max),
                "the longest value would exceed what an acceptor holds",
            ),
            (
                ("unsynced_bytes_max", self.unsynced_bytes_max),
                "the longest value would make every disk count as stalled",
            ),
        ];
        let of_bytes = of_bytes.map(|(limit, reason)| (limit, value, ENTRY_BYTES, reason));
        core::iter::once(window).chain(of_bytes).find_map(|(limit, bound, more, reason)| {
            let least = bound.1.saturating_add(more);
            (limit.1 < least).then_some(LimitContradiction { limit, least, bound, reason })
        })
    }
}

/// A limit that is too small beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitContradiction {
    /// The limit that is too small, by name, and what it is.
    pub limit: (&'static str, u64),
    /// The least that it may be.
    pub least: u64,
    /// The other limit, by name, and what it is.
    pub bound: (&'static str, u64),
    /// What would happen.
    pub reason: &'static str,
}

impl fmt::Display for LimitContradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit: (limit, is), least, bound: (bound, other), reason } = self;
        write!(f, "{limit} = {is} is too small for {bound} = {other}: {reason}; ")?;
        write!(f, "raise {limit} to at least {least}, or lower {bound}")
    }
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            open_slots_max: 2048,
            accepted_slots_max: 4096,
            accepted_bytes_max: 64 * MIB,
            frame_entries_max: 512,
            frame_bytes_max: MIB / 8,
            value_bytes_max: MIB,
            resend_bytes_max: MIB,
            submissions_max: 65_536,
            submissions_bytes_max: 64 * MIB,
            queued_submissions_max: 65_536,
            queued_bytes_max: 64 * MIB,
            session_requests_max: 1024,
            sessions_max: 65_536,
            reads_max: 65_536,
            unsynced_bytes_max: 64 * MIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    type Field = fn(&mut Limits) -> &mut u64;

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(Limits::default().contradiction(), None);
    }

    /// Each relation at its edge: the least that is allowed, and one less.
    #[test]
    fn a_limit_may_be_as_small_as_another_one_allows() {
        let least = Limits {
            open_slots_max: 5,
            accepted_slots_max: 5,
            value_bytes_max: 100,
            accepted_bytes_max: 132,
            submissions_bytes_max: 132,
            queued_bytes_max: 132,
            unsynced_bytes_max: 132,
            // Neither has to hold a value.
            frame_bytes_max: 1,
            resend_bytes_max: 1,
            ..Limits::default()
        };
        assert_eq!(least.contradiction(), None);
        let too_small: [(_, Field); 5] = [
            ("accepted_slots_max", |it| &mut it.accepted_slots_max),
            ("submissions_bytes_max", |it| &mut it.submissions_bytes_max),
            ("queued_bytes_max", |it| &mut it.queued_bytes_max),
            ("accepted_bytes_max", |it| &mut it.accepted_bytes_max),
            ("unsynced_bytes_max", |it| &mut it.unsynced_bytes_max),
        ];
        for (name, field) in too_small {
            let mut limits = least.clone();
            *field(&mut limits) -= 1;
            let found = limits.contradiction().expect("a contradiction");
            assert_eq!((found.limit.0, found.limit.1), (name, found.least - 1));
        }
    }

    #[test]
    fn the_error_names_both_limits_and_what_they_may_be() {
        let limits = Limits { open_slots_max: 8, accepted_slots_max: 2, ..Limits::default() };
        assert_eq!(
            limits.contradiction().expect("a contradiction").to_string(),
            "accepted_slots_max = 2 is too small for open_slots_max = 8: a coordinator must not open \
             what no other replica accepts; raise accepted_slots_max to at least 8, or lower \
             open_slots_max"
        );
    }
}
