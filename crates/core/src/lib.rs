//! What a Service means: objects, index, desired state and plan.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness, no Kubernetes or BPF type (I6). Data flows one way:
//! [`Event`] → [`Index`] → [`Desired`] → [`plan`](plan::plan) → [`Plan`].

mod claim;
pub mod config;
pub mod decide;
pub mod desired;
pub mod diagnostic;
pub mod event;
pub mod flat;
mod foreign;
mod group;
pub mod health_check;
pub mod index;
pub mod name;
pub mod net;
pub mod no_local;
pub mod object;
pub mod plan;
pub mod rules;
pub mod select;
pub mod serving;
mod shared;
pub mod table;
pub mod treatment;

pub use config::{DetectLocal, NodePortAddresses, ProxyConfig};
pub use decide::{Decision, Packet, decide};
pub use desired::{Desired, Touched};
pub use diagnostic::{Diagnostic, ObjectRef, Problem};
pub use event::{Event, Kind, Object, ObjectName, Stamp};
pub use flat::{FlatMap, FlatSet, InOrder, beyond};
pub use foreign::ForeignFlow;
pub use health_check::{HealthCheck, HealthChecks};
pub use index::{Changed, Index};
pub use name::{ServiceKey, ServiceName, ServicePortName, SliceName};
pub use net::{Backend, Family, Frontend, Port, Protocol};
pub use no_local::{Direction, NoLocalEndpoints};
pub use object::{
    Affinity, Endpoint, EndpointSlice, Hints, Leaving, Node, Service, ServiceCidr, ServicePort, SlicePort,
    TrafficPolicy,
};
pub use plan::{Change, Plan, Realized};
pub use rules::NodeRules;
pub use serving::{FrontendKind, Serving, Sources};
pub use table::Table;
