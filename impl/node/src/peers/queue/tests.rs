//! What a queue keeps, what it tells, and when it gives up.

use std::collections::VecDeque;
use std::io::IoSlice;

use proptest::collection::vec;
use proptest::prelude::*;
use synod_model::ReplicaId;
use synod_wire::testing::check;

use super::*;
use crate::peers::events::PeerEvent;

const PEER: ReplicaId = ReplicaId(1);

fn frame(bytes: usize) -> Bytes {
    vec![7; bytes].into()
}

fn message(traffic: Traffic, bytes: usize) -> Encoded {
    Encoded { traffic, first: frame(bytes), rest: Vec::new() }
}

fn bulk(bytes: usize) -> Encoded {
    message(Traffic::Bulk, bytes)
}

fn load(frames: usize, bytes: usize) -> QueueLoad {
    QueueLoad { frames, bytes }
}

struct Fixture {
    queue: FrameQueue,
    news: Arc<News>,
    now: Instant,
}

impl Fixture {
    fn new(bytes_max: usize) -> Self {
        let news = Arc::new(News::default());
        let queue = FrameQueue::new(QueueLimits {
            bytes_max,
            catch_up_bytes_max: bytes_max,
            age_max: None,
            tells: Some(Arc::clone(&news)),
        });
        let now = Instant::now();
        queue.open(&news, now);
        let fixture = Self { queue, news, now };
        assert_eq!(fixture.told(), [PeerEvent::CatchUpLost(PEER), PeerEvent::Reconnected(PEER)]);
        fixture
    }

    fn told(&self) -> Vec<PeerEvent> {
        std::iter::from_fn(|| self.news.take(PEER, self.now)).collect()
    }

    fn push(&self, message: &Encoded) {
        self.queue.push(message, self.now);
    }

    /// Writes so many bytes of `taken`.
    fn write(&self, taken: &mut TakenFrames, bytes: usize) {
        let written = taken.advance(bytes);
        self.queue.written(written, taken, self.now);
    }

    fn overflow(&self) -> Option<Overflow> {
        self.queue.state().overflow
    }
}

/// Its receiver repeats what may be lost, and would do so seconds later on a slow link.
#[test]
fn the_frame_that_opens_a_connection_overtakes_what_waits() {
    let it = Fixture::new(1_000);
    it.push(&bulk(100));
    it.queue.push_open(&frame(3), it.now);
    let mut taken = it.queue.try_take().expect("both");
    assert_eq!(
        taken.slices(&mut [IoSlice::new(&[]); 2]).iter().map(|it| it.len()).collect::<Vec<_>>(),
        [3, 100]
    );
    it.write(&mut taken, 103);
    assert_eq!(it.queue.load().0, load(0, 0));
}

#[test]
fn without_a_connection_nothing_is_kept() {
    let it = Fixture::new(1_000);
    it.push(&bulk(10));
    drop(it.queue.try_take());
    it.push(&bulk(20));
    it.queue.close();
    assert_eq!((it.queue.load(), it.queue.is_open()), ((load(0, 0), 2), false));
    it.push(&bulk(25));
    assert_eq!(it.queue.load(), (load(0, 0), 3));
    it.queue.open(&it.news, it.now);
    it.push(&bulk(30));
    let taken = it.queue.try_take().expect("a frame");
    assert_eq!(taken.slices(&mut [IoSlice::new(&[]); 3])[0].len(), 30);
}

#[test]
fn a_queue_at_its_limit_stays_open_and_one_byte_more_closes_it() {
    let it = Fixture::new(1_000);
    it.push(&bulk(1_000 - 2 * FRAME_OVERHEAD_BYTES - 7));
    it.push(&bulk(7));
    assert_eq!((it.overflow(), it.queue.load().1), (None, 0));
    // What is being written counts.
    let mut taken = it.queue.try_take().expect("frames");
    it.push(&bulk(0));
    assert_eq!(it.overflow(), Some(Overflow::Bytes { bytes_max: 1_000 }));
    assert_eq!((it.queue.load(), it.queue.is_open()), ((load(0, 0), 3), false));
    // A writer that does not know yet changes nothing.
    it.write(&mut taken, 10);
    assert_eq!(it.queue.load(), (load(0, 0), 3));
}

#[test]
fn catch_up_has_a_limit_of_its_own() {
    let it = Fixture::new(1_000);
    it.push(&bulk(900));
    it.push(&message(Traffic::CatchUp, 900));
    assert_eq!((it.overflow(), it.queue.load().0), (None, load(2, 1_800)));
    // The pieces of a message come together or not at all.
    let pieces = Encoded { traffic: Traffic::CatchUp, first: frame(1), rest: vec![frame(1); 3] };
    it.push(&pieces);
    assert_eq!(it.overflow(), Some(Overflow::Bytes { bytes_max: 1_000 }));
}

