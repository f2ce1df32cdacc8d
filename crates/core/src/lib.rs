//! What a Service means: objects, index, desired state and plan.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness, no Kubernetes or BPF type (I6). Data flows one way:
//! [`Event`] → [`Index`] → [`Desired`] → [`plan`](plan::plan) → [`Plan`].

pub mod claim;
pub mod desired;
pub mod diagnostic;
pub mod event;
pub mod index;
pub mod name;
pub mod net;
pub mod object;
pub mod plan;
pub mod select;
pub mod serving;
pub mod table;

pub use desired::{Desired, Touched};
pub use diagnostic::{Diagnostic, ObjectRef, Problem};
pub use event::{Event, Kind, Object, ObjectName};
pub use index::Index;
pub use name::{ServiceKey, ServiceName, ServicePortName, SliceName};
pub use net::{Backend, Family, Frontend, Port, Protocol};
pub use object::{Endpoint, EndpointSlice, Node, Service, ServiceCidr, ServicePort, SlicePort};
pub use plan::{Change, Plan, Realized};
pub use serving::Serving;
pub use table::Table;
