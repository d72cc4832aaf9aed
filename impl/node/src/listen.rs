//! Listening at an address that a person has given, with good advice if that fails.

use std::fmt;
use std::fs;
use std::io;
use std::ops::RangeInclusive;

use synod_wire::blocking::look_up;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::warn;

/// The users of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListensFor {
    /// The other replicas.
    Peers,
    /// Clients.
    Clients,
}

impl ListensFor {
    fn flag(self) -> &'static str {
        match self {
            Self::Peers => "--listen-peer HOST:PORT",
            Self::Clients => "--listen-client HOST:PORT",
        }
    }

    /// Listens at `address`, which is `host:port`.
    ///
    /// # Errors
    ///
    /// If it is not possible to listen there.
    pub async fn listen(self, address: &str) -> Result<TcpListener, ListenError> {
        let failed =
            |why, error| ListenError { whom: self, address: address.to_owned(), why, error };
        let found = look_up(address).await.map_err(|error| failed(WhyNot::Lookup, error))?;
        TcpListener::bind(&*found).await.map_err(|error| failed(WhyNot::Bind, error))
    }
}

impl fmt::Display for ListensFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peers => "peers",
            Self::Clients => "clients",
        })
    }
}

/// Which step of listening failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhyNot {
    Lookup,
    Bind,
}

/// Why it is not possible to listen at an address.
#[derive(Debug, Error)]
#[error("cannot listen for {whom} at {address}: {error}\n  {}", self.advice())]
pub struct ListenError {
    whom: ListensFor,
    address: String,
    why: WhyNot,
    error: io::Error,
}

impl ListenError {
    fn advice(&self) -> String {
        let flag = self.whom.flag();
        match (self.why, self.error.kind()) {
            (WhyNot::Lookup, _) => {
                format!("check the name of the host: {flag}")
            }
            (WhyNot::Bind, io::ErrorKind::AddrInUse) => {
                format!("find out what uses that port, or choose another: {flag}")
            }
            (WhyNot::Bind, io::ErrorKind::AddrNotAvailable) => format!(
                "that is no address of this machine: choose one that is, or 0.0.0.0 for all of them: {flag}"
            ),
            (WhyNot::Bind, io::ErrorKind::PermissionDenied) => {
                format!("most users may not use ports below 1024: choose a higher one: {flag}")
            }
            (WhyNot::Bind, _) => format!("choose another address: {flag}"),
        }
    }
}

/// The ports that the system gives to callers.
const EPHEMERAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Warns of addresses, as `host:port`, whose port the system may give to any caller. The replica there
/// cannot start while a caller has its port.
pub fn warn_if_ephemeral<'a>(addresses: impl IntoIterator<Item = &'a String>) {
    for address in addresses {
        if let Some(range) = ephemeral_ports_of(address) {
            let (first, last) = range.into_inner();
            warn!(
                %address,
                "the port is one of those that the system gives to callers, {first} to {last}: while a \
                 caller has it, the replica there cannot start. Choose one outside, or reserve it: \
                 net.ipv4.ip_local_reserved_ports"
            );
        }
    }
}

/// The ports that the system may give to any caller, if the port of `address`, as `host:port`, is one of
/// them.
#[must_use]
pub fn ephemeral_ports_of(address: &str) -> Option<RangeInclusive<u16>> {
    // Other systems have the range elsewhere.
    let range = range(&fs::read_to_string(EPHEMERAL_PORTS).ok()?)?;
    let port = address.rsplit_once(':')?.1.parse::<u16>().ok()?;
    range.contains(&port).then_some(range)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_ephemeral_ports_is_read() {
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(range("32768"), None);
        assert_eq!(range("a b"), None);
    }

    async fn told(whom: ListensFor, address: &str) -> String {
        whom.listen(address).await.expect_err("nobody can listen there").to_string()
    }

    #[tokio::test]
    async fn each_failure_has_its_own_advice_and_one_cause() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let taken = taken.local_addr().expect("an address").to_string();
        let error = told(ListensFor::Peers, &taken).await;
        assert!(error.starts_with(&format!("cannot listen for peers at {taken}: ")), "{error}");
        assert_eq!(error.matches("in use").count(), 1, "{error}");
        assert!(error.ends_with("or choose another: --listen-peer HOST:PORT"), "{error}");

        // An address for documentation (RFC 5737), which no machine has.
        let error = told(ListensFor::Clients, "192.0.2.1:0").await;
        assert!(error.contains("that is no address of this machine"), "{error}");
        assert!(error.ends_with("--listen-client HOST:PORT"), "{error}");

        // A name that never resolves (RFC 6761).
        let error = told(ListensFor::Clients, "nowhere.invalid:7000").await;
        assert!(error.contains("check the name of the host"), "{error}");
    }
}
