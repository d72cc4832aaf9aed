//! File descriptors: as many as this process may have, with some reserved for the node.
//!
//! Every connection takes one, and so does every file. The usual limit of 1,024 is a soft limit, kept
//! low for programs that use `select`. Any other program may raise it. A node without a free
//! descriptor could not make the next segment of its log, and would be down.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use synod_node::client_port::ServerLimits;
use tracing::{info, warn};

/// How many descriptors are not for clients. Default 256: 64 for callers that have not said who they
/// are, 32 for connections with fifteen peers, 64 for followers that read the log, 20 for files,
/// listeners and the runtime, and some to spare.
const RESERVED: usize = 256;

/// How many clients there may be in any case. Default 16: a limit so low is a mistake, and an operator
/// finds it more easily with some clients than with none.
const CONNECTIONS_MIN: usize = 16;

/// Raises the limit of this process, and limits the clients to the descriptors that are left.
pub(super) fn server_limits() -> ServerLimits {
    let mut limits = ServerLimits::default();
    let descriptors = raise();
    let connections = connections_max(descriptors, limits.connections_max);
    if connections < limits.connections_max {
        info!(
            connections,
            descriptors,
            "serves fewer clients at once than usual: see LimitNOFILE= and `ulimit -n`"
        );
        limits.connections_max = connections;
    }
    limits
}

/// Raises the limit as far as this process may. Returns the limit.
fn raise() -> usize {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft == hard {
            return Ok(soft);
        }
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard).or_else(|error| {
            warn!("the limit of {soft} open files cannot be raised to {hard}: {error}");
            Ok(soft)
        })
    });
    let descriptors = raised.unwrap_or_else(|error| {
        warn!("cannot find out how many files may be open: {error}");
        RLIM_INFINITY
    });
    usize::try_from(descriptors).unwrap_or(usize::MAX)
}

fn connections_max(descriptors: usize, usual: usize) -> usize {
    descriptors.saturating_sub(RESERVED).clamp(CONNECTIONS_MIN, usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_is_left() {
        let connections = |descriptors| connections_max(descriptors, 4096);
        assert_eq!(connections(usize::MAX), 4096);
        assert_eq!(connections(4096 + RESERVED), 4096);
        assert_eq!(connections(1024), 1024 - RESERVED);
        assert_eq!(connections(100), CONNECTIONS_MIN);
        assert_eq!(connections(0), CONNECTIONS_MIN);
    }
}
