//! What has been said of each object, so that only news is said.
use sheave_core::{Diagnostic, Event, ObjectRef};
use std::collections::BTreeMap;

/// The diagnostics in force, by object or file.
#[derive(Default, Debug)]
pub(crate) struct Said {
    by_object: BTreeMap<ObjectRef, Vec<Diagnostic>>,
}

impl Said {
    /// What is wrong with an object now; an event when that is news. An empty list takes back what was said before.
    pub(crate) fn say(&mut self, object: ObjectRef, diagnostics: Vec<Diagnostic>) -> Option<Event> {
        if self.by_object.get(&object).map_or(&[][..], Vec::as_slice) == diagnostics {
            return None;
        }
        if diagnostics.is_empty() {
            self.by_object.remove(&object);
        } else {
            self.by_object.insert(object.clone(), diagnostics.clone());
        }
        Some(Event::Diagnosed { object, diagnostics })
    }

    /// All that is wrong now: what is not among it is taken back.
    pub(crate) fn say_all(&mut self, all: impl IntoIterator<Item = Diagnostic>) -> Vec<Event> {
        let mut now: BTreeMap<ObjectRef, Vec<Diagnostic>> = BTreeMap::new();
        for diagnostic in all {
            now.entry(diagnostic.object.clone()).or_default().push(diagnostic);
        }
        let gone: Vec<_> = self.by_object.keys().filter(|object| !now.contains_key(object)).cloned().collect();
        let gone = gone.into_iter().map(|object| (object, Vec::new()));
        gone.chain(now).filter_map(|(object, diagnostics)| self.say(object, diagnostics)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::Problem;

    fn diagnostic(name: &str, message: &str) -> Diagnostic {
        let object = ObjectRef::new("Service", name);
        Diagnostic {
            object,
            field: String::new(),
            problem: Problem::Invalid,
            message: message.to_owned(),
            origin: None,
        }
    }

    #[test]
    fn only_news_is_said_and_what_is_over_is_taken_back() {
        let mut said = Said::default();
        let (a, b) = (diagnostic("s/a", "bad"), diagnostic("s/b", "bad"));
        assert_eq!(said.say_all([a.clone(), b.clone()]).len(), 2);
        assert_eq!(said.say_all([a.clone(), b.clone()]), []);
        assert_eq!(said.say_all([b.clone()]), [Event::Diagnosed { object: a.object.clone(), diagnostics: vec![] }]);
        assert_eq!(
            said.say(b.object.clone(), vec![]),
            Some(Event::Diagnosed { object: b.object, diagnostics: vec![] })
        );
        assert_eq!(said.say(a.object, vec![]), None);
        assert!(said.by_object.is_empty(), "nothing is left behind");
    }
}