#[test]
fn catch_up_leaves_frame_by_frame_when_nothing_else_waits() {
    let it = Fixture::new(10_000);
    let lengths = |taken: &TakenFrames| {
        let mut room = [IoSlice::new(&[]); 9];
        taken.slices(&mut room).iter().map(|slice| slice.len()).collect::<Vec<_>>()
    };
    let take = || it.queue.try_take().map(|taken| lengths(&taken));
    it.push(&Encoded { traffic: Traffic::CatchUp, first: frame(1), rest: vec![frame(2)] });
    it.push(&bulk(3));
    it.push(&bulk(4));
    assert_eq!(take(), Some(vec![3, 4]));
    assert_eq!(take(), Some(vec![1]));
    it.push(&bulk(5));
    assert_eq!(take(), Some(vec![5]));
    assert_eq!((take(), take()), (Some(vec![2]), None));
}

#[test]
fn it_is_full_by_bytes_and_drains_far_below() {
    let it = Fixture::new(1 << 30);
    let half = FULL_BYTES / 2;
    it.push(&bulk(half));
    assert_eq!(it.told(), []);
    it.push(&bulk(half));
    assert_eq!(it.told(), [PeerEvent::Full(PEER)]);
    let mut taken = it.queue.try_take().expect("frames");
    it.write(&mut taken, 2 * half - DRAINED_BYTES);
    assert_eq!(it.told(), []);
    it.write(&mut taken, 2 * FRAME_OVERHEAD_BYTES + 1);
    assert_eq!(it.told(), [PeerEvent::Drained(PEER)]);
    // Catch-up does not count.
    it.push(&message(Traffic::CatchUp, 2 * FULL_BYTES));
    assert_eq!(it.told(), []);
}

#[test]
fn it_is_full_when_a_frame_has_waited_for_long() {
    let mut it = Fixture::new(1 << 30);
    it.push(&bulk(10));
    let mut taken = it.queue.try_take().expect("a frame");
    let begin = it.now;
    it.now += FULL_AFTER / 2;
    it.push(&bulk(10));
    assert_eq!(it.queue.look_at_age(it.now), Some(begin + FULL_AFTER));
    assert_eq!(it.told(), []);
    it.now = begin + FULL_AFTER;
    assert_eq!(it.queue.look_at_age(it.now), None);
    assert_eq!(it.told(), [PeerEvent::Full(PEER)]);
    // Half a frame does not help. The rest does: the next one has waited for half a second.
    it.write(&mut taken, 5);
    assert_eq!(it.told(), []);
    it.write(&mut taken, 5);
    assert_eq!(it.told(), [PeerEvent::Drained(PEER)]);
}

#[test]
fn a_queue_that_was_full_is_not_full_on_a_new_connection() {
    let it = Fixture::new(FULL_BYTES + 1_000);
    it.push(&bulk(FULL_BYTES));
    it.push(&bulk(1_000));
    assert!(it.overflow().is_some());
    assert_eq!(it.told(), [PeerEvent::Full(PEER)]);
    it.queue.close();
    it.push(&bulk(1));
    assert_eq!(it.told(), []);
    it.queue.open(&it.news, it.now);
    // That says also that the way is free.
    assert_eq!(it.told(), [PeerEvent::CatchUpLost(PEER), PeerEvent::Reconnected(PEER)]);
}

#[test]
fn a_control_message_that_waits_too_long_closes_the_queue() {
    let (age_max, now) = (Duration::from_secs(10), Instant::now());
    let queue = FrameQueue::new(QueueLimits {
        bytes_max: 1_000,
        catch_up_bytes_max: 0,
        age_max: Some(age_max),
        tells: None,
    });
    queue.open(&News::default(), now);
    queue.push(&message(Traffic::Control, 10), now);
    queue.look_at_age(now + age_max);
    assert!(queue.is_open());
    queue.push(&message(Traffic::Control, 10), now + age_max + Duration::from_millis(1));
    assert_eq!(queue.state().overflow, Some(Overflow::Age { age_max }));
}

#[tokio::test]
async fn taking_from_an_empty_queue_waits() {
    let it = Fixture::new(1_000);
    let (taken, ()) = tokio::join!(it.queue.take(), async {
        tokio::task::yield_now().await;
        it.push(&bulk(10));
    });
    assert_eq!(taken.slices(&mut [IoSlice::new(&[]); 3]).len(), 1);
}

#[tokio::test]
async fn who_waits_for_an_overflow_hears_of_it() {
    let it = Fixture::new(10);
    let (overflow, ()) = tokio::join!(it.queue.overflowed(), async {
        tokio::task::yield_now().await;
        it.push(&bulk(11));
    });
    assert_eq!(overflow, Overflow::Bytes { bytes_max: 10 });
}

