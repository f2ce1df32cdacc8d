//! The resources served, and how a request's path names one.

/// One resource of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resource {
    /// Its place in [`RESOURCES`].
    pub(crate) index: usize,
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
}

impl Resource {
    const fn new(index: usize, group: &'static str, names: [&'static str; 3], namespaced: bool) -> Self {
        Self { index, group, plural: names[0], singular: names[1], kind: names[2], namespaced }
    }

    /// As in `apiVersion`. Every group served is at v1.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// The name in error messages: `endpointslices.discovery.k8s.io`.
    pub(crate) fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(crate) fn of_kind(kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.kind == kind)
    }
}

pub(crate) const RESOURCES: [Resource; 6] = [
    Resource::new(0, "", ["services", "service", "Service"], true),
    Resource::new(1, "", ["nodes", "node", "Node"], false),
    Resource::new(2, "", ["namespaces", "namespace", "Namespace"], false),
    Resource::new(3, "discovery.k8s.io", ["endpointslices", "endpointslice", "EndpointSlice"], true),
    Resource::new(4, "networking.k8s.io", ["servicecidrs", "servicecidr", "ServiceCIDR"], false),
    Resource::new(5, "events.k8s.io", ["events", "event", "Event"], true),
];

/// What a path names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Target {
    /// `None` when no resource is at this path.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let group = match parts.first() {
            Some(&"api") if parts.len() > 2 && parts[1] == "v1" => "",
            Some(&"apis") if parts.len() > 3 && parts[2] == "v1" => parts.remove(1),
            _ => return None,
        };
        let (namespace, rest) = match &parts[2..] {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name) = match rest {
            [plural] => (plural, None),
            [plural, name] => (plural, Some((*name).to_owned())),
            _ => return None,
        };
        let resource = RESOURCES.iter().find(|r| r.group == group && r.plural == *plural)?;
        (resource.namespaced || namespace.is_none()).then_some(Self { resource, namespace, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_resource_a_namespace_and_an_object() {
        for (path, want) in [
            ("/api/v1/services", Some(("services", None, None))),
            ("/api/v1/namespaces/shop/services", Some(("services", Some("shop"), None))),
            ("/api/v1/namespaces/shop/services/web", Some(("services", Some("shop"), Some("web")))),
            ("/api/v1/namespaces", Some(("namespaces", None, None))),
            ("/api/v1/namespaces/shop", Some(("namespaces", None, Some("shop")))),
            ("/apis/discovery.k8s.io/v1/endpointslices", Some(("endpointslices", None, None))),
            ("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", Some(("servicecidrs", None, Some("kubernetes")))),
            ("/apis/events.k8s.io/v1/namespaces/default/events", Some(("events", Some("default"), None))),
            ("/api/v1/namespaces/shop/nodes", None),
            ("/api/v1/endpointslices", None),
            ("/api/v2/services", None),
            ("/api/v1", None),
            ("/apis/discovery.k8s.io/v1", None),
            ("/", None),
        ] {
            let target = Target::of_path(path);
            let got = target.as_ref().map(|t| (t.resource.plural, t.namespace.as_deref(), t.name.as_deref()));
            assert_eq!(got, want, "{path}");
        }
        for (index, resource) in RESOURCES.iter().enumerate() {
            assert_eq!(resource.index, index);
        }
    }
}
