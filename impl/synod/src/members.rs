//! Members and their addresses, as people write them: `0=host:port,1=host:port`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use synod_model::ReplicaId;
use synod_wire::address::canonical;
use thiserror::Error;

/// Replicas, each with the address at which its peers look for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(pub BTreeMap<ReplicaId, String>);

/// Why a text is not a list of members.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum MembersError {
    /// A part does not have the form.
    #[error("`{0}` is not of the form ID=HOST:PORT, such as 0=10.0.0.1:7000")]
    Form(String),
    /// An id is not a number, or is too large.
    #[error("`{0}` is not an id: ids are numbers from 0 to 65535")]
    Id(String),
    /// A port is missing.
    #[error("`{0}` has no port: write HOST:PORT, such as 10.0.0.1:7000 or [::1]:7000")]
    Port(String),
    /// A host has a blank in it.
    #[error("`{0}` has a blank in it: write HOST:PORT, such as 10.0.0.1:7000")]
    Blank(String),
    /// Nobody can be dialled at an address, although it may be possible to listen there.
    #[error(
        "`{0}` is nowhere that others can go: {1}\n  \
         give the address at which the other replicas reach this one, such as 10.0.0.1:7000"
    )]
    Nowhere(String, &'static str),
    /// An id is given twice.
    #[error("replica {0} is named twice")]
    Twice(ReplicaId),
    /// An address is given twice.
    #[error("replicas {0} and {1} have the same address, {2}\n  each needs one of its own")]
    SameAddress(ReplicaId, ReplicaId, String),
}

impl FromStr for Members {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, MembersError> {
        let mut members: BTreeMap<ReplicaId, String> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (id, address) =
                part.split_once('=').ok_or_else(|| MembersError::Form(part.to_owned()))?;
            let id = id.trim().parse().map_err(|_| MembersError::Id(id.to_owned()))?;
            let (id, address) = (ReplicaId(id), dialled(address.trim())?);
            let same = members
                .iter()
                .find(|(other, it)| **other != id && canonical(it) == canonical(&address));
            if let Some((other, _)) = same {
                return Err(MembersError::SameAddress(*other, id, address));
            }
            if members.insert(id, address).is_some() {
                return Err(MembersError::Twice(id));
            }
        }
        if members.is_empty() {
            return Err(MembersError::Form(text.to_owned()));
        }
        Ok(Self(members))
    }
}

/// Parses an address at which others dial a replica.
pub(crate) fn dialled(address: &str) -> Result<String, MembersError> {
    let address = checked(address)?;
    let nowhere = |why| Err(MembersError::Nowhere(address.clone(), why));
    let Some((host, port)) = address.rsplit_once(':') else {
        return Ok(address);
    };
    if port.parse() == Ok(0) {
        return nowhere("port 0 stands for any port that is free");
    }
    let host: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    if host.is_ok_and(|it| it.is_unspecified()) {
        return nowhere("it stands for all addresses of a machine, and serves only to listen");
    }
    Ok(address)
}

/// Parses an address with a host and a port. The host is looked up later, when it is dialled.
pub(crate) fn checked(address: &str) -> Result<String, MembersError> {
    let bad = || MembersError::Port(address.to_owned());
    if address.contains(char::is_whitespace) {
        return Err(MembersError::Blank(address.to_owned()));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || is_bare_v6 || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> MembersError {
        text.parse::<Members>().expect_err("it has no form")
    }

    #[test]
    fn members_are_read() {
        let members: Members = "0=localhost:7000, 2=[::1]:7002".parse().expect("it has the form");
        let expected = [(ReplicaId(0), "localhost:7000"), (ReplicaId(2), "[::1]:7002")];
        assert!(members.0.into_iter().eq(expected.map(|(id, at)| (id, at.to_owned()))));
    }

    #[test]
    fn invalid_lists_of_members_are_reported() {
        assert_eq!(error(""), MembersError::Form(String::new()));
        assert_eq!(error("localhost:1"), MembersError::Form("localhost:1".to_owned()));
        assert_eq!(error("x=a:1"), MembersError::Id("x".to_owned()));
        assert_eq!(error("65536=a:1"), MembersError::Id("65536".to_owned()));
        assert_eq!(error("0=a"), MembersError::Port("a".to_owned()));
        assert_eq!(error("0=a:65536"), MembersError::Port("a:65536".to_owned()));
        assert_eq!(error("0=::1:7"), MembersError::Port("::1:7".to_owned()));
        assert_eq!(error("0=a:1,0=b:2"), MembersError::Twice(ReplicaId(0)));
    }

    #[test]
    fn an_address_at_which_nobody_can_be_found_is_refused() {
        for (text, at) in [
            ("0=a:0", "a:0"),
            ("0=0.0.0.0:7000", "0.0.0.0:7000"),
            ("0=[::]:7000", "[::]:7000"),
            ("0=a:1,1=[::0]:2", "[::0]:2"),
        ] {
            assert!(matches!(error(text), MembersError::Nowhere(it, _) if it == at), "{text}");
        }
        assert_eq!(error("0=my host:7000"), MembersError::Blank("my host:7000".to_owned()));
        let same = MembersError::SameAddress(ReplicaId(0), ReplicaId(2), "a:1".to_owned());
        assert_eq!(error("0=a:1,1=b:1,2=a:1"), same);
        for text in ["0=127.0.0.1:7000,1=localhost:7000", "0=127.0.0.1:7000,1=127.0.0.01:7000"] {
            assert!(matches!(error(text), MembersError::SameAddress(..)), "{text}");
        }
        // It is possible to listen at these.
        for text in ["0.0.0.0:7000", "[::]:7000", "127.0.0.1:0"] {
            assert_eq!(checked(text), Ok(text.to_owned()));
        }
    }
}
