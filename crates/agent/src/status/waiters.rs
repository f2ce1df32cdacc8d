//! Those who wait for a Service to be programmed.
use super::ServiceStatus;
use sheave_core::ServiceName;
use tokio::sync::oneshot;

/// One who waits.
struct Waiter {
    service: ServiceName,
    /// The version that has to be programmed; 0 for the one last seen.
    version: u64,
    reply: oneshot::Sender<ServiceStatus>,
}

/// All who wait. There are no more of them than the admin socket has connections.
#[derive(Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Another one; those who have gone are forgotten.
    pub(super) fn add(&mut self, service: ServiceName, version: u64, reply: oneshot::Sender<ServiceStatus>) {
        self.0.retain(|waiter| !waiter.reply.is_closed());
        self.0.push(Waiter { service, version, reply });
    }

    /// Answers those whose Service `answer` has an answer for.
    pub(super) fn look(&mut self, mut answer: impl FnMut(&ServiceName, u64) -> Option<ServiceStatus>) {
        let waiting = std::mem::take(&mut self.0);
        for waiter in waiting.into_iter().filter(|waiter| !waiter.reply.is_closed()) {
            match answer(&waiter.service, waiter.version) {
                // It may have gone this very moment.
                Some(status) => drop(waiter.reply.send(status)),
                None => self.0.push(waiter),
            }
        }
    }
}
