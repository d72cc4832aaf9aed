//! What a replica may hold and send. Everything has a limit; each is named here, with its default
//! and its reason.

use serde::{Deserialize, Serialize};

/// The limits of a cluster. They are constants of the cluster: a replica with a lower limit could
/// refuse for ever what another one keeps sending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// How many slots above its watermark a coordinator opens for submissions: the depth of the
    /// pipeline. Slots that an election must finish do not count. Default 1,024: enough to keep a
    /// disk and a link busy with batches, and little to finish after a failure.
    pub open_slots_max: u64,
    /// How far above its watermark an acceptor accepts anything, and so how much a promise can report.
    /// The tail of committed entries in memory is this long as well, so that a late accept for a
    /// committed slot can be compared with it. Default 4,096: a few windows.
    pub accepted_slots_max: u64,
    /// How many bytes of values an acceptor holds above its watermark, and how many the tail holds
    /// below it. What is not durable yet stays in the tail in any case. Default 64 MiB.
    pub accepted_bytes_max: u64,
    /// How many entries one message or record carries. Default 512.
    pub frame_entries_max: u64,
    /// How many bytes of values one message or record carries, unless a single entry has more.
    /// Default 1 MiB: long enough to be worth a system call, short enough not to hold up what waits
    /// behind it.
    pub frame_bytes_max: u64,
    /// How many bytes one value may have. Default 1 MiB.
    pub value_bytes_max: u64,
    /// How many bytes of entries one resend sends to one peer; one entry is always sent. Default
    /// 1 MiB, so that two resends fit in a peer's queue.
    pub resend_bytes_max: u64,
    /// How many submissions of its own clients a replica keeps until they are delivered; more are
    /// refused. Default 65,536.
    pub submissions_max: u64,
    /// How many bytes of values those submissions have. Default 64 MiB.
    pub submissions_bytes_max: u64,
    /// How many submissions wait at a coordinator for the window; more are dropped, and their
    /// origins repeat them. Default 65,536.
    pub queued_submissions_max: u64,
    /// How many bytes of values those submissions have. Default 64 MiB.
    pub queued_bytes_max: u64,
    /// How many requests of one session are remembered, and so may be in flight at once. Default
    /// 1,024.
    pub session_requests_max: u64,
    /// How many sessions there are. One more evicts the ended session that was quiet for longest; if
    /// none has ended, the open session that was quiet for longest. Default 65,536.
    pub sessions_max: u64,
    /// How many reads a replica keeps until they are answered, and how many a coordinator keeps for
    /// all; more are refused or dropped. Default 65,536.
    pub reads_max: u64,
    /// How many bytes of values may be written and not yet synced before a coordinator opens no more
    /// slots, and a follower takes no more. A replica with a stalled disk could otherwise go on in
    /// memory for ever while the others commit. Default 64 MiB.
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
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            open_slots_max: 1024,
            accepted_slots_max: 4096,
            accepted_bytes_max: 64 * MIB,
            frame_entries_max: 512,
            frame_bytes_max: MIB,
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
