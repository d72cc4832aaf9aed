//! Connecting, and the socket options of every connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::LinkError;
use super::limits::{LinkTiming, UNSENT_BYTES_MAX};
use super::supervision::catch;

/// Connects to `address`. The name is looked up each time, since its machine may have changed.
pub(super) async fn dial(address: &str, timing: &LinkTiming) -> Result<TcpStream, LinkError> {
    let limit = timing.dial_max;
    // The look-up panics when the system starts no thread for it.
    let found = timeout(limit, catch(lookup_host(address))).await;
    let found = found.map_err(|_| LinkError::TooSlow { doing: "be looked up", limit })?;
    let found = found.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    let mut failed = LinkError::NoSuchHost;
    for address in found.map_err(LinkError::Lookup)? {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // The next address may be the right one.
                match prepare(&stream, timing) {
                    Ok(()) => return Ok(stream),
                    Err(error) => failed = error,
                }
            }
            Ok(Err(error)) => failed = LinkError::Connect(error),
            Err(_) => failed = LinkError::TooSlow { doing: "accept a connection", limit },
        }
    }
    Err(failed)
}

/// Sets the options of a socket. Small frames leave at once. A dead link is detected after
/// `timing.write_max`; by default, the system repeats unacknowledged bytes for a quarter of an hour.
///
/// # Errors
///
/// If the connection is of no use. It may lead to itself: a system that connects from a port of its own
/// choice to a port of its own, where nobody listens, may choose that very port. Such a connection is
/// reset, so that the port is free at once, for the replica that wants to listen there.
pub(super) fn prepare(stream: &TcpStream, timing: &LinkTiming) -> Result<(), LinkError> {
    if is_self_connection(stream) {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        return Err(LinkError::SelfConnection);
    }
    set_options(stream, timing.write_max).map_err(LinkError::Io)
}

fn is_self_connection(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(here), Ok(there)) => here == there,
        _ => false,
    }
}

/// Lets little wait in the socket of a bulk connection. By default the system takes megabytes, and what
/// it has taken leaves before anything that matters more.
pub(super) fn keep_little_unsent(stream: &TcpStream) -> Result<(), LinkError> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX).map_err(LinkError::Io)?;
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, UNSENT_BYTES_MAX);
    Ok(())
}

fn set_options(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Whole seconds, and at least one.
    let probe = Duration::from_secs(patience.as_secs().max(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_leads_to_itself_is_reset_and_frees_its_port() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        let here = socket.local_addr().expect("an address");
        socket.connect(&here).expect("the system connects it with itself");
        socket.set_nonblocking(true).expect("a socket");
        let stream = TcpStream::from_std(socket.into()).expect("a socket");
        let prepared = prepare(&stream, &LinkTiming::default());
        assert!(matches!(prepared, Err(LinkError::SelfConnection)), "{prepared:?}");
        drop(stream);
        // Without the reset, the port would be in use for a minute.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&here).expect("the port is free");
    }
}
