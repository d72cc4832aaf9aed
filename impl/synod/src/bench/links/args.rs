//! The arguments of `synod bench links`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use synod_model::Limits;

use crate::args::duration;

pub(crate) const ABOUT: &str = "\
Measure how much of a slow or far link a cluster uses.

It starts three replicas on this machine. Each two of them are joined by a link
of their own, with a delay and a rate in each direction. For each rate, round
trip and length of values it measures:

- goodput: bytes of committed values in a second, as clients at the coordinator
  get answers, who have enough in flight;
- its bound: the rate of a link, or one window in each round trip, whichever is
  less;
- bytes on all links, over the bytes needed: each value once to each follower;
- elections during the run.

Then, for each rate and round trip, it stops a follower until the others have
committed what the link carries in a few seconds, starts it again, and measures
how much of its link the catch-up uses: once idle, and once while clients commit
half of what the link carries.

A first run without limits says what this machine can do at all.
docs/performance.md says why the numbers mean this.";

/// The arguments of `bench links`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinksArgs {
    /// The rates of a link in each direction, in MB/s
    #[arg(long, value_name = "MB/S,...", value_delimiter = ',', default_value = "1,3,10,50", value_parser = rate)]
    pub(crate) rates: Vec<u64>,
    /// The round trips between two replicas, in ms
    #[arg(long, value_name = "MS,...", value_delimiter = ',', default_value = "0,50,100,200,300", value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub(crate) round_trips: Vec<u64>,
    /// How long values are; the first is also the one for catch-up
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "1kB,100kB,1MB", value_parser = value_bytes)]
    pub(crate) values: Vec<usize>,
    /// How long each run is measured: longer if fewer than 16 values are committed, up to four times
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Leave catch-up out
    #[arg(long)]
    pub(crate) no_catch_up: bool,
    /// Where to keep the replicas' data during the run [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print one JSON document instead of the tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// A rate in MB/s, in bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| (0.01..=10_000.0).contains(rate));
    let rate = rate.ok_or("that is not a rate from 0.01 to 10,000 MB/s")?;
    // Within a u64 by far.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = (rate * 1e6).round() as u64;
    Ok(bytes)
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let most = Limits::default().value_bytes_max;
    let bytes = text.parse().ok().map(|ByteSize(bytes)| bytes);
    let bytes = bytes.filter(|bytes| (1..=most).contains(bytes));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("that is not a length from 1 to {most} bytes, such as 100kB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_lengths_are_read() {
        assert_eq!(rate("3"), Ok(3_000_000));
        assert_eq!(rate("0.5"), Ok(500_000));
        assert!(rate("0").is_err() && rate("fast").is_err());
        assert_eq!(value_bytes("1kB"), Ok(1_000));
        assert_eq!(value_bytes("1MB"), Ok(1_000_000));
        assert_eq!(value_bytes("17"), Ok(17));
        assert!(value_bytes("2MB").is_err() && value_bytes("0").is_err());
    }
}
