//! A node that nobody is connected to: devices in a namespace of its own, for programs that are given packets by hand.
use crate::rtnl::{Request, Rtnl, RtnlError};
use crate::sandbox::{Sandbox, SandboxError};
use crate::sysctl::{self, Role, SysctlError};
use crate::wire::{everything, link_route, up};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Indices of devices; those of their other ends are above. The kernel gives lower ones to tunnels it makes by itself.
const FIRST_INDEX: u32 = 100;
const PEERS: u32 = 10_000;
const LO_INDEX: u32 = 1;

/// The stand could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StandError {
    /// No namespace.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A device or route was refused.
    #[error(transparent)]
    Rtnl(#[from] RtnlError),
    /// It does not forward.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// A device of a stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// The namespaces, with a BPF file system, and the devices in them. Forwarding is on.
pub struct Stand {
    sandbox: Sandbox,
    rtnl: Rtnl,
    devices: u16,
}

impl Stand {
    /// Without a device yet.
    ///
    /// # Errors
    /// The process may not create namespaces or mount.
    pub fn new(name: &str) -> Result<Self, StandError> {
        let sandbox = Sandbox::with_bpffs(name)?;
        sandbox.run(|| sysctl::apply(Role::Router))??;
        let mut rtnl = Rtnl::open(&sandbox)?;
        rtnl.apply(vec![up("lo", LO_INDEX)])?;
        Ok(Self { sandbox, rtnl, devices: 0 })
    }

    /// Where the devices are: threads that test programs with them run there.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Adds a device that is up and has a carrier; what leaves by it is lost.
    ///
    /// # Errors
    /// The kernel refuses the name.
    pub fn add_device(&mut self, name: &str) -> Result<Device, StandError> {
        let [high, low] = self.devices.to_be_bytes();
        let index = FIRST_INDEX + u32::from(self.devices);
        let mac = [0x02, 0x5e, 0, 2, high, low];
        self.devices += 1;
        let peer = LinkMessageBuilder::<LinkUnspec>::new().name(&format!("peer{index}")).index(PEERS + index).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .index(index)
            .address(mac.to_vec())
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.rtnl.apply(vec![Request::new_link(format!("veth {name}"), pair), up("peer", PEERS + index)])?;
        self.rtnl.wait_for_link(index)?;
        Ok(Device { index, mac })
    }

    /// Routes everything out by a device.
    ///
    /// # Errors
    /// The kernel refuses the route.
    pub fn route_by(&mut self, device: Device) -> Result<(), StandError> {
        let families: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let usable = families.into_iter().filter(|family| family.is_ipv4() || sysctl::ipv6_available());
        let routes = usable.map(|family| link_route(everything(family), device.index)).collect();
        Ok(self.rtnl.apply(routes)?)
    }
}
