//! `bench lookup`: nanoseconds in the kernel, by BPF_PROG_TEST_RUN.
//!
//! A *decision* is measured with programs that ask what the entrances ask, without affinity, and write nothing, so that they can be
//! repeated ([`SelectBench`]). A *packet* goes through the real program of the device entrance, with its flow and its
//! rewriting. That changes the packet, and the kernel does not put it back between repeats: each packet has a run of its own,
//! and starting and stopping the clock, some tens of nanoseconds, is in the figure.
use crate::cluster::Cluster;
use crate::contender::ContenderError;
use crate::record::{LookupOperation, LookupRound, Shape};
use sheave_bpf::bench_select::{BenchError, SelectBench};
use sheave_bpf::load::Programs;
use sheave_bpf::test_run::test_run;
use sheave_core::{Frontend, Port, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;

/// Packets of one round.
const PACKETS: u32 = 2000;
/// Runs of one round of decisions; each makes 64 (`BENCH_DECISIONS`).
const RUNS: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");
/// At most so many frontends are drawn from: more than any cache holds.
const FRONTENDS_MAX: u32 = 100_000;
/// Clients come from here, one for each flow: nobody has seen them before.
const CLIENTS: u32 = u32::from_be_bytes([11, 0, 0, 0]);
/// No Service has an address from here on.
const STRANGERS: u32 = u32::from_be_bytes([192, 0, 0, 0]);
const IPPROTO_TCP: u8 = 6;
const SYN: u8 = 0x02;

/// What is looked at: programs that are loaded, beside the maps that are pinned below a BPF file system, and what they serve.
pub(crate) struct Lookups<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) bpffs: &'a Path,
    pub(crate) cluster: &'a Cluster,
    pub(crate) shape: Shape,
}

impl Lookups<'_> {
    /// One round.
    pub(crate) fn round(&self, operation: LookupOperation, seed: u64) -> Result<LookupRound, ContenderError> {
        let mut random = fastrand::Rng::with_seed(seed);
        let services = self.shape.services;
        let latency_ns = match operation {
            LookupOperation::HitHot => self.decide(&[self.vip(random.u32(..services))])?,
            LookupOperation::HitRandom => {
                // Every Service, or as many of them as there is room for.
                let every = services.div_ceil(FRONTENDS_MAX).max(1);
                let vips = (0..services / every).map(|nth| self.vip(nth * every));
                self.decide(&vips.collect::<Vec<_>>())?
            }
            LookupOperation::MissHot => self.decide(&[stranger(random.u32(..FRONTENDS_MAX))])?,
            LookupOperation::MissRandom => {
                self.decide(&(0..services.min(FRONTENDS_MAX)).map(stranger).collect::<Vec<_>>())?
            }
            LookupOperation::Packet => self.packets(&mut random)?,
        };
        Ok(LookupRound { latency_ns, instructions: None })
    }

    /// Decides about frontends drawn from these: all of them lead somewhere, or none does.
    fn decide(&self, to: &[SocketAddr]) -> Result<f64, ContenderError> {
        let frontends: Vec<Frontend> = to.iter().map(|addr| frontend(*addr)).collect();
        let room = u32::try_from(frontends.len()).ok().and_then(NonZeroU32::new).ok_or(BenchError::NoKeys)?;
        let mut bench = SelectBench::load(self.bpffs, room)?;
        bench.fill(&frontends)?;
        let cost = bench.cost(RUNS)?;
        let outcomes = cost.decide.outcomes;
        let wanted = if is_stranger(to[0]) { outcomes.no_frontend } else { outcomes.forward };
        let all = outcomes.forward + outcomes.reject + outcomes.no_frontend + outcomes.raced;
        if wanted != all {
            return Err(ContenderError::Decided { wanted, all });
        }
        // Below the noise the drawing of keys may take longer without a decision than with one.
        Ok(cost.net_ns().max(0.0))
    }

    fn packets(&self, random: &mut fastrand::Rng) -> Result<f64, ContenderError> {
        let failed =
            |wrong: String| ContenderError::Map { what: "the program ingress, run on a packet".to_owned(), wrong };
        let program = self.programs.device_fd("ingress").map_err(|error| failed(error.to_string()))?;
        let first = random.u32(..0x00ff_ffff);
        let mut sum = 0.0;
        for nth in 0..PACKETS {
            let to = self.vip(random.u32(..self.shape.services));
            let ran =
                test_run(program, &segment(client(first + nth), to), 1).map_err(|error| failed(error.to_string()))?;
            sum += ran.time.as_secs_f64() * 1e9;
        }
        Ok(sum / f64::from(PACKETS))
    }

    fn vip(&self, service: u32) -> SocketAddr {
        self.cluster.view(service).frontend
    }
}

fn frontend(addr: SocketAddr) -> Frontend {
    let port = Port::new(addr.port()).expect("invariant: nobody dials port 0");
    Frontend { addr: addr.ip(), port, protocol: Protocol::Tcp }
}

fn stranger(nth: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(STRANGERS + nth).into(), 80)
}

fn is_stranger(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V4(v4) if v4.to_bits() >= STRANGERS)
}

fn client(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(CLIENTS + nth % 0x00ff_ffff)
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
