//! The handshake: is this a client, and does it speak the same version?

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use synod_wire::buffers::{Inbox, Outbox};
use synod_wire::protocol::{
    HANDSHAKE_BYTES_MAX, Hello, MAGIC, Unwelcome, VERSION, Welcome, message_bytes_max,
};
use tokio::net::TcpStream;
use tokio::time;

use super::ServerLimits;
use super::connection::Broken;
use crate::backend::Backend;

/// How long a client may be silent before TCP asks whether its machine is still there: 60 s. A client
/// whose machine is gone would otherwise hold its connection for ever.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Prepares a connection and shakes hands. None if the client was turned away, and told why.
pub(super) async fn greet<B: Backend>(
    socket: &mut TcpStream,
    backend: &B,
    limits: &ServerLimits,
) -> Result<Option<(Inbox, Outbox)>, Broken> {
    // The task batches the answers itself.
    socket.set_nodelay(true)?;
    SockRef::from(&*socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;

    let mut inbox = Inbox::new(HANDSHAKE_BYTES_MAX);
    let mut outbox = Outbox::new(HANDSHAKE_BYTES_MAX);
    let welcomed = welcome(socket, &mut inbox, &mut outbox, backend);
    let welcomed = time::timeout(limits.handshake_max, welcomed).await;
    if !welcomed.unwrap_or(Err(Broken::NoClient("it has not said what it is")))? {
        return Ok(None);
    }
    let message_bytes_max = message_bytes_max(backend.about().value_bytes_max);
    inbox.allow(message_bytes_max);
    outbox.allow(message_bytes_max);
    Ok(Some((inbox, outbox)))
}

/// Returns false if the client was turned away, and told why.
async fn welcome<B: Backend>(
    socket: &mut TcpStream,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
    backend: &B,
) -> Result<bool, Broken> {
    let hello: Hello = loop {
        if let Some(hello) = inbox.take()? {
            break hello;
        }
        if inbox.fill(socket).await? == 0 {
            if inbox.is_amid_message() {
                return Err(Broken::NoClient("it left amid its first message"));
            }
            // It only looked whether the port is open.
            return Ok(false);
        }
    };
    if hello.magic != MAGIC {
        return Err(Broken::NoClient("its first message is not that of a client"));
    }
    let is_welcome = hello.version == VERSION;
    outbox.push(&if is_welcome {
        Welcome::Welcome(backend.about())
    } else {
        Welcome::Unwelcome(Unwelcome::Version { node_speaks: VERSION })
    })?;
    outbox.send_all(socket).await?;
    Ok(is_welcome)
}
