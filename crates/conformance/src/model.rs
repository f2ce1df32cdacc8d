//! The reference as an engine.
use crate::engine::{Answer, Engine, EngineError, World};
use crate::expected::outcome;
use sheave_core::{Index, Packet, ProxyConfig, decide};

/// [`decide`], which every other engine is held against.
#[derive(Debug, Default)]
pub struct ModelEngine {
    world: Option<(Index, ProxyConfig)>,
}

impl Engine for ModelEngine {
    fn name(&self) -> &'static str {
        "model"
    }

    fn hold(&mut self, world: World<'_>) -> Result<(), EngineError> {
        self.world = Some((world.index.clone(), world.config.clone()));
        Ok(())
    }

    fn ask(&mut self, packet: &Packet) -> Result<Answer, EngineError> {
        let Some((index, config)) = &self.world else {
            return Ok(Answer::Unasked("it was given no objects".to_owned()));
        };
        let decision = decide(packet, index, config);
        Ok(Answer::Outcome { outcome: outcome(&decision), rule: Some(decision.rule) })
    }
}
