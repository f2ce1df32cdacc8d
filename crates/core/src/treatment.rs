//! What becomes of a new flow to a frontend: which set it picks from and whether it is masqueraded.
//!
//! | frontend | policy | source | set | masquerade |
//! |----------|--------|--------|-----|------------|
//! | ClusterIP | internal | any, with masqueradeAll | of the policy | yes (R1) |
//! | ClusterIP | internal | pod of this node, or no detector | of the policy | no (R1) |
//! | ClusterIP | internal | anything else | of the policy | yes (R1) |
//! | other | external Cluster | any | Cluster | yes (R2) |
//! | other | external Local | pod of this node | Cluster | no (E6, R3) |
//! | other | external Local | the node | Cluster | yes (E6, R3) |
//! | other | external Local | outside | Local | no (E5, R3) |
//!
//! Whatever the table says, a flow that picks its own source is masqueraded (R4).
use crate::net::Family;
use crate::object::TrafficPolicy;
use crate::rules::NodeRules;
use crate::serving::FrontendKind;
use std::net::IpAddr;

/// Where a flow comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// A pod of this node, by the detector (R5).
    LocalPod,
    /// The node itself.
    Node,
    /// Anywhere else; without a detector pods of this node, too.
    Outside,
}

impl Source {
    /// Of what has this source address and comes in by this interface (`None` = sent by the node). The detector is asked
    /// first: a bridge's own address inside the pod CIDR is a pod to kube-proxy as well.
    #[must_use]
    pub fn of(rules: &NodeRules, source: IpAddr, interface: Option<&str>) -> Self {
        if rules.local_pods.matches(source, interface) {
            Self::LocalPod
        } else if rules.is_own(source) {
            Self::Node
        } else {
            Self::Outside
        }
    }
}

/// What becomes of a new flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Treatment {
    /// Which set it picks from.
    pub set: TrafficPolicy,
    /// Whether its source is replaced by an address of this node.
    pub masquerade: bool,
}

/// The table above. `policy` is the one that governs the frontend's kind.
#[must_use]
pub fn treat(
    kind: FrontendKind,
    policy: TrafficPolicy,
    source: Source,
    rules: &NodeRules,
    family: Family,
) -> Treatment {
    if kind == FrontendKind::ClusterIp {
        let foreign = rules.local_pods.detects(family) && source != Source::LocalPod;
        return Treatment { set: policy, masquerade: rules.masquerade_all || foreign };
    }
    let (set, masquerade) = match (policy, source) {
        (TrafficPolicy::Cluster, _) | (TrafficPolicy::Local, Source::Node) => (TrafficPolicy::Cluster, true),
        (TrafficPolicy::Local, Source::LocalPod) => (TrafficPolicy::Cluster, false),
        (TrafficPolicy::Local, Source::Outside) => (TrafficPolicy::Local, false),
    };
    Treatment { set, masquerade }
}
