//! What tests of this package and of those above share: a runner for properties, and records of any
//! kind.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use synod_model::{
    Change, Configuration, ConfigurationId, Content, Entry, Forgotten, Incarnation, Opening,
    PrefixHash, Record, Registration, ReplicaId, Request, Run, SequenceNumber, SessionId, Slot,
};

use crate::Value;

/// Checks that `test` panics for none of `cases` values.
///
/// # Panics
///
/// If it panics for one, with the smallest such value that was found.
pub fn check<T: Debug>(cases: u32, values: &impl Strategy<Value = T>, test: impl Fn(T)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SYNOD_SEED").unwrap_or(2007);
    let factor = u32::try_from(number("SYNOD_CASES").unwrap_or(1)).expect("a small factor");
    println!("seed {seed}, {cases} x {factor} cases");
    let config = Config {
        cases: cases * factor,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 10_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(values, |value| {
        test(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("with SYNOD_SEED={seed}: {failure}");
    }
}

/// An entry with a distinctive value of `value_bytes` bytes.
pub fn entry(seed: u8, value_bytes: usize) -> Entry<Value> {
    let mut byte = seed;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        byte = byte.wrapping_mul(5).wrapping_add(17);
        byte
    })
    .take(value_bytes)
    .collect();
    Entry::Request(Request {
        session: SessionId(1),
        number: seed.into(),
        answered: 0,
        value: Value::from(value),
    })
}

/// Entries of any kind.
pub fn entries() -> impl Strategy<Value = Entry<Value>> {
    prop_oneof![
        1 => Just(Entry::NoOp),
        4 => (any::<u8>(), 0..600_usize).prop_map(|(seed, bytes)| entry(seed, bytes)),
        1 => (0..3_u16, any::<u64>(), any::<u64>()).prop_map(|(origin, run, count)| {
            Entry::Open(Opening { origin: ReplicaId(origin), run: Run(run), count })
        }),
        1 => any::<u64>().prop_map(|session| Entry::End { session: SessionId(session) }),
        1 => vec(any::<u16>().prop_map(ReplicaId), 1..9).prop_filter_map("twice", |members| {
            let (session, number, answered) = (SessionId(7), 2, 1);
            let configuration = Configuration::new(ConfigurationId(7), members).ok()?;
            let registration = |member| Registration {
                incarnation: Incarnation(u128::MAX - u128::from(number)),
                address: format!("{member}.example:7000"),
            };
            let configuration = configuration.with_all_registered(registration).ok()?;
            Some(Entry::Change(Change { session, number, answered, configuration }))
        }),
    ]
}

/// Records of any kind. Storage accepts those too that no replica would write.
pub fn records() -> impl Strategy<Value = Record<Value>> {
    let (s, first) = ((0..1_000_u64).prop_map(SequenceNumber), (1..60_u64).prop_map(Slot));
    let entries = || vec(entries(), 1..4);
    let content = prop_oneof![
        1 => s.clone().prop_map(Content::Promised),
        4 => (s, first.clone(), entries())
            .prop_map(|(s, first, entries)| {
                let configuration = ConfigurationId(s.0 % 300);
                Content::Accepted { s, configuration, first, entries }
            }),
        2 => (first, entries()).prop_map(|(first, entries)| Content::Committed { first, entries }),
        1 => (any::<u64>(), any::<Option<u64>>()).prop_map(|(s, slot)| {
            let (s, slot) = (SequenceNumber(s), slot.map(Slot));
            let (replica, told_to) = (ReplicaId(1), ReplicaId(u16::MAX));
            Content::Forgotten(Forgotten { replica, told_to, s, slot })
        }),
    ];
    (0..60_u64, any::<u64>(), content).prop_map(|(watermark, hash, content)| {
        let (watermark, hash) = (Slot(watermark), PrefixHash(hash));
        Record { watermark, hash, content }
    })
}
