//! Properties that the core must have under every schedule, tested with random schedules.
//!
//! Each test prints its seed. `SYNOD_SEED=<seed>` sets another seed, and `SYNOD_CASES=<factor>`
//! multiplies the number of cases. A schedule that fails is shrunk and printed.

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../lone/mod.rs"]
mod lone;
#[path = "../replica/mod.rs"]
mod replica;

mod alone;
mod changes;
mod chaos;
mod forged;
mod forming;
mod messages;
mod promise;
mod recovery;
mod schedule;
mod sessions;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs `test` on random values, `cases` of them. The test fails if it panics for one of them.
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
