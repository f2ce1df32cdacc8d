//! `bench lookup`: nanoseconds for a packet in the kernel, by BPF_PROG_TEST_RUN.
//!
//! The kernel times the program alone. A program that translates a packet changes it, and the kernel does not put it back
//! between repeats, so each packet that is translated has a run of its own; starting and stopping the clock is then in the
//! figure (some tens of nanoseconds). A packet that is passed is not changed: hot ones are repeated within one run.
use crate::cluster::Cluster;
use crate::contender::ContenderError;
use crate::record::{LookupOperation, LookupRound, Shape};
use sheave_bpf::load::Programs;
use sheave_bpf::test_run::test_run;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Runs of one round, each with a packet of its own.
const PACKETS: u32 = 2000;
/// Repeats within one run of a packet that stays as it is.
const REPEATS: u32 = 100_000;
/// Clients come from here, one for each flow: nobody has seen them before.
const CLIENTS: u32 = u32::from_be_bytes([11, 0, 0, 0]);
/// No Service has an address from here on.
const STRANGERS: u32 = u32::from_be_bytes([192, 168, 0, 0]);
const IPPROTO_TCP: u8 = 6;
const SYN: u8 = 0x02;

/// Why an operation cannot be measured with the programs as they are; `None` for those that can.
pub(crate) fn lacks(operation: LookupOperation) -> Option<&'static str> {
    match operation {
        LookupOperation::HitHot | LookupOperation::HitRandom => {
            Some("there is no program that decides for a frontend without translating the packet")
        }
        LookupOperation::MissHot | LookupOperation::MissRandom | LookupOperation::Packet => None,
    }
}

/// One round.
pub(crate) fn round(
    programs: &Programs,
    cluster: &Cluster,
    shape: Shape,
    operation: LookupOperation,
    seed: u64,
) -> Result<LookupRound, ContenderError> {
    let mut random = fastrand::Rng::with_seed(seed);
    let stranger = |n: u32| SocketAddr::new(Ipv4Addr::from_bits(STRANGERS + n % 0xffff).into(), 80);
    let first = random.u32(..0x00ff_ffff);
    let time = match operation {
        LookupOperation::MissHot => run(programs, &segment(client(first), stranger(first)), REPEATS)?,
        LookupOperation::MissRandom => {
            mean(PACKETS, |_| run(programs, &segment(client(random.u32(..)), stranger(random.u32(..))), 1))?
        }
        LookupOperation::HitHot | LookupOperation::HitRandom | LookupOperation::Packet => {
            let mut vip = || cluster.view(random.u32(..shape.services)).frontend;
            let frontends: Vec<SocketAddr> = (0..PACKETS).map(|_| vip()).collect();
            mean(PACKETS, |n| run(programs, &segment(client(first + n), frontends[n as usize]), 1))?
        }
    };
    Ok(LookupRound { latency_ns: time, instructions: None })
}

fn mean(count: u32, mut run: impl FnMut(u32) -> Result<f64, ContenderError>) -> Result<f64, ContenderError> {
    let sum: Result<f64, _> = (0..count).map(&mut run).sum();
    Ok(sum? / f64::from(count))
}

/// Nanoseconds of one repeat.
fn run(programs: &Programs, packet: &[u8], repeats: u32) -> Result<f64, ContenderError> {
    let failed =
        |wrong: String| ContenderError::Map { what: "running the program ingress on a packet".to_owned(), wrong };
    let program = programs.device_fd("ingress").map_err(|error| failed(error.to_string()))?;
    let run = test_run(program, packet, repeats).map_err(|error| failed(error.to_string()))?;
    Ok(nanoseconds(run.time))
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENTS + n % 0x00ff_ffff)
}

/// The first segment of a connection. Nobody verifies its checksums; updating them costs the same.
fn segment(src: Ipv4Addr, dst: SocketAddr) -> Vec<u8> {
    const SRC_PORT: u16 = 40_000;
    let IpAddr::V4(dst_addr) = dst.ip() else { unreachable!("invariant: the cluster is IPv4") };
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0]);
    frame.extend(src.octets());
    frame.extend(dst_addr.octets());
    frame.extend(SRC_PORT.to_be_bytes());
    frame.extend(dst.port().to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}
