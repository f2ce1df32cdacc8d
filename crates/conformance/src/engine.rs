//! Who answers questions: one trait before the reference, the fake dataplane and the kernel programs.
use crate::kernel::KernelError;
use sheave_core::decide::Rule;
use sheave_core::plan::plan_all;
use sheave_core::{Desired, Index, Packet, ProxyConfig};
use sheave_dataplane::{Dataplane, Outcome};

/// What questions are about: objects as a source reported them, and the settings of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The objects, seen from one node.
    pub index: &'a Index,
    /// The settings.
    pub config: &'a ProxyConfig,
}

/// What an engine says to a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// What becomes of it.
    Outcome {
        /// What happens.
        outcome: Outcome,
        /// The rule that fixed the verdict, from an engine that knows rules.
        rule: Option<Rule>,
    },
    /// This engine cannot be asked that; the reason, for a reader.
    Unasked(String),
}

/// Something that decides about packets.
pub trait Engine {
    /// Its name, as reports have it.
    fn name(&self) -> &'static str;

    /// From now on decides for these objects; what it held before goes as it would in an agent.
    ///
    /// # Errors
    /// What could not be carried out.
    fn hold(&mut self, world: World<'_>) -> Result<(), EngineError>;

    /// What becomes of the first packet of a flow.
    ///
    /// # Errors
    /// The engine contradicts itself, or does not work. That is never an answer.
    fn ask(&mut self, packet: &Packet) -> Result<Answer, EngineError>;
}

/// An engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A step of the plan was not carried out.
    #[error("{0}")]
    Failed(String),
    /// A limit forbids something.
    #[error("refused: {0}")]
    Refused(String),
    /// Steps are left over although nothing failed.
    #[error("the plan was carried out, and there is still something to do: {0}")]
    Unsettled(String),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Brings a dataplane to what a world asks for, as the agent does at its start: it plans from what is held, whatever that is.
pub(crate) fn bring(dataplane: &mut impl Dataplane, desired: &Desired) -> Result<(), EngineError> {
    let applied = dataplane.apply(&plan_all(desired, dataplane));
    if let Some(failed) = applied.failed.first() {
        return Err(EngineError::Failed(failed.to_string()));
    }
    if let Some(refused) = applied.refused.first() {
        return Err(EngineError::Refused(refused.to_string()));
    }
    let left = plan_all(desired, dataplane);
    let changes = left.make.iter().chain(&left.break_).next();
    changes.map_or(Ok(()), |change| Err(EngineError::Unsettled(format!("{change:?}"))))
}