#[test]
fn a_batch_goes_out_in_any_pieces() {
    let frames: Vec<Bytes> = (1..9_u8).map(|byte| vec![byte; byte.into()].into()).collect();
    let whole = frames.concat();
    for piece_bytes in 1..whole.len() {
        let since = Instant::now();
        let queued = |frame: &Bytes| Queued { frame: frame.clone(), since, is_message: true };
        let mut taken = TakenFrames::new(frames.iter().map(queued).collect(), false);
        let (mut out, mut total) = (Vec::new(), load(0, 0));
        while !taken.is_empty() {
            let mut room = [IoSlice::new(&[]); 3];
            let slices = taken.slices(&mut room).iter().map(|slice| &slice[..]);
            let piece = slices.collect::<Vec<_>>().concat();
            let piece = &piece[..piece_bytes.min(piece.len())];
            let written = taken.advance(piece.len());
            total = total.add(written);
            out.extend(piece);
        }
        assert!(taken.has_carried());
        assert_eq!((out, total), (whole.clone(), load(8, whole.len())));
    }
}

/// What happens to a queue.
#[derive(Clone, Debug)]
enum Step {
    Push(Traffic, usize),
    /// Take, if nothing is being written.
    Take,
    Write(usize),
    Wait(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let traffic = prop_oneof![Just(Traffic::Bulk), Just(Traffic::CatchUp)];
    let step = prop_oneof![
        4 => (traffic, 1..3_usize << 20).prop_map(|(traffic, bytes)| Step::Push(traffic, bytes)),
        3 => Just(Step::Take),
        4 => (1..4_usize << 20).prop_map(Step::Write),
        2 => (0..1_500_u64).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ];
    vec(step, 0..80)
}

/// Compares a queue with a plain account of what must wait.
#[test]
fn a_queue_keeps_its_account_whatever_happens() {
    check(300, &steps(), |steps| {
        let mut it = Fixture::new(24 << 20);
        // The lengths that wait, with since when, for ordinary frames; and for catch-up.
        let mut waits: [VecDeque<(usize, Instant)>; 2] = [VecDeque::new(), VecDeque::new()];
        let (mut taken, mut pushed, mut written) = (None, 0, 0);
        let mut told_full = false;
        for step in steps {
            match step {
                Step::Push(traffic, bytes) => {
                    it.push(&message(traffic, bytes));
                    pushed += 1;
                    waits[usize::from(traffic == Traffic::CatchUp)].push_back((bytes, it.now));
                }
                Step::Take if taken.is_none() => taken = it.queue.try_take(),
                Step::Take => {}
                Step::Write(bytes) => {
                    let Some(frames) = &mut taken else { continue };
                    let mut room = [IoSlice::new(&[]); 99];
                    let left: usize = frames.slices(&mut room).iter().map(|it| it.len()).sum();
                    let mut bytes = bytes.min(left);
                    let of = &mut waits[usize::from(frames.is_catch_up())];
                    it.write(frames, bytes);
                    while let Some((length, _)) = of.front_mut() {
                        if bytes < *length {
                            *length -= bytes;
                            break;
                        }
                        bytes -= *length;
                        of.pop_front();
                        written += 1;
                    }
                    if frames.is_empty() {
                        taken = None;
                    }
                }
                Step::Wait(ms) => it.now += Duration::from_millis(ms),
                Step::Reopen => {
                    it.queue.close();
                    it.queue.open(&it.news, it.now);
                    taken = None;
                    waits = Default::default();
                }
            }
            it.queue.look_at_age(it.now);
            if it.overflow().is_some() {
                taken = None;
                waits = Default::default();
            }
            let bytes = |of: &VecDeque<(usize, Instant)>| of.iter().map(|it| it.0).sum::<usize>();
            let frames = waits[0].len() + waits[1].len();
            let (found, dropped_frames) = it.queue.load();
            assert_eq!(found, load(frames, bytes(&waits[0]) + bytes(&waits[1])));
            assert_eq!(
                pushed,
                written + frames as u64 + dropped_frames,
                "each frame is accounted for"
            );
            for event in it.told() {
                match event {
                    PeerEvent::Full(_) => assert!(!std::mem::replace(&mut told_full, true)),
                    PeerEvent::Drained(_) => assert!(std::mem::replace(&mut told_full, false)),
                    // If the way is full all the same, the replica is told so again.
                    PeerEvent::Reconnected(_) => told_full = false,
                    _ => {}
                }
            }
            if it.queue.is_open() {
                let cost = load(waits[0].len(), bytes(&waits[0])).cost_bytes();
                let is_old =
                    waits[0].front().is_some_and(|(_, since)| *since + FULL_AFTER <= it.now);
                assert!(told_full || (cost < FULL_BYTES && !is_old), "it is full and was not told");
                assert!(!told_full || cost >= DRAINED_BYTES || is_old, "it has drained");
            }
        }
    });
}
