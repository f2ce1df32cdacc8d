//! How much memory a size takes: what cannot fit is left out before the run, not ended by the kernel in the middle of it.
use crate::cluster::{endpoints, node_ports};
use crate::record::{Dataplane, Shape};

/// Dataplanes that fit side by side, as they have to for rounds in turns, and those for which there is no room beside them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// In the order given.
    pub fits: Vec<Dataplane>,
    /// In the order given, each with the bytes that it would take.
    pub left_out: Vec<(Dataplane, u64)>,
}

impl Room {
    /// At one size, with so many bytes available. Those that take least come first.
    #[must_use]
    pub fn of(shape: Shape, dataplanes: &[Dataplane], available: u64) -> Self {
        let mut by_need = dataplanes.to_vec();
        by_need.sort_by_key(|dataplane| Need::of(*dataplane, shape).alone());
        let (mut resident, mut tool, mut fits) = (0_u64, 0_u64, Vec::new());
        for dataplane in by_need {
            let need = Need::of(dataplane, shape);
            let (all_resident, largest_tool) = (resident + need.resident, tool.max(need.tool));
            if all_resident + largest_tool <= available {
                (resident, tool) = (all_resident, largest_tool);
                fits.push(dataplane);
            }
        }
        let (fits, left_out): (Vec<_>, Vec<_>) = dataplanes.iter().copied().partition(|one| fits.contains(one));
        let with_need = |dataplane| (dataplane, Need::of(dataplane, shape).alone());
        Self { fits, left_out: left_out.into_iter().map(with_need).collect() }
    }
}

/// Bytes; an estimate from above.
struct Need {
    /// Of the process that holds the cluster, and of the rules in the kernel.
    resident: u64,
    /// Of its largest tool. Only one of all runs at a time.
    tool: u64,
}

impl Need {
    /// Half as much again as was seen at 1,000 to 10,000 Services with 1 to 10 backends each (kernel 6.18, iptables 1.8.9, nft
    /// 1.0.6), where the growth is linear.
    fn of(dataplane: Dataplane, shape: Shape) -> Self {
        let services = u64::from(shape.services) + u64::from(node_ports(shape));
        let endpoints = endpoints(shape);
        let need = |fixed_mib: u64, resident: u64, tool: u64| Self {
            resident: (fixed_mib << 20) + (services + endpoints) * resident,
            tool: (services + endpoints) * tool,
        };
        match dataplane {
            Dataplane::SheaveEbpf | Dataplane::SheaveEbpfDevice | Dataplane::SheaveIpvs => need(180, 1_500, 0),
            Dataplane::Direct => need(30, 1_500, 0),
            Dataplane::IptablesLegacy | Dataplane::IptablesLegacyPartial => need(30, 3_500, 6_000),
            Dataplane::IptablesNft | Dataplane::IptablesNftPartial => need(30, 4_500, 9_000),
            Dataplane::Nftables => need(30, 3_000, 27_000),
            Dataplane::NftSingleMap => need(30, 1_500, 10_000),
        }
    }

    fn alone(&self) -> u64 {
        self.resident + self.tool
    }
}

/// What the kernel says is available; `None` where it says nothing.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    crate::usage::meminfo("MemAvailable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Backends;

    #[test]
    fn what_takes_least_stays_and_what_does_not_fit_beside_it_is_left_out() {
        let all = [Dataplane::Nftables, Dataplane::SheaveEbpf, Dataplane::IptablesLegacy];
        let shape = |services| Shape::new(services, Backends::Each(10));
        for (services, available_gib, want) in [
            (1000, 4, &all[..]),
            (100_000, 64, &all[..]),
            (100_000, 20, &[Dataplane::SheaveEbpf, Dataplane::IptablesLegacy]),
            (100_000, 2, &[Dataplane::SheaveEbpf]),
            (100_000, 1, &[]),
        ] {
            let room = Room::of(shape(services), &all, available_gib << 30);
            assert_eq!(room.fits, want, "{services} Services in {available_gib} GiB");
            assert_eq!(room.left_out.len(), all.len() - want.len());
        }
    }
}
