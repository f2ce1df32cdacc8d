//! The section `serviceMetrics`: whose flows are metrics, one series for each of a Service's ports.
use super::fields::{BadValue, Fields};
use super::value::{Located, Refusal};
use sheave_bpf::roster::Roster;
use sheave_core::ServiceName;
use std::fmt;

/// Service ports that are measured, by default: at four series each about a third of what else a node exposes.
const MAX: u32 = 100;
/// More on one node nobody's Prometheus should be asked to keep.
const MAX_MAX: u32 = 10_000;

/// Whose flows are metrics. Of none by default: what one Service costs is multiplied by the nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceMetrics {
    /// Those that any of these names.
    pub services: Vec<ServicePattern>,
    /// At most so many Service ports, each family by itself; those that were there first.
    pub max: u32,
}

impl Default for ServiceMetrics {
    fn default() -> Self {
        Self { services: Vec::new(), max: MAX }
    }
}

/// `NAMESPACE/NAME`, or `NAMESPACE/*` for all of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePattern {
    namespace: String,
    /// `None` for all.
    name: Option<String>,
}

impl ServicePattern {
    fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        let pattern = || Self { namespace: namespace.to_owned(), name: (name != "*").then(|| name.to_owned()) };
        (is_name(namespace) && (name == "*" || is_name(name))).then(pattern)
    }

    fn names(&self, service: &ServiceName) -> bool {
        self.namespace == *service.namespace && self.name.as_ref().is_none_or(|name| **name == *service.name)
    }
}

impl fmt::Display for ServicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name.as_deref().unwrap_or("*"))
    }
}

impl ServiceMetrics {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, BadValue> {
        let default = Self::default();
        Ok(Self {
            services: fields.read("serviceMetrics.services", patterns)?.unwrap_or_default(),
            max: fields.read("serviceMetrics.max", |located| located.integer(0..=MAX_MAX))?.unwrap_or(default.max),
        })
    }

    /// The names as they are written.
    pub(super) fn shown(&self) -> Vec<String> {
        self.services.iter().map(ToString::to_string).collect()
    }

    /// The places there are.
    ///
    /// # Panics
    /// Never: the limit is checked when it is read.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let services = self.services.clone();
        let max = usize::try_from(self.max).expect("invariant: 32 bits fit");
        Roster::new(max, move |service| services.iter().any(|pattern| pattern.names(service)))
    }
}

fn patterns(located: &Located) -> Result<Vec<ServicePattern>, Refusal> {
    let pattern = |item: &Located| {
        ServicePattern::parse(item.text()?).ok_or_else(|| item.refuse("NAMESPACE/NAME or NAMESPACE/*"))
    };
    located.list()?.iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn parse(section: &str) -> Result<ServiceMetrics, String> {
        let text = format!("apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n{section}\n");
        Config::parse(&text, Path::new("c.yaml")).map(|c| c.service_metrics).map_err(|error| error.to_string())
    }

    #[test]
    fn services_are_named_one_by_one_or_by_their_namespace() {
        let metrics = parse("serviceMetrics: {services: [shop/web, 'dns/*'], max: 7}").unwrap();
        assert_eq!((metrics.shown(), metrics.max), (vec!["shop/web".to_owned(), "dns/*".to_owned()], 7));
        for (namespace, name, want) in
            [("shop", "web", true), ("shop", "web2", false), ("dns", "any", true), ("web", "shop", false)]
        {
            let service = ServiceName::new(namespace, name);
            assert_eq!(metrics.services.iter().any(|pattern| pattern.names(&service)), want, "{service}");
        }
        assert_eq!(parse("externalIPs: true").unwrap(), ServiceMetrics { services: Vec::new(), max: 100 });
    }

    #[test]
    fn what_names_no_service_is_refused_with_what_would() {
        for (section, want) in [
            ("serviceMetrics: {services: [web]}", "NAMESPACE/NAME or NAMESPACE/*"),
            ("serviceMetrics: {services: ['*/web']}", "NAMESPACE/NAME or NAMESPACE/*"),
            ("serviceMetrics: {services: ['shop/we*']}", "NAMESPACE/NAME or NAMESPACE/*"),
            ("serviceMetrics: {max: 10001}", "10001"),
            ("serviceMetrics: {most: 1}", "did you mean serviceMetrics.max?"),
        ] {
            let error = parse(section).unwrap_err();
            assert!(error.contains(want) && error.contains("serviceMetrics"), "{section}: {error}");
        }
    }
}
