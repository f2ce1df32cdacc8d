//! One listing over netlink, read to its end.
use crate::notice::{NLMSG_DONE, NLMSG_ERROR, errno};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use std::ops::ControlFlow;

const NLMSG_HEADER_LEN: usize = 16;

/// A message of a listing.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// Asks for a listing and reads it to its end. Blocks; the kernel answers at once. A listing that is interrupted by changes is
/// taken as it is.
pub(crate) fn dump(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<Message>> {
    let mut messages = Vec::new();
    each(protocol, kind, body, |kind, payload| {
        messages.push(Message { kind, payload: payload.to_vec() });
        ControlFlow::Continue(())
    })?;
    Ok(messages)
}

/// The same message by message, for listings that are too long to be kept; ends early when told to.
pub(crate) fn each(
    protocol: isize,
    kind: u16,
    body: &[u8],
    mut take: impl FnMut(u16, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let socket = Socket::new(protocol)?;
    socket.send_to(&request(kind, NLM_F_DUMP, body), &SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, from) = socket.recv_from_full()?;
        // Port 0 is the kernel.
        if from.port_number() == 0 && hand_out(&datagram, &mut take)?.is_break() {
            return Ok(());
        }
    }
}

/// One request that lists nothing; an error is the kernel's objection.
pub(crate) fn ask(protocol: isize, kind: u16, body: &[u8]) -> io::Result<()> {
    let socket = Socket::new(protocol)?;
    socket.send_to(&request(kind, NLM_F_ACK, body), &SocketAddr::new(0, 0), 0)?;
    acknowledged(&socket)
}

/// Waits for the answer of the kernel to a request that asks for an acknowledgement.
pub(crate) fn acknowledged(socket: &Socket) -> io::Result<()> {
    loop {
        let (datagram, from) = socket.recv_from_full()?;
        let Ok(message) = NetlinkBuffer::new_checked(&datagram) else { continue };
        if from.port_number() == 0 && message.message_type() == NLMSG_ERROR {
            return match errno(message.payload()) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            };
        }
    }
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(NLMSG_HEADER_LEN + body.len()).expect("invariant: a request is some bytes long");
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence and port: one request a socket.
    request.extend([0; 8]);
    request.extend(body);
    request
}

/// Hands out the messages of a datagram; breaks at the listing's end, or when told to.
fn hand_out(mut datagram: &[u8], take: &mut impl FnMut(u16, &[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
        let payload = message.payload();
        let on = match message.message_type() {
            NLMSG_DONE => ControlFlow::Break(()),
            NLMSG_ERROR => return Err(io::Error::from_raw_os_error(errno(payload))),
            kind => take(kind, payload),
        };
        if on.is_break() {
            return Ok(on);
        }
        let length = (message.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(ControlFlow::Continue(()))
}
