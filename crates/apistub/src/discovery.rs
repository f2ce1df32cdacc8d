//! What clients ask before they ask for objects.
use crate::resource::{RESOURCES, Resource};
use serde_json::{Value, json};

/// The document at a discovery path, if there is one.
pub(crate) fn document(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        ["apis"] => Some(groups()),
        ["api", "v1"] => Some(resources("")),
        ["apis", group, "v1"] if group_names().any(|name| name == *group) => Some(resources(group)),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": concat!("v1.36.0-sheave-apistub.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

fn group_names() -> impl Iterator<Item = &'static str> {
    RESOURCES.iter().map(|resource| resource.group).filter(|group| !group.is_empty())
}

fn groups() -> Value {
    let group = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": group_names().map(group).collect::<Value>()})
}

fn resources(group: &str) -> Value {
    let of_group = RESOURCES.iter().filter(|resource| resource.group == group);
    let version = of_group.clone().next().map(Resource::api_version).unwrap_or_default();
    let resource = |resource: &Resource| {
        json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    };
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": version, "resources": of_group.map(resource).collect::<Value>(),
    });
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}
