//! The bottleneck under a clock of the test's own.
#![allow(clippy::cast_precision_loss)] // No count here comes near 2^53.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn bytes(count: usize) -> Piece {
    Piece::Bytes(vec![0; count])
}

fn at(rate: u64, delay_ms: u32) -> Bottleneck {
    Bottleneck::new(Line { delay: delay_ms * MS, bytes_per_second: Some(rate) })
}

/// A sender that always has more, and a receiver that takes everything at once: what arrives until
/// `until`, with the time of each arrival. The clock ticks every `tick`.
fn run(
    bottleneck: &mut Bottleneck,
    flows: &[FlowId],
    until: Duration,
    tick: Duration,
) -> Vec<(Duration, FlowId, usize)> {
    let mut arrived = Vec::new();
    let mut now = Duration::ZERO;
    while now <= until {
        bottleneck.advance(now);
        for &flow in flows {
            while let room @ 1.. = bottleneck.room(flow) {
                bottleneck.put(flow, bytes(room), now);
                bottleneck.advance(now);
            }
            while let Arrival::Piece(piece) = bottleneck.take(flow, now) {
                arrived.push((now, flow, piece.bytes()));
                bottleneck.written(flow, piece.bytes(), now);
            }
        }
        now += tick;
    }
    arrived
}

fn bytes_of(arrived: &[(Duration, FlowId, usize)], flow: FlowId) -> usize {
    arrived.iter().filter(|it| it.1 == flow).map(|it| it.2).sum()
}

#[test]
fn a_byte_arrives_after_the_delay() {
    let mut bottleneck = Bottleneck::new(Line { delay: 40 * MS, bytes_per_second: None });
    let flow = bottleneck.add_flow(Duration::ZERO);
    bottleneck.put(flow, bytes(1), 10 * MS);
    assert_eq!(bottleneck.advance(10 * MS), [flow]);
    assert_eq!(bottleneck.take(flow, 10 * MS), Arrival::At(50 * MS));
    assert_eq!(bottleneck.take(flow, 49 * MS), Arrival::At(50 * MS));
    assert_eq!(bottleneck.take(flow, 50 * MS), Arrival::Piece(bytes(1)));
    assert_eq!(bottleneck.take(flow, 60 * MS), Arrival::Nothing);
}

#[test]
fn the_rate_is_kept_and_reached_though_the_caller_is_late() {
    for (rate, delay_ms, tick_ms) in
        [(1_000_000, 0, 1), (10_000_000, 150, 7), (50_000_000, 150, 1), (50_000_000, 5, 20)]
    {
        let mut bottleneck = at(rate, delay_ms);
        let flow = bottleneck.add_flow(Duration::ZERO);
        let arrived = run(&mut bottleneck, &[flow], 2000 * MS + delay_ms * MS, tick_ms * MS);
        let rate_of = bytes_of(&arrived, flow) as f64 / 2.0;
        let share = rate_of / rate as f64;
        assert!((0.98..=1.02).contains(&share), "{rate} {delay_ms} {tick_ms}: {share}");
        // Not more than the rate in any 100 ms either.
        for (from, _, _) in arrived.iter().step_by(50) {
            let window = arrived.iter().filter(|it| *from < it.0 && it.0 <= *from + 100 * MS);
            let bytes: usize = window.map(|it| it.2).sum();
            let most = rate as f64 * f64::from(100 + tick_ms) / 1000.0 + 20_000.0;
            assert!(bytes as f64 <= most, "{bytes} in 100 ms at {rate}");
        }
    }
}

#[test]
fn flows_share_the_rate_whatever_they_send_at_once() {
    let mut bottleneck = at(3_000_000, 20);
    let (large, small) = (bottleneck.add_flow(Duration::ZERO), bottleneck.add_flow(Duration::ZERO));
    let (mut from_large, mut from_small) = (0, 0);
    let mut now = Duration::ZERO;
    while now < 2000 * MS {
        for (flow, length) in [(large, usize::MAX), (small, 100)] {
            while let room @ 1.. = bottleneck.room(flow) {
                bottleneck.put(flow, bytes(room.min(length)), now);
                bottleneck.advance(now);
            }
        }
        for (flow, count) in [(large, &mut from_large), (small, &mut from_small)] {
            while let Arrival::Piece(piece) = bottleneck.take(flow, now) {
                *count += piece.bytes();
                bottleneck.written(flow, piece.bytes(), now);
            }
        }
        now += MS;
        bottleneck.advance(now);
    }
    let ratio = f64::from(u32::try_from(from_small).unwrap())
        / f64::from(u32::try_from(from_large).unwrap());
    assert!((0.95..1.05).contains(&ratio), "{from_small} and {from_large} bytes");
}

#[test]
fn a_flow_that_was_quiet_waits_for_one_piece_of_a_busy_one() {
    let mut bottleneck = at(1_000_000, 0);
    let (busy, quiet) = (bottleneck.add_flow(Duration::ZERO), bottleneck.add_flow(Duration::ZERO));
    run(&mut bottleneck, &[busy], 500 * MS, MS);
    bottleneck.put(quiet, bytes(10), 501 * MS);
    let mut now = 501 * MS;
    while bottleneck.take(quiet, now) != Arrival::Piece(bytes(10)) {
        now += MS;
        bottleneck.advance(now);
    }
    assert!(now <= 504 * MS, "{now:?}");
}

#[test]
fn a_receiver_that_takes_nothing_stops_its_sender_alone() {
    let mut bottleneck = at(10_000_000, 100);
    let (stuck, other) = (bottleneck.add_flow(Duration::ZERO), bottleneck.add_flow(Duration::ZERO));
    let mut sent = 0;
    let mut arrived = 0;
    let mut now = Duration::ZERO;
    while now < 2000 * MS {
        for flow in [stuck, other] {
            while let room @ 1.. = bottleneck.room(flow) {
                sent += if flow == stuck { room } else { 0 };
                bottleneck.put(flow, bytes(room), now);
                bottleneck.advance(now);
            }
        }
        while let Arrival::Piece(piece) = bottleneck.take(other, now) {
            arrived += piece.bytes();
            bottleneck.written(other, piece.bytes(), now);
        }
        now += MS;
        bottleneck.advance(now);
    }
    // The delay and 60 ms, at the rate.
    assert!(sent <= 1_600_000 + 2 * 16_384, "{sent}");
    assert!(arrived > 16_000_000, "{arrived}");
}

#[test]
fn new_conditions_hold_for_what_has_not_passed_yet() {
    let mut bottleneck = at(100, 1000);
    let flow = bottleneck.add_flow(Duration::ZERO);
    bottleneck.put(flow, bytes(1000), Duration::ZERO);
    bottleneck.put(flow, bytes(1), Duration::ZERO);
    bottleneck.advance(Duration::ZERO);
    assert_eq!(bottleneck.take(flow, Duration::ZERO), Arrival::At(11_000 * MS));
    bottleneck.set_line(Line { delay: Duration::ZERO, bytes_per_second: None }, 100 * MS);
    bottleneck.advance(100 * MS);
    assert_eq!(bottleneck.carried_bytes(), 1001);
    // It does not overtake what was sent before it.
    assert_eq!(bottleneck.take(flow, 200 * MS), Arrival::At(11_000 * MS));
    assert_eq!(bottleneck.take(flow, 11_000 * MS), Arrival::Piece(bytes(1000)));
    assert_eq!(bottleneck.take(flow, 11_000 * MS), Arrival::Piece(bytes(1)));
}
