//! One connection through a link: from the process that dials a door to the one behind it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::bottleneck::Piece;
use crate::line::PIECE_BYTES_MAX;
use crate::socket;
use crate::way::{Flow, Way};

/// The connection broke, or its end was dropped: both ends find it broken.
struct Broken;

/// Carries one connection to its end. If this is dropped, both ends find it broken.
pub(crate) async fn carry(near: TcpStream, target: SocketAddr, there: &Arc<Way>, back: &Arc<Way>) {
    let mut near = Connection(Some(near));
    let Some(stream) = &mut near.0 else { return };
    there.whole().await;
    back.whole().await;
    // The dialer may have gone while the link was cut. The other side never hears of it.
    let is_gone = tokio::select! {
        biased;
        is_closed = socket::is_closed(stream) => is_closed,
        () = std::future::ready(()) => false,
    };
    if is_gone {
        return;
    }
    // The first packet, and its answer.
    there.cross().await;
    let Ok(far) = socket::dial(target).await else {
        return;
    };
    back.cross().await;
    let mut far = Connection(Some(far));
    let Some(far_stream) = &mut far.0 else { return };
    if join(stream, far_stream, &Flow::new(there), &Flow::new(back)).await.is_ok() {
        near.close();
        far.close();
    }
}

/// A socket whose other end finds it broken, unless it was closed.
struct Connection(Option<TcpStream>);

impl Connection {
    fn close(&mut self) {
        self.0 = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            socket::reset(stream);
        }
    }
}

/// Carries both directions, until both have ended or one end finds the connection broken.
async fn join(
    near: &mut TcpStream,
    far: &mut TcpStream,
    there: &Flow,
    back: &Flow,
) -> Result<(), Broken> {
    let (from_near, to_near) = near.split();
    let (from_far, to_far) = far.split();
    let near_ends = send(from_near, there);
    let far_ends = send(from_far, back);
    tokio::try_join!(
        async {
            near_ends.await;
            Ok(())
        },
        async {
            far_ends.await;
            Ok(())
        },
        receive(there, to_far, back),
        receive(back, to_near, there),
    )?;
    Ok(())
}

/// Reads what a process sends, as far as there is room for it.
async fn send(mut from: ReadHalf<'_>, flow: &Flow) {
    let mut buffer = vec![0; PIECE_BYTES_MAX];
    loop {
        let room = flow.room().await;
        let piece = match from.read(&mut buffer[..room]).await {
            Ok(0) => Piece::End,
            Ok(bytes) => Piece::Bytes(buffer[..bytes].to_vec()),
            Err(_) => Piece::Reset,
        };
        let is_last = !matches!(piece, Piece::Bytes(_));
        flow.put(piece);
        if is_last {
            return;
        }
    }
}

/// Writes what arrives for a process. If the process takes nothing any more, its answer to that crosses
/// the link, and breaks the connection.
async fn receive(flow: &Flow, mut to: WriteHalf<'_>, back: &Flow) -> Result<(), Broken> {
    loop {
        match flow.take().await {
            Piece::Bytes(bytes) => {
                if to.write_all(&bytes).await.is_err() {
                    back.cross().await;
                    return Err(Broken);
                }
                flow.written(bytes.len());
            }
            Piece::End => {
                // It fails if the process has closed its end as well. Then there is nothing more to do.
                let _ = to.shutdown().await;
                return Ok(());
            }
            Piece::Reset => return Err(Broken),
        }
    }
}
