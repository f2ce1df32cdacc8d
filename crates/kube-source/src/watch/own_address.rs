//! Whether the API server is reached through a Service: then the proxy needs what it has yet to make.
use http::Uri;
use sheave_core::{Object, ServiceName};
use std::net::IpAddr;

/// The Service that has the server's address as its ClusterIP.
pub(super) fn served_by<'a>(server: &Uri, objects: &'a [Object]) -> Option<&'a ServiceName> {
    let host = server.host()?;
    let addr: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    objects.iter().find_map(|object| match object {
        Object::Service(service) if service.cluster_ips.contains(&addr) => Some(&service.name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::Service;

    #[test]
    fn a_server_at_a_cluster_ip_is_recognised() {
        let kubernetes = ServiceName::new("default", "kubernetes");
        let cluster_ips = vec!["10.96.0.1".parse().unwrap(), "fd00:96::1".parse().unwrap()];
        let objects = [Object::Service(Service { cluster_ips, ..Service::new(kubernetes.clone()) })];
        for (server, want) in [
            ("https://10.96.0.1:443", true),
            ("https://[fd00:96::1]:443", true),
            ("https://192.0.2.1:6443", false),
            ("https://api.example.org:6443", false),
        ] {
            assert_eq!(served_by(&server.parse().unwrap(), &objects), want.then_some(&kubernetes), "{server}");
        }
    }
}
