//! The arguments that several commands have: whom to ask, and how long to wait.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use synod_client::{ClientOptions, Endpoint};

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Endpoints {
    /// Where replicas take clients: host:port, separated by commas. The first is asked first, and the
    /// next when that one cannot be reached, is silent or stops
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        required = true,
        env = "SYNOD_ENDPOINTS"
    )]
    endpoints: Vec<Endpoint>,
}

impl Endpoints {
    /// The endpoints, each once.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        each_once(&self.endpoints)
    }
}

/// Whom to ask, all of them.
#[derive(Debug, Args)]
pub(crate) struct AllEndpoints {
    /// Where replicas take clients: host:port, separated by commas. Each of them is asked
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        required = true,
        env = "SYNOD_ENDPOINTS"
    )]
    endpoints: Vec<Endpoint>,
}

impl AllEndpoints {
    /// The endpoints, each once.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        each_once(&self.endpoints)
    }
}

/// The endpoints without those that are there in another spelling already.
fn each_once(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let is_new = |it: &&Endpoint| seen.insert(it.canonical());
    endpoints.iter().filter(is_new).cloned().collect()
}

/// How long to try.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Timeout {
    /// How long to wait for an answer, such as 10s or 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl Timeout {
    /// The options of a client with this timeout.
    pub(crate) fn options(self) -> ClientOptions {
        let usual = ClientOptions::default();
        // Even a short timeout leaves time for more than one endpoint.
        let silent_max = usual.silent_max.min(self.timeout / 3).max(Duration::from_millis(1));
        let connect_max = usual.connect_max.min(silent_max);
        ClientOptions { deadline: self.timeout, silent_max, connect_max, ..usual }
    }
}

/// Parses a length of time: what humantime accepts, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    let duration = match seconds {
        Some(Ok(duration)) => Some(duration),
        Some(Err(_)) => None,
        None => humantime::parse_duration(text).ok(),
    };
    // A day is as good as for ever, and keeps every deadline within the range of the clock.
    duration.filter(|it| !it.is_zero()).map(|it| it.min(Duration::from_hours(24))).ok_or_else(
        || {
            "that is not a length of time\n  write 10s, 500ms or 1m; a bare number is seconds"
                .to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let ms = |text| duration(text).map(|it| it.as_millis());
        assert_eq!(ms("10s"), Ok(10_000));
        assert_eq!(ms("1m 5s"), Ok(65_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("3"), Ok(3_000));
        assert_eq!(ms("0.5"), Ok(500));
        assert_eq!(ms("1000000000"), ms("24h"), "more than anybody waits");
        for none in ["", "0", "-1", "soon", "NaN", "inf", "5 parsecs"] {
            assert!(duration(none).is_err(), "{none}");
        }
    }
}
