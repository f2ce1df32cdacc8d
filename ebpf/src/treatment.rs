//! What becomes of a flow's first packet at a device: who dials which kind of frontend (the table of `core::treatment`).
//!
//! | frontend | policy | source | set | masquerade |
//! |----------|--------|--------|-----|------------|
//! | ClusterIP | internal | pod of this node, or no detector | of the policy | no (R1) |
//! | ClusterIP | internal | anything else | of the policy | yes (R1) |
//! | other | external Cluster | any | Cluster | yes (R2) |
//! | other | external Local | pod of this node | Cluster | no (E6, R3) |
//! | other | external Local | the node | Cluster | yes (E6, R3) |
//! | other | external Local | outside | Local | no (E5, R3) |
//!
//! With masqueradeAll everything to a ClusterIP is masqueraded, and so is what goes to its own source (R4).
use crate::family::{Family, Tuple};
use crate::select::{Chosen, Decision, Dialled, Set, dialled, pick};
use crate::sys::maps::{self, Rules};
use sheave_abi::{
    ADDR_OWN, DEVICE_PODS, FRONTEND_CLUSTER_IP, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT, RULES_MASQUERADE_ALL,
    RULES_PODS_INTERFACE, RULES_PODS_PREFIX, SERVICE_EXTERNAL_LOCAL, SERVICE_INTERNAL_LOCAL, SERVICE_RESTRICTED,
};
use zerocopy::FromZeros;

/// What is to become of it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Translate it to the backend chosen.
    Forward,
    /// Refuse it (E11, A2).
    Reject,
    /// Drop it: no usable endpoint on this node (E4, E5).
    NoLocalEndpoint,
    /// Drop it: its source may not dial this address (R8).
    SourceRange,
    /// The set changed on every try.
    Raced,
    /// Addressed to the node itself.
    Own,
    /// Not addressed to a frontend.
    Nothing,
}

impl Verdict {
    /// The verdict of a number that one was made.
    #[inline(always)]
    pub fn numbered(number: u8) -> Self {
        const ALL: [Verdict; 6] = [
            Verdict::Forward,
            Verdict::Reject,
            Verdict::NoLocalEndpoint,
            Verdict::SourceRange,
            Verdict::Raced,
            Verdict::Own,
        ];
        ALL.into_iter().find(|verdict| *verdict as u8 == number).unwrap_or(Verdict::Nothing)
    }
}

/// Where a flow comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    LocalPod,
    Node,
    Outside,
}

/// Decides a packet that has no flow and came in by `device`; 0 = the node sends it. Whatever becomes of it, `chosen` says whose frontend it
/// dials; 0 = nobody's.
#[inline(never)]
pub fn decide<F: Family>(key: &F::FlowKey, device: u32, chosen: &mut Chosen<F::Addr>) -> Verdict {
    let Tuple { src, dst, dst_port, protocol, .. } = F::tuple(key);
    let (service, kind) = match dialled::<F>(&dst, dst_port, protocol) {
        // Loopback's NodePorts are for the node's own sockets: no device has a packet to it that did not come from outside (A6).
        Dialled::Frontend { kind: FRONTEND_NODE_PORT, .. } if F::is_loopback(&dst) => return Verdict::Own,
        Dialled::Frontend { service, kind } => (service, kind),
        Dialled::Claimed => return Verdict::Reject,
        Dialled::Own => return Verdict::Own,
        Dialled::Nothing => return Verdict::Nothing,
    };
    chosen.service = service;
    // A frontend is published after its Service.
    let Some(held) = maps::service(service) else { return Verdict::Reject };
    let flags = held.flags();
    if kind == FRONTEND_LOAD_BALANCER && flags & SERVICE_RESTRICTED != 0 && !F::is_in_range(service, &src) {
        return Verdict::SourceRange;
    }
    // An array of one: it is always there.
    let Some(rules) = maps::rules() else { return Verdict::Nothing };
    let source = source::<F>(&src, rules, device);
    let (set, masquerade) = treat(kind, flags, source, rules.flags(), rules.flags() & F::DETECTS != 0);
    // The node is one client, whatever its source is going to be, as at the socket entrance (E10).
    let client = if source == Source::Node { F::Addr::new_zeroed() } else { src };
    match pick::<F>(service, held, set, Some(&client), chosen) {
        Decision::Forward => {
            chosen.masquerade = masquerade || chosen.addr == src;
            Verdict::Forward
        }
        Decision::Reject => Verdict::Reject,
        Decision::Drop => Verdict::NoLocalEndpoint,
        Decision::Raced => Verdict::Raced,
    }
}

/// The table above.
#[inline(always)]
fn treat(kind: u8, flags: u32, source: Source, rules: u32, detects: bool) -> (Set, bool) {
    if kind == FRONTEND_CLUSTER_IP {
        let set = if flags & SERVICE_INTERNAL_LOCAL != 0 { Set::Local } else { Set::Cluster };
        return (set, rules & RULES_MASQUERADE_ALL != 0 || (detects && source != Source::LocalPod));
    }
    if flags & SERVICE_EXTERNAL_LOCAL == 0 {
        return (Set::Cluster, true);
    }
    match source {
        Source::LocalPod => (Set::Cluster, false),
        Source::Node => (Set::Cluster, true),
        Source::Outside => (Set::Local, false),
    }
}

/// The detector is asked first: a bridge's own address inside the pod CIDR is a pod to kube-proxy as well (R5).
#[inline(always)]
fn source<F: Family>(src: &F::Addr, rules: Rules, device: u32) -> Source {
    let flags = rules.flags();
    let by_device = flags & (RULES_PODS_INTERFACE | RULES_PODS_PREFIX) != 0
        && maps::device(device).is_some_and(|device| device.flags() & DEVICE_PODS != 0);
    if by_device || (flags & F::PODS != 0 && F::is_pod(rules, src)) {
        Source::LocalPod
    } else if F::is_loopback(src) || F::node_addr(src) & ADDR_OWN != 0 {
        Source::Node
    } else {
        Source::Outside
    }
}
