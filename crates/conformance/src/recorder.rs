//! The fake dataplane, shared between an agent and the one after it, with a record of what it was told.
use sheave_core::{Change, Desired, Frontend, NodeRules, Plan, Realized, ServiceKey, Serving};
use sheave_dataplane::{Applied, Dataplane, Fake};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A handle on it.
#[derive(Clone, Default)]
pub struct Recorder(Rc<RefCell<Record>>);

#[derive(Default)]
struct Record {
    fake: Fake,
    changes: Vec<Change>,
}

impl Recorder {
    /// The changes carried out since the last call.
    #[must_use]
    pub fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.0.borrow_mut().changes)
    }

    /// Asks the fake.
    pub fn ask<T>(&self, question: impl FnOnce(&Fake) -> T) -> T {
        question(&self.0.borrow().fake)
    }

    /// Where what is held differs from what is wanted; `None` where nothing does.
    #[must_use]
    pub fn differs_from(&self, desired: &Desired) -> Option<String> {
        let (held, wanted) = (self.keys(), desired.keys());
        if held != wanted {
            return Some(format!("keys {held:?}, wanted {wanted:?}"));
        }
        let unequal =
            wanted.iter().find(|key| self.serving(key).as_ref() != desired.serving(key).map(|wanted| &**wanted));
        if let Some(key) = unequal {
            return Some(format!("{key}: {:?}, wanted {:?}", self.serving(key), desired.serving(key)));
        }
        if (self.vips(), self.rules().as_ref()) != (desired.vips(), Some(desired.rules())) {
            let held = (self.vips(), self.rules());
            return Some(format!("addresses and rules {held:?}, wanted {:?}", (desired.vips(), desired.rules())));
        }
        None
    }
}

impl Dataplane for Recorder {
    fn apply(&mut self, plan: &Plan) -> Applied {
        let record = &mut *self.0.borrow_mut();
        record.changes.extend(plan.make.iter().chain(&plan.break_).cloned());
        record.fake.apply(plan)
    }
}

impl Realized for Recorder {
    fn rules(&self) -> Option<Arc<NodeRules>> {
        self.ask(Realized::rules)
    }
    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        self.ask(|fake| fake.serving(key))
    }
    fn settled(&self, key: &ServiceKey) -> bool {
        self.ask(|fake| fake.settled(key))
    }
    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.ask(|fake| fake.holder(frontend))
    }
    fn owns(&self, addr: IpAddr) -> bool {
        self.ask(|fake| fake.owns(addr))
    }
    fn keys(&self) -> Vec<ServiceKey> {
        self.ask(Realized::keys)
    }
    fn frontends(&self) -> Vec<Frontend> {
        self.ask(Realized::frontends)
    }
    fn vips(&self) -> Vec<IpAddr> {
        self.ask(Realized::vips)
    }
}
