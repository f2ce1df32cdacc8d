//! Where a kind is served, and which of its objects are asked for.
use crate::parse::{HEADLESS, SERVICE_PROXY_NAME};
use form_urlencoded::Serializer;
use sheave_core::Kind;

/// A resource of the API and the selectors for what we want of it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    path: &'static str,
    label_selector: Option<String>,
    field_selector: Option<String>,
}

impl Resource {
    /// The selectors only save traffic (W1, W2): the parser leaves out the same objects again.
    pub(super) fn of(kind: Kind, node: &str) -> Self {
        let (path, label_selector, field_selector) = match kind {
            Kind::Service => {
                ("/api/v1/services", Some(format!("!{SERVICE_PROXY_NAME}")), Some("spec.clusterIP!=None".to_owned()))
            }
            Kind::EndpointSlice => ("/apis/discovery.k8s.io/v1/endpointslices", Some(format!("!{HEADLESS}")), None),
            Kind::Node => ("/api/v1/nodes", None, Some(format!("metadata.name={node}"))),
            Kind::ServiceCidr => ("/apis/networking.k8s.io/v1/servicecidrs", None, None),
        };
        Self { path, label_selector, field_selector }
    }

    /// Path and query of a request, with parameters of its own.
    pub(super) fn uri(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        let selectors = [("labelSelector", &self.label_selector), ("fieldSelector", &self.field_selector)];
        query.extend_pairs(selectors.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        query.extend_pairs(parameters);
        format!("{}?{}", self.path, query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_for_what_the_rules_name() {
        for (kind, want) in [
            (
                Kind::Service,
                "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&fieldSelector=spec.clusterIP%21%3DNone&watch=true",
            ),
            (
                Kind::EndpointSlice,
                "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless&watch=true",
            ),
            (Kind::Node, "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-a&watch=true"),
            (Kind::ServiceCidr, "/apis/networking.k8s.io/v1/servicecidrs?watch=true"),
        ] {
            assert_eq!(Resource::of(kind, "node-a").uri(&[("watch", "true")]), want);
        }
    }
}
