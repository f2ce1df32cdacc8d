//! The traffic matrix: real sockets between namespaces, through the real agent and its programs.
//!
//! [`settings`] says in which surroundings, [`cells`] who dials what there. What must come of a cell is not written down: it is
//! what [`decide`](sheave_core::decide) says of the same objects, and both the backend that answers and the client's address
//! as the backend saw it are held against that. Nothing is retried: a request that fails is a cell that fails.
mod behaviour;
mod cell;
mod expect;
mod pace;
mod run;
mod services;
mod setting;
mod world;

pub use cell::{Cell, Destination, Size, Source, cells};
pub use expect::{Expected, Peers, judge};
pub use pace::Pace;
pub use run::{Report, Watch, names, run};
pub use setting::{Setting, settings};
pub use world::WorldError;
