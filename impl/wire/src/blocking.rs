//! Work that makes its caller wait, on a thread of its own.
//!
//! The runtime has threads for this too, but it panics when the system can start none. Here that is an
//! error, like any other failure of the system, and the caller tries again or says so.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::thread::Builder;

use thiserror::Error;
use tokio::sync::oneshot;

/// Why work was not done.
#[derive(Debug, Error)]
pub enum NotRun {
    /// The system starts no more threads. Nothing was done.
    #[error("no thread can be started: {0}")]
    NoThread(io::Error),
    /// The work has panicked, and said why.
    #[error("the thread `{0}` panicked")]
    Panicked(&'static str),
}

impl From<NotRun> for io::Error {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::NoThread(error) => Self::new(error.kind(), NotRun::NoThread(error)),
            NotRun::Panicked(_) => Self::other(not_run),
        }
    }
}

/// Does `work` on a thread of its own, with this name, and waits for it. If the wait is dropped, the
/// thread goes on.
///
/// # Errors
///
/// If no thread can be started, or `work` panics.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotRun> {
    run_on(Builder::new(), name, work).await
}

async fn run_on<T: Send + 'static>(
    thread: Builder,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotRun> {
    let (done, result) = oneshot::channel();
    // Nobody may wait for it any more.
    let work = move || drop(done.send(work()));
    thread.name(name.to_owned()).spawn(work).map_err(NotRun::NoThread)?;
    result.await.map_err(|_| NotRun::Panicked(name))
}

/// Looks up the addresses of `host:port`. An address that is no name needs no thread.
///
/// # Errors
///
/// If the name has no address, or cannot be looked up now.
pub async fn look_up(address: impl fmt::Display) -> io::Result<Vec<SocketAddr>> {
    let address = address.to_string();
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let looking = run("look-up", move || address.to_socket_addrs().map(Iterator::collect));
    looking.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_is_done_and_its_result_comes_back() {
        assert_eq!(run("sum", || 1 + 1).await.expect("a thread"), 2);
    }

    #[tokio::test]
    async fn a_thread_that_cannot_be_started_is_an_error() {
        // No address space has room for this stack.
        let thread = Builder::new().stack_size(1 << 50);
        let error = run_on(thread, "huge", || ()).await.expect_err("no thread");
        assert!(error.to_string().starts_with("no thread can be started: "), "{error}");
        let kind = match &error {
            NotRun::NoThread(error) => error.kind(),
            NotRun::Panicked(_) => panic!("{error}"),
        };
        assert_eq!(io::Error::from(error).kind(), kind);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_names_the_thread() {
        let work = || -> u8 { panic!("as a fault of ours would") };
        let error = run("faulty", work).await.expect_err("it panics");
        assert_eq!(error.to_string(), "the thread `faulty` panicked");
    }

    #[tokio::test]
    async fn names_and_addresses_are_looked_up() {
        let all = look_up("[::1]:7000").await.expect("an address");
        assert_eq!(all, ["[::1]:7000".parse().expect("an address")]);
        let all = look_up("localhost:7000").await.expect("every machine knows this name");
        assert!(all.iter().all(|it| it.ip().is_loopback() && it.port() == 7000), "{all:?}");
        // A name that never resolves (RFC 6761).
        look_up("nowhere.invalid:7000").await.expect_err("no such name");
    }
}
