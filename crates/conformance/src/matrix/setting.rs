//! The surroundings of cells, as data.
use sheave_agent::config::SocketLb;
use sheave_lab::PodNetwork;
use std::fmt;

/// Smaller than what clients know of, larger than what IPv6 needs.
const OVERLAY_MTU: u32 = 1400;

/// What the netfilter rules of the node are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// There are none.
    Nothing,
    /// Bridged packets pass iptables rules too, as most nodes have it (`bridge-nf-call-iptables`).
    BridgeCalls,
    /// Only what goes between pods and clients by their own addresses is forwarded, as network policies need it.
    OwnAddresses,
}

/// One world: a pod network, what the socket entrance serves, and what else is peculiar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// How pods are wired.
    pub network: PodNetwork,
    /// Which sockets are served at connect().
    pub socket_lb: SocketLb,
    /// What netfilter does.
    pub filter: Filter,
}

const fn setting(network: PodNetwork, socket_lb: SocketLb, filter: Filter) -> Setting {
    Setting { network, socket_lb, filter }
}

const OVERLAY: PodNetwork = PodNetwork::Overlay { mtu: OVERLAY_MTU };

/// Every pod network with and without the socket entrance; the rest once each.
const SETTINGS: [Setting; 9] = [
    setting(PodNetwork::Routed, SocketLb::All, Filter::Nothing),
    setting(PodNetwork::Routed, SocketLb::Host, Filter::Nothing),
    setting(PodNetwork::Routed, SocketLb::Off, Filter::Nothing),
    setting(PodNetwork::Routed, SocketLb::Off, Filter::OwnAddresses),
    setting(PodNetwork::Bridge, SocketLb::All, Filter::Nothing),
    setting(PodNetwork::Bridge, SocketLb::Off, Filter::Nothing),
    setting(PodNetwork::Bridge, SocketLb::Off, Filter::BridgeCalls),
    setting(OVERLAY, SocketLb::All, Filter::Nothing),
    setting(OVERLAY, SocketLb::Off, Filter::Nothing),
];

/// All of them.
#[must_use]
pub fn settings() -> &'static [Setting] {
    &SETTINGS
}

impl fmt::Display for Setting {
    /// `bridge/off`, `routed+policy/off`: a part of the names of its cells.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = match self.network {
            PodNetwork::Routed => "routed",
            PodNetwork::Bridge => "bridge",
            PodNetwork::Overlay { .. } => "overlay",
        };
        let filter = match self.filter {
            Filter::Nothing => "",
            Filter::BridgeCalls => "+bridge-nf",
            Filter::OwnAddresses => "+policy",
        };
        let socket_lb = match self.socket_lb {
            SocketLb::All => "all",
            SocketLb::Host => "host",
            SocketLb::Off => "off",
        };
        write!(f, "{network}{filter}/{socket_lb}")
    }
}
