//! What a source tells the core.
use crate::diagnostic::{Diagnostic, ObjectRef};
use crate::name::{ServiceName, SliceName};
use crate::object::{EndpointSlice, Node, Service, ServiceCidr};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The kinds of object that are watched. Nothing is written to the kernel before each was listed once (W12, I4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// This node.
    Node,
    /// ServiceCIDRs.
    ServiceCidr,
}

impl Kind {
    /// All kinds that have to be listed before the first write (W12).
    pub const ALL: [Self; 4] = [Self::Service, Self::EndpointSlice, Self::Node, Self::ServiceCidr];

    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

/// A watched object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// This node.
    Node(Node),
    /// A ServiceCIDR.
    ServiceCidr(ServiceCidr),
}

impl Object {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Service(service) => ObjectName::Service(service.name.clone()),
            Self::EndpointSlice(slice) => ObjectName::EndpointSlice(slice.name.clone()),
            Self::Node(node) => ObjectName::Node(node.name.clone()),
            Self::ServiceCidr(cidr) => ObjectName::ServiceCidr(cidr.name.clone()),
        }
    }
}

/// The name of a watched object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectName {
    /// A Service.
    Service(ServiceName),
    /// An EndpointSlice.
    EndpointSlice(SliceName),
    /// A Node.
    Node(Arc<str>),
    /// A ServiceCIDR.
    ServiceCidr(Arc<str>),
}

impl ObjectName {
    /// The kind of object it names.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
        }
    }
}

/// Which version of an object a source has reported, apart from the object: two versions that say the same are no change
/// (W13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// `metadata.resourceVersion`: a decimal number that grows with each write (KEP-5504), 0 where it is none.
    pub version: u64,
    /// What last moved the endpoints of a slice, nanoseconds since 1970: the annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time` (H6). `None` where there is none.
    pub triggered_unix_ns: Option<i64>,
}

/// What a source reports. A source that is interrupted reports nothing; it never reports an incomplete list (I4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The object is new or has changed.
    Applied(Object),
    /// The object is gone.
    Deleted(ObjectName),
    /// The complete list of a kind, at start and after an interruption: what is not in `objects` nor in `kept` is gone.
    Listed {
        /// The kind that was listed.
        kind: Kind,
        /// Every object of it that could be read.
        objects: Vec<Object>,
        /// Objects that exist but cannot be read; what is held of them stays.
        kept: Vec<ObjectName>,
    },
    /// The version of an object. Comes with the `Applied` or `Listed` that reports the object, directly after it and in one
    /// batch with it; of an object that is not held it says nothing. Files have no versions.
    Seen {
        /// The object.
        object: ObjectName,
        /// Its version.
        stamp: Stamp,
    },
    /// The addresses on the node's devices, all of them, each time they change (A5, A12). Those of `kube-ipvs0` and of a
    /// dummy device of ours are left out, since those hold every VIP.
    LocalAddresses(BTreeSet<IpAddr>),
    /// What is wrong with an object or a file now: replaces what was said of it before, empty = nothing any more.
    Diagnosed {
        /// The object or file.
        object: ObjectRef,
        /// What is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
}
