//! What is asked of the system for every connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::LinkError;
use super::limits::{LinkTiming, ms};

/// Connects to `address`, which is looked up anew: the machine behind a name may have changed.
pub(super) async fn dial(address: &str, timing: &LinkTiming) -> Result<TcpStream, LinkError> {
    let limit_ms = timing.dial_ms;
    let found = timeout(ms(limit_ms), lookup_host(address)).await;
    let found = found.map_err(|_| LinkError::TooSlow { doing: "be looked up", limit_ms })?;
    let mut failed = LinkError::NoSuchHost;
    for address in found.map_err(LinkError::Lookup)? {
        match timeout(ms(timing.dial_ms), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, timing)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = LinkError::Connect(error),
            Err(_) => failed = LinkError::TooSlow { doing: "accept a connection", limit_ms },
        }
    }
    Err(failed)
}

/// Small frames leave at once, and a link that is dead is found out: the system repeats what is not
/// acknowledged, for a quarter of an hour if nobody says otherwise.
pub(super) fn prepare(stream: &TcpStream, timing: &LinkTiming) -> Result<(), LinkError> {
    set_options(stream, ms(timing.write_ms)).map_err(LinkError::Io)
}

fn set_options(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Whole seconds, and not none.
    let probe = Duration::from_secs(patience.as_secs().max(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}
