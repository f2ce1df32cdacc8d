//! Whether a program at a cgroup sees what a process connects to: proved with a connect(), since a mount inside a container may
//! look like the root of the hierarchy and be none.
//!
//! The program knows one address of loopback that nobody else dials and sends it to another one. It is attached for a moment,
//! beside whatever stands there, by a link that goes with this process.
use crate::link::Link;
use crate::object::owned;
use crate::sys::bpf;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes};

/// What the program knows: loopback as well, so that nothing leaves the node should it not be seen.
const DIALLED: Ipv4Addr = Ipv4Addr::new(127, 83, 72, 86);
const LISTENING: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Loopback answers at once, unless a firewall drops it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: u32 = 5;
const PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_INET4_CONNECT: u32 = 10;
/// `user_ip4` of `struct bpf_sock_addr`, in network order.
const USER_IP4: i16 = 4;

/// It could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The cgroup.
    #[error("cannot open the cgroup {path}: {source}")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program.
    #[error("cannot load a program for connect(): {0}")]
    Load(io::Error),
    /// The link. `EPERM` beside a program that was attached without BPF_F_ALLOW_MULTI.
    #[error("cannot attach a program to {path}: {source}")]
    Attach {
        /// The cgroup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Loopback.
    #[error("cannot connect on loopback: {0}")]
    Loopback(io::Error),
    /// Something else has answered.
    #[error("{DIALLED} answers by itself")]
    Answered,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

/// Whether a connect() of this process is seen by a program at `cgroup`, which is so for the cgroup it is in and all above.
///
/// # Errors
/// It could not be tried, which says nothing about the cgroup.
pub fn reaches_this_process(cgroup: &Path) -> Result<bool, ReachError> {
    let listener = TcpListener::bind((LISTENING, 0)).map_err(ReachError::Loopback)?;
    let port = listener.local_addr().map_err(ReachError::Loopback)?.port();
    if answers(port)? {
        return Err(ReachError::Answered);
    }
    let directory = File::open(cgroup).map_err(|source| ReachError::Cgroup { path: cgroup.to_owned(), source })?;
    let program = load().map_err(ReachError::Load)?;
    let target = u32::try_from(directory.as_raw_fd()).expect("invariant: an open descriptor is not negative");
    let link = Link::create(program.as_fd(), target, CGROUP_INET4_CONNECT);
    let link = link.map_err(|source| ReachError::Attach { path: cgroup.to_owned(), source })?;
    let answered = answers(port);
    // Dropping it does the same a little later.
    let _gone_with_us = link.detach();
    answered
}

fn answers(port: u16) -> Result<bool, ReachError> {
    match TcpStream::connect_timeout(&SocketAddr::new(DIALLED.into(), port), TIMEOUT) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(ReachError::Loopback(error)),
    }
}

fn load() -> io::Result<OwnedFd> {
    let instructions = program();
    let mut name = [0; 16];
    name[..12].copy_from_slice(b"sheave_check");
    let attr = ProgLoad {
        kind: PROG_TYPE_CGROUP_SOCK_ADDR,
        instruction_count: u32::try_from(instructions.len()).expect("invariant: a handful"),
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
        ifindex: 0,
        expected_attach_type: CGROUP_INET4_CONNECT,
    };
    bpf(BPF_PROG_LOAD, &attr).map(owned)
}

/// `if (ctx->user_ip4 == DIALLED) ctx->user_ip4 = LISTENING; return 1;`, in the encoding of RFC 9669.
fn program() -> [u64; 6] {
    let word = |addr: Ipv4Addr| i32::from_ne_bytes(addr.octets());
    [
        instruction(0x61, 2, 1, USER_IP4, 0),        // r2 = *(u32 *)(r1 + USER_IP4)
        instruction(0x56, 2, 0, 2, word(DIALLED)),   // if w2 != DIALLED goto +2
        instruction(0xb4, 2, 0, 0, word(LISTENING)), // w2 = LISTENING
        instruction(0x63, 1, 2, USER_IP4, 0),        // *(u32 *)(r1 + USER_IP4) = r2
        instruction(0xb7, 0, 0, 0, 1),               // r0 = 1
        instruction(0x95, 0, 0, 0, 0),               // exit
    ]
}

fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([opcode, registers(destination, source), o0, o1, i0, i1, i2, i3])
}

/// Two registers of four bits each, the destination's in the low ones on a little-endian machine.
fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source }
}
