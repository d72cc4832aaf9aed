//! Connecting, and the socket options of every connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::LinkError;
use super::limits::LinkTiming;

/// Connects to `address`. The name is looked up each time, since its machine may have changed.
pub(super) async fn dial(address: &str, timing: &LinkTiming) -> Result<TcpStream, LinkError> {
    let limit = timing.dial_max;
    let found = timeout(limit, lookup_host(address)).await;
    let found = found.map_err(|_| LinkError::TooSlow { doing: "be looked up", limit })?;
    let mut failed = LinkError::NoSuchHost;
    for address in found.map_err(LinkError::Lookup)? {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, timing)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = LinkError::Connect(error),
            Err(_) => failed = LinkError::TooSlow { doing: "accept a connection", limit },
        }
    }
    Err(failed)
}

/// Sets the options of a socket. Small frames leave at once. A dead link is detected after
/// `timing.write_max`; by default, the system repeats unacknowledged bytes for a quarter of an hour.
pub(super) fn prepare(stream: &TcpStream, timing: &LinkTiming) -> Result<(), LinkError> {
    set_options(stream, timing.write_max).map_err(LinkError::Io)
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
