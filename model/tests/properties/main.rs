//! What must hold of the core under every schedule, tried with many random ones.
//!
//! Each test prints its seed; `SYNOD_SEED=<seed>` runs another, and `SYNOD_CASES=<factor>` more of
//! them. A schedule that fails is made as short as it gets, and printed.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../replica/mod.rs"]
mod replica;

mod chaos;
mod forged;
mod forming;
mod promise;
mod recovery;
mod schedule;
mod sessions;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Checks that `test` panics for none of `cases` values.
fn check<T: Debug>(cases: u32, values: &impl Strategy<Value = T>, test: impl Fn(T)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SYNOD_SEED").unwrap_or(2007);
    let factor = u32::try_from(number("SYNOD_CASES").unwrap_or(1)).expect("a small factor");
    println!("seed {seed}, {cases} x {factor} cases");
    let config = Config {
        cases: cases * factor,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 50_000,
        max_shrink_time: 120_000,
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
