//! Many values at once, and what became of them.

use std::time::{Duration, Instant};

use synod_client::{Client, ClientOptions, Endpoint};
use tokio::runtime::Runtime;

/// What became of values that were submitted together.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) committed: usize,
    /// Until the last answer.
    pub(crate) took: Duration,
}

/// A client that asks the first replica alone, unless it cannot be reached, and waits for so long.
pub(crate) fn client(endpoints: Vec<Endpoint>, deadline: Duration) -> Client {
    let options = ClientOptions { deadline, silent_max: deadline, ..ClientOptions::default() };
    Client::new(endpoints, options).unwrap()
}

/// Submits so many values of this length at once, and waits for so long.
pub(crate) fn submit(
    endpoints: Vec<Endpoint>,
    values: usize,
    value_bytes: usize,
    deadline: Duration,
) -> Outcome {
    Runtime::new().unwrap().block_on(async {
        let client = client(endpoints, deadline);
        let began = Instant::now();
        let value = vec![b'x'; value_bytes];
        let submitted = (0..values).map(|_| client.submit(value.clone()));
        let outcomes = futures_util::future::join_all(submitted).await;
        let committed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Outcome { committed, took: began.elapsed() }
    })
}

/// Submits values of 1 kB for so long, with so many in flight. Returns how many were committed.
pub(crate) fn submit_for(endpoints: &[Endpoint], in_flight: usize, time: Duration) -> usize {
    Runtime::new().unwrap().block_on(async {
        let client = client(endpoints.to_vec(), time);
        let end = Instant::now() + time;
        let one = async || {
            let mut committed = 0;
            while Instant::now() < end {
                let submitted = client.submit(vec![b'x'; 1000]);
                if let Ok(Ok(_)) = tokio::time::timeout_at(end.into(), submitted).await {
                    committed += 1;
                }
            }
            committed
        };
        let all = futures_util::future::join_all((0..in_flight).map(|_| one())).await;
        all.into_iter().sum()
    })
}
