//! The addresses of client ports.

use std::fmt;
use std::str::FromStr;

use synod_wire::address;
use thiserror::Error;

/// The address of the client port of a replica: a host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// A port of this machine's own.
    pub fn local(port: u16) -> Self {
        Self(format!("127.0.0.1:{port}"))
    }

    /// The endpoint in the one spelling that all its spellings have: [`address::canonical`].
    pub fn canonical(&self) -> String {
        address::canonical(&self.0)
    }

    /// The endpoint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let is_endpoint = text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
            let is_host = !host.is_empty() && !host.contains(char::is_whitespace) && !is_bare_v6;
            is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if is_endpoint { Ok(Self(text.to_owned())) } else { Err(EndpointError) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("that is no endpoint\n  an endpoint is host:port, such as 127.0.0.1:7100 or [::1]:7100")]
pub struct EndpointError;
