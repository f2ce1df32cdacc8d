//! Follows the links over one route netlink socket.
//!
//! Listing and notifications share the socket, so the kernel puts them into one order and nothing falls between the two.
//! When it had to drop notifications (ENOBUFS), the links are listed again.
use crate::notice::{Notice, notices};
use crate::table::{LinkChange, LinkTable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use std::io;
use tokio::sync::mpsc;

/// include/uapi/linux/rtnetlink.h: the group RTNLGRP_LINK as a bit.
const RTMGRP_LINK: u32 = 1;
const ENOBUFS: i32 = 105;
/// Changes that wait for their reader. Behind them the kernel's buffer fills, and after that links are listed again.
const BACKLOG: usize = 256;

/// The links cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket cannot be opened.
    #[error(
        "cannot open a route netlink socket: {0}; the agent needs the host's network namespace and a tokio runtime"
    )]
    Open(#[source] io::Error),
    /// The socket failed.
    #[error("route netlink socket failed: {0}; the links have to be followed anew")]
    Socket(#[source] io::Error),
    /// The kernel refuses to list.
    #[error("the kernel does not list the links: {0}; the links have to be followed anew")]
    List(#[source] io::Error),
}

/// The changes of the links, in order.
pub struct LinkWatch {
    changes: mpsc::Receiver<Result<LinkChange, LinkError>>,
}

impl LinkWatch {
    /// The next change: at first each link that is there, then [`LinkChange::Settled`], then what happens. After an error
    /// comes `None`.
    ///
    /// # Errors
    /// The socket is of no use any more; watch again.
    pub async fn next(&mut self) -> Option<Result<LinkChange, LinkError>> {
        self.changes.recv().await
    }
}

/// Follows the links of the calling thread's network namespace, from a task of the current tokio runtime. Ends when the
/// result is dropped.
///
/// # Errors
/// The socket cannot be opened.
pub fn watch_links() -> Result<LinkWatch, LinkError> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(LinkError::Open)?;
    socket.socket_mut().bind(&SocketAddr::new(0, RTMGRP_LINK)).map_err(LinkError::Open)?;
    let (sink, changes) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let mut follower = Follower { socket, table: LinkTable::default(), listing: Listing::Idle };
        tokio::select! {
            () = sink.closed() => {}
            Err(error) = follower.follow(&sink) => {
                let _ = sink.send(Err(error)).await;
            }
        }
    });
    Ok(LinkWatch { changes })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    Idle,
    Running,
    /// Running, and not to be trusted: a socket has one listing at a time (EBUSY), so the next one waits for its end.
    Stale,
}

struct Follower {
    socket: TokioSocket,
    table: LinkTable,
    listing: Listing,
}

impl Follower {
    async fn follow(&mut self, sink: &mpsc::Sender<Result<LinkChange, LinkError>>) -> Result<(), LinkError> {
        self.list().await?;
        loop {
            let changes = match self.socket.recv_from_full().await {
                // Port 0 is the kernel.
                Ok((datagram, from)) if from.port_number() == 0 => self.digest(&datagram).await?,
                Ok(_) => continue,
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    tracing::info!("link notifications were lost; listing the links again");
                    self.list().await?;
                    continue;
                }
                Err(error) => return Err(LinkError::Socket(error)),
            };
            for change in changes {
                if sink.send(Ok(change)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn digest(&mut self, datagram: &[u8]) -> Result<Vec<LinkChange>, LinkError> {
        let mut changes = Vec::new();
        for notice in notices(datagram) {
            match notice {
                Notice::Link(link) => changes.extend(self.table.put(link)),
                Notice::Gone(index) => changes.extend(self.table.remove(index)),
                Notice::Listed { interrupted } => {
                    let whole = self.listing == Listing::Running && !interrupted;
                    self.listing = Listing::Idle;
                    if whole {
                        changes.extend(self.table.end_listing());
                    } else {
                        self.list().await?;
                    }
                }
                Notice::Failed(errno) => return Err(LinkError::List(io::Error::from_raw_os_error(errno))),
            }
        }
        Ok(changes)
    }

    async fn list(&mut self) -> Result<(), LinkError> {
        if self.listing != Listing::Idle {
            self.listing = Listing::Stale;
            return Ok(());
        }
        self.table.begin_listing();
        self.listing = Listing::Running;
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0)).await.map_err(LinkError::Socket)?;
        Ok(())
    }
}
