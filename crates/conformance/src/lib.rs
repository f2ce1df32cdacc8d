//! One suite of objects, packets and decisions, put to every engine: the reference `decide()`, the fake dataplane, and the real
//! kernel programs by `BPF_PROG_TEST_RUN`.
//!
//! The cases are the scenarios of `tests/scenarios`, which this crate carries: manifests, what happens to them, and questions
//! with answers. [`run`] plays them against an [`Engine`] and says of each question what became of it. Nothing outside the
//! namespaces that an engine makes for itself is touched.

pub mod agent;
mod case;
mod engine;
mod expected;
mod fake;
pub mod kernel;
pub mod matrix;
mod model;
pub mod packet;
mod pair;
mod recorder;
mod scenario;
mod stage;

pub use case::{CaseOutcome, CaseResult, case_names, run, run_while, scenarios};
pub use engine::{Answer, Engine, EngineError, World};
pub use expected::{Expected, observable};
pub use fake::FakeEngine;
pub use kernel::KernelEngine;
pub use model::ModelEngine;
pub use pair::{Asked, shown};
pub use recorder::Recorder;
pub use scenario::{Question, Scenario, Step};
pub use stage::Stage;
