//! Waiting with a limit, and random choices from a seed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// The limit for anything that takes a fraction of a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Polls until there is something. Fails with its description if there never is.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "waited for {} s: {what}", SOON.as_secs());
        sleep(Duration::from_millis(20));
    }
}

/// Random choices for one test: the same in every run, unless `SYNOD_SEED` is set.
pub(crate) fn chance() -> Rng {
    let seed = std::env::var("SYNOD_SEED").map_or(Ok(1), |seed| seed.parse());
    let seed = seed.expect("SYNOD_SEED is a number");
    println!("SYNOD_SEED={seed}");
    Rng::with_seed(seed)
}
