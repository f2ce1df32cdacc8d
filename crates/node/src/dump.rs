//! One listing over netlink, read to its end.
use crate::notice::{NLMSG_DONE, NLMSG_ERROR, errno};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;

const NLMSG_HEADER_LEN: usize = 16;

/// A message of a listing.
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// Asks for a listing and reads it to its end. Blocks; the kernel answers at once. A listing that is interrupted by changes is
/// taken as it is.
pub(crate) fn dump(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<Message>> {
    let socket = Socket::new(protocol)?;
    socket.send_to(&request(kind, body), &SocketAddr::new(0, 0), 0)?;
    let mut messages = Vec::new();
    loop {
        let (datagram, from) = socket.recv_from_full()?;
        // Port 0 is the kernel.
        if from.port_number() == 0 && take(&datagram, &mut messages)? {
            return Ok(messages);
        }
    }
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(NLMSG_HEADER_LEN + body.len()).expect("invariant: a request is some bytes long");
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence and port: one request a socket.
    request.extend([0; 8]);
    request.extend(body);
    request
}

/// Takes the messages of a datagram; true at the listing's end.
fn take(mut datagram: &[u8], messages: &mut Vec<Message>) -> io::Result<bool> {
    while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
        let payload = message.payload();
        match message.message_type() {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(io::Error::from_raw_os_error(errno(payload))),
            kind => messages.push(Message { kind, payload: payload.to_vec() }),
        }
        let length = (message.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(false)
}
