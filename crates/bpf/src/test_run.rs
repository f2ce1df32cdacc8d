//! Runs a program of the device entrance on a packet without a device (`BPF_PROG_TEST_RUN`): for tests, benches, explanations.
use crate::sys::bpf_mut;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

const BPF_PROG_TEST_RUN: u32 = 10;
/// `struct __sk_buff` (include/uapi/linux/bpf.h) up to and with `gso_size`, in words.
const SKB_WORDS: usize = 46;
const SKB_INGRESS_IFINDEX: usize = 9;
const SKB_IFINDEX: usize = 10;
const SKB_DATA_END: usize = 20;
const SKB_GSO_SIZE: usize = 44;
const ETHERNET_HEADER: usize = 14;
/// The packet has a sum that a device made of all of it (`CHECKSUM_COMPLETE`), and the kernel looks whether it is right afterwards
/// (6.11, commit a3cfe84cca28).
const TEST_SKB_CHECKSUM_COMPLETE: u32 = 1 << 2;
/// How much longer than it was a packet may come out: an ICMP error puts headers in front.
const GROWTH_MAX: usize = 256;

/// What a run has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What the program returned: -1 next, 2 drop, 7 redirect.
    pub verdict: i32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Mean time of one run.
    pub time: Duration,
}

/// What a packet has besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The device it comes in or goes out by; 0 = the loopback device.
    pub ifindex: u32,
    /// At egress the device it came in by, where [`takes_ingress_ifindex`]; 0 = the node sends it.
    pub ingress_ifindex: u32,
    /// Bytes of data of each segment it is to be cut into; 0 = it is not.
    pub gso_size: u32,
    /// Whether the device that received it has summed it up (`CHECKSUM_COMPLETE`). The run then fails with `EBADMSG` if the sum is not that of
    /// the packet afterwards. Kernels before 6.11 refuse it with `EINVAL`.
    pub is_summed: bool,
    /// Bytes that stand in the packet's first part, the IP header at least; the others are in pages, as some drivers leave them. 0 = all of
    /// them do. Kernels that do not know of it refuse it with `EINVAL`; 7.3 takes it.
    pub first_part: u32,
}

#[derive(IntoBytes, FromBytes)]
#[repr(C)]
struct TestRun {
    program: u32,
    verdict: i32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    zero: u32,
}

/// Runs `program` on an Ethernet frame that came in by the loopback device, `repeat` times. Later runs see what the first
/// one made of the packet.
///
/// # Errors
/// As bpf(2); a frame shorter than an Ethernet header is `EINVAL`.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<Run> {
    test_run_with(program, packet, repeat, Metadata::default())
}

/// What `program` takes for each packet: every one is run once, as it came in, because a run rewrites it and a repeat would
/// take another way. Starting and stopping the clock is in each time: some tens of nanoseconds, which a packet that takes
/// the shortest way through the program shows.
///
/// # Errors
/// As [`test_run`].
pub fn time_each(program: BorrowedFd<'_>, packets: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Vec<Duration>> {
    packets.into_iter().map(|packet| test_run(program, &packet, 1).map(|run| run.time)).collect()
}

/// Whether this kernel runs programs on packets that came in by another device than they leave by. Before 5.16
/// (kernel commit b238290b965f) `ingress_ifindex` is one of the fields that have to be zero, and a packet always seems to come from here.
///
/// # Errors
/// As [`test_run`].
pub fn takes_ingress_ifindex(program: BorrowedFd<'_>) -> io::Result<bool> {
    const LOOPBACK: u32 = 1;
    let empty = [0; ETHERNET_HEADER];
    // Of an error for any other reason this one is told.
    test_run(program, &empty, 1)?;
    let from = Metadata { ingress_ifindex: LOOPBACK, ..Metadata::default() };
    match test_run_with(program, &empty, 1, from) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        ran => ran.map(|_| true),
    }
}

/// As [`test_run`], of a packet with more to it than its bytes.
///
/// # Errors
/// As [`test_run`]; a device that is not there is `ENODEV`.
pub fn test_run_with(program: BorrowedFd<'_>, packet: &[u8], repeat: u32, metadata: Metadata) -> io::Result<Run> {
    let mut context = [0; SKB_WORDS];
    context[SKB_INGRESS_IFINDEX] = metadata.ingress_ifindex;
    context[SKB_IFINDEX] = metadata.ifindex;
    context[SKB_DATA_END] = metadata.first_part;
    context[SKB_GSO_SIZE] = metadata.gso_size;
    let mut out = vec![0; packet.len() + GROWTH_MAX];
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let mut attr = TestRun {
        program: u32::try_from(program.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
        verdict: 0,
        data_size_in: size(packet)?,
        data_size_out: size(&out)?,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        duration_ns: 0,
        ctx_size_in: size(context.as_bytes())?,
        ctx_size_out: 0,
        ctx_in: context.as_ptr() as u64,
        ctx_out: 0,
        flags: if metadata.is_summed { TEST_SKB_CHECKSUM_COMPLETE } else { 0 },
        cpu: 0,
        batch_size: 0,
        zero: 0,
    };
    bpf_mut(BPF_PROG_TEST_RUN, &mut attr)?;
    out.truncate(usize::try_from(attr.data_size_out).map_err(|_| io::ErrorKind::InvalidData)?);
    Ok(Run { verdict: attr.verdict, packet: out, time: Duration::from_nanos(attr.duration_ns.into()) })
}
