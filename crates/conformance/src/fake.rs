//! The fake dataplane as an engine: it decides from what plans have made of it.
use crate::engine::{Answer, Engine, EngineError, World, bring};
use sheave_core::{Desired, Packet};
use sheave_dataplane::Fake;

/// A dataplane in memory. It goes from world to world by plans, as an agent's does.
#[derive(Debug, Default)]
pub struct FakeEngine {
    fake: Fake,
}

impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn hold(&mut self, world: World<'_>) -> Result<(), EngineError> {
        bring(&mut self.fake, &Desired::rebuild(world.config.clone(), world.index))
    }

    fn ask(&mut self, packet: &Packet) -> Result<Answer, EngineError> {
        Ok(Answer::Outcome { outcome: self.fake.decide(packet), rule: None })
    }
}
