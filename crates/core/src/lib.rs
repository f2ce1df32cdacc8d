//! What a Service means: objects, index, desired state and plan.
//!
//! Everything here is pure: no I/O, no async, no clock, no randomness, no Kubernetes or BPF type (I6). Data flows one way:
//! [`Event`] → [`Index`] → [`Desired`] → [`plan`](plan::plan) → [`Plan`].

pub mod diagnostic;
pub mod event;
pub mod name;
pub mod net;
pub mod object;
pub mod serving;

pub use diagnostic::{Diagnostic, ObjectRef, Problem};
pub use event::{Event, Kind, Object, ObjectName};
pub use name::{ServiceKey, ServiceName, ServicePortName, SliceName};
pub use net::{Backend, Family, Frontend, Port, Protocol};
pub use object::{Endpoint, EndpointSlice, Node, Service, ServiceCidr, ServicePort, SlicePort};
pub use serving::Serving;
