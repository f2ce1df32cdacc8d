//! A sandbox that answers for whole networks: every address of them is its own.
use crate::rtnl::{Rtnl, RtnlError};
use crate::sandbox::Sandbox;
use crate::wire;
use ipnet::IpNet;
use std::net::IpAddr;

impl Sandbox {
    /// Makes every address of the networks the sandbox's own: whoever listens on the wildcard address there answers for all
    /// of them (the kernel's "AnyIP"), so one listener stands for any number of pods.
    ///
    /// # Errors
    /// The kernel refuses, or the machine has no thread left.
    pub fn answer_for(&self, networks: &[IpNet]) -> Result<(), RtnlError> {
        let own = networks.iter().copied().map(wire::own);
        Rtnl::open(self)?.apply([wire::loopback_up()].into_iter().chain(own).collect())
    }

    /// As [`Sandbox::answer_for`], and the sandbox itself sends from `addr`: whatever it sends to the networks comes back to
    /// it, and no other namespace is needed.
    ///
    /// # Errors
    /// As [`Sandbox::answer_for`].
    pub fn talk_to_itself(&self, addr: IpAddr, networks: &[IpNet]) -> Result<(), RtnlError> {
        Rtnl::open(self)?.apply(vec![wire::loopback_up(), wire::loopback_address(addr)])?;
        self.answer_for(networks)
    }

    /// Makes the sandbox a router with one device, the loopback one, behind which the IPv4 networks are.
    ///
    /// # Errors
    /// The kernel refuses, or the machine has no thread left.
    pub fn route_by_loopback(&self, networks: &[IpNet]) -> Result<(), RtnlError> {
        let routes = networks.iter().copied().map(wire::by_loopback);
        Rtnl::open(self)?.apply([wire::loopback_up()].into_iter().chain(routes).collect())
    }
}
