//! How much memory a shape takes: what cannot fit is refused before the run, not by the kernel in the middle of it.
use super::ScenarioFile;
use crate::cluster::{endpoints, node_ports};
use crate::record::{Dataplane, Shape};

/// The memory of the largest shape with every dataplane at once, which is how rounds are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The shape.
    pub shape: Shape,
    /// Bytes, of processes and kernel together; an estimate from above.
    pub bytes: u64,
}

impl Need {
    /// Of the largest shape of a scenario, with these dataplanes.
    #[must_use]
    pub fn of(file: &ScenarioFile, dataplanes: &[Dataplane]) -> Option<Self> {
        let need = |shape| Self { shape, bytes: dataplanes.iter().map(|dataplane| bytes(*dataplane, shape)).sum() };
        file.shapes().into_iter().map(need).max_by_key(|need| need.bytes)
    }
}

/// Bytes of a process that holds the cluster, of its largest tool, and of the rules in the kernel.
fn bytes(dataplane: Dataplane, shape: Shape) -> u64 {
    let rates = Rates::of(dataplane);
    let services = u64::from(shape.services) + u64::from(node_ports(shape));
    rates.fixed + services * rates.service + endpoints(shape) * rates.endpoint
}

struct Rates {
    fixed: u64,
    service: u64,
    endpoint: u64,
}

impl Rates {
    /// Measured at 10,000 Services with 10 backends each (kernel 6.18, iptables 1.8.9, nft 1.0.6), and half as much again.
    fn of(dataplane: Dataplane) -> Self {
        let rates = |fixed_mib: u64, service, endpoint| Self { fixed: fixed_mib << 20, service, endpoint };
        match dataplane {
            Dataplane::SheaveEbpf | Dataplane::SheaveIpvs | Dataplane::Direct => rates(200, 5_000, 800),
            Dataplane::IptablesLegacy | Dataplane::IptablesLegacyPartial => rates(30, 12_000, 12_000),
            Dataplane::IptablesNft | Dataplane::IptablesNftPartial => rates(30, 15_000, 15_000),
            Dataplane::Nftables => rates(30, 20_000, 12_000),
            Dataplane::NftSingleMap => rates(30, 8_000, 4_000),
        }
    }
}

/// What the kernel says is available; `None` where it says nothing.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    crate::usage::meminfo("MemAvailable")
}
