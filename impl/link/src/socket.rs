//! Sockets that hide little in the kernel's buffers.
//!
//! On loopback, the kernel would hold megabytes for each connection, and a sender would notice late, or
//! never, that its link is slow. So the buffers of the link's own sockets are small. The link also asks
//! for segments as on Ethernet: by their size the kernel of the sender chooses its first send buffer,
//! which would otherwise have 2.5 MB.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What the kernel holds for a socket, each way: 16 KiB, which the kernel doubles for its own needs.
/// The kernel of the sender sizes its send buffer by how much it had on its way, and so by this.
const KERNEL_BYTES: usize = 16 << 10;

/// The payload of a segment on Ethernet.
const SEGMENT_BYTES: u32 = 1448;

/// How many connections may wait to be accepted: 64.
const BACKLOG: i32 = 64;

/// Listens on any free port of loopback.
pub(crate) fn listen() -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // What is accepted has the options of the listener.
    prepare(&SockRef::from(&socket))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

pub(crate) async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) async fn dial(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    prepare(&SockRef::from(&socket))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_recv_buffer_size(KERNEL_BYTES)?;
    socket.set_send_buffer_size(KERNEL_BYTES)?;
    socket.set_tcp_mss(SEGMENT_BYTES)
}

/// Whether the other end has closed the connection, though there may be bytes to read.
pub(crate) async fn is_closed(stream: &TcpStream) -> bool {
    stream.ready(Interest::READABLE).await.is_ok_and(Ready::is_read_closed)
}

/// Closes the connection so that the other end finds it broken.
pub(crate) fn reset(stream: TcpStream) {
    // If this fails, the other end gets a regular close instead; it is over either way.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
