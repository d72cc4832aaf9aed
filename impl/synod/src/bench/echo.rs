//! The echo server: a process that answers every request at once.
//!
//! It speaks the client protocol in the same frames as a node, and does nothing else. So a node can at
//! best be as fast.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener as RawListener};
use std::path::Path;
use std::thread;

use synod_client::Endpoint;
use synod_model::{ReplicaId, Run, SessionId, Slot};
use synod_wire::ClusterId;
use synod_wire::api::{About, Applied};
use synod_wire::buffers::{Inbox, Outbox};
use synod_wire::protocol::{
    Answer, Ask, HANDSHAKE_BYTES_MAX, Hello, ToClient, ToNode, Welcome, message_bytes_max,
};
use tokio::net::{TcpListener, TcpStream};

use super::helper::Helper;
use crate::exit::Exit;
use crate::input;
use crate::output::Output;

const VALUE_BYTES_MAX: u64 = 1 << 20;

/// The process, seen from the benchmark.
pub(super) struct Echo {
    process: Helper,
    /// Where it takes clients.
    pub(super) endpoint: Endpoint,
    /// Where it sends back every byte.
    pub(super) raw: Endpoint,
}

impl Echo {
    pub(super) async fn start(program: &Path) -> anyhow::Result<Self> {
        let mut process = Helper::start(program, &["bench-echo"])?;
        let (endpoint, raw) = (process.endpoint().await?, process.endpoint().await?);
        Ok(Self { process, endpoint, raw })
    }

    pub(super) async fn stop(self) {
        self.process.stop().await;
    }
}

/// The process itself. It ends with its standard input.
pub(crate) async fn echo() -> anyhow::Result<Exit> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let raw = RawListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut output = Output::new();
    output.line(listener.local_addr()?.port())?;
    output.line(raw.local_addr()?.port())?;
    output.flush()?;
    thread::spawn(move || echo_bytes(&raw));
    let serving = async {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that misbehaves only ends its own connection.
            tokio::spawn(async { drop(answer(socket).await) });
        }
    };
    tokio::select! {
        () = input::ended() => {}
        () = serving => {}
    }
    Ok(Exit::Done)
}

/// Sends every byte back, as directly as it can be done.
fn echo_bytes(listener: &RawListener) {
    while let Ok((mut socket, _)) = listener.accept() {
        thread::spawn(move || {
            let _ = socket.set_nodelay(true);
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = socket.read(&mut bytes) {
                if socket.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
        });
    }
}

async fn answer(mut socket: TcpStream) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut inbox = Inbox::new(HANDSHAKE_BYTES_MAX);
    let mut outbox = Outbox::new(HANDSHAKE_BYTES_MAX);
    while inbox.take::<Hello>()?.is_none() {
        if inbox.fill(&mut socket).await? == 0 {
            return Ok(());
        }
    }
    outbox.push(&Welcome::Welcome(About {
        cluster_id: ClusterId([0; 32]),
        replica: ReplicaId(0),
        run: Run(1),
        value_bytes_max: VALUE_BYTES_MAX,
        session_requests_max: 1024,
    }))?;
    outbox.send_all(&mut socket).await?;
    inbox.allow(message_bytes_max(VALUE_BYTES_MAX));
    outbox.allow(message_bytes_max(VALUE_BYTES_MAX));
    let mut slot = 0;
    while inbox.fill(&mut socket).await? > 0 {
        while let Some(ToNode { id, ask }) = inbox.take()? {
            slot += 1;
            let answer = match ask {
                Ask::OpenSession => Answer::Opened(SessionId(slot)),
                Ask::Request(_) => Answer::Done(Applied::with_empty_response(Slot(slot))),
                Ask::EndSession(_) => Answer::Ended(Slot(slot)),
                _ => Answer::ReadAt(Slot(slot)),
            };
            outbox.push(&ToClient { id, answer })?;
        }
        outbox.send_all(&mut socket).await?;
    }
    Ok(())
}
